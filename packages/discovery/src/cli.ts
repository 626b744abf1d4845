#!/usr/bin/env node
import { main } from './cli/main.js'

const ending = new AbortController()
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => ending.abort())
// Whoever reads has enough: `msx-discovery watch … | head`.
process.stdout.on('error', () => ending.abort())

process.exitCode = await main(process.argv.slice(2), {
  env: process.env,
  colour: process.stdout.isTTY === true && process.env['NO_COLOR'] === undefined,
  out: (line) => console.log(line),
  err: (line) => console.error(line),
  signal: ending.signal,
})
