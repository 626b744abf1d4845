#!/usr/bin/env node

// Before anything else, as loading all of it takes a while in which a SIGHUP would end the process. There is nothing to
// remember of one that comes by then: the file is read afterwards.
if (process.argv[2] === 'start') process.on('SIGHUP', () => {})
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
    process.on(signal, run)
    return () => process.off(signal, run)
  },
  isTerminal: process.stdout.isTTY === true,
})
