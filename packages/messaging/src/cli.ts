#!/usr/bin/env node
import { writeFile } from 'node:fs/promises'
import { resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { main } from './cli/main.js'
import { rabbitmq } from './rabbitmq.js'

process.exitCode = await main(process.argv.slice(2), {
  env: process.env,
  isTerminal: process.stdout.isTTY === true && process.env['NO_COLOR'] === undefined,
  out: (text) => console.log(text),
  err: (text) => console.error(text),
  transport: (url) => rabbitmq({ url, topology: 'none' }),
  async database(url) {
    const { default: pg } = await import('pg').catch((cause: unknown) => {
      throw new Error('the package pg is missing: npm install pg', { cause })
    })
    return new pg.Pool({ connectionString: url, max: 2, connectionTimeoutMillis: 10_000 })
  },
  load: (file) => import(pathToFileURL(resolve(file)).href) as Promise<Record<string, unknown>>,
  write: (file, text) => writeFile(file, text),
})
