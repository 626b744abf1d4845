#!/usr/bin/env node
import { userInfo } from 'node:os'
import { main } from './cli/main.js'

process.exitCode = await main(process.argv.slice(2), {
  // Where no shell has set it, in a container say, the system knows.
  env: { USER: userOf(), ...process.env },
  out: (text) => console.log(text),
  err: (text) => console.error(text),
  now: Date.now,
  async connect(url) {
    const { default: pg } = await import('pg').catch((cause: unknown) => {
      throw new Error('the package pg is missing: npm install pg', { cause })
    })
    return new pg.Pool({ connectionString: url, max: 2, connectionTimeoutMillis: 10_000 })
  },
})

/** Undefined for a user whom the system does not know either. */
function userOf(): string | undefined {
  try {
    return userInfo().username
  } catch {
    return undefined
  }
}
