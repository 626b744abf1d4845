#!/usr/bin/env node
import { main } from './cli/main.js'

process.exitCode = await main(process.argv.slice(2), {
  env: process.env,
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
