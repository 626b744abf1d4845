#!/usr/bin/env node

import { constants } from 'node:os'

const heard = new Map<string, () => void>()

// Before anything else, as loading all of it takes a while in which a SIGHUP would end the process. There is nothing to
// remember of one that comes by then: the file is read afterwards.
if (process.argv[2] === 'start') {
  process.on('SIGHUP', () => heard.get('SIGHUP')?.())
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => (heard.get(signal) ?? end)(signal))
}
const { main } = await import('./cli/main.js')

// Whoever reads the log may go; that must not end the service of all others.
let told = false
process.stdout.on('error', (error) => {
  if (!told) console.error(`standard output cannot be written: ${error.message}; the gateway goes on without`)
  told = true
})
process.stderr.on('error', () => {})

process.exitCode = await main(process.argv.slice(2), {
  env: process.env,
  out: (text) => console.log(text),
  err: (text) => console.error(text),
  lines: process.stdout,
  onSignal(signal, run) {
    heard.set(signal, run)
    return () => heard.delete(signal)
  },
  isTerminal: process.stdout.isTTY === true,
})

/** As a signal that nobody hears; one module that hears it, too, or being the first process of a container, would prevent it. */
function end(signal: 'SIGINT' | 'SIGTERM'): void {
  process.removeAllListeners(signal)
  process.kill(process.pid, signal)
  process.exit(128 + constants.signals[signal])
}
