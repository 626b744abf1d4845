#!/usr/bin/env node
import { main } from './cli/main.js'

process.exitCode = await main(process.argv.slice(2), {
  env: process.env,
  out: (text) => console.log(text),
  err: (text) => console.error(text),
  onSignal(signal, run) {
    process.on(signal, run)
    return () => process.off(signal, run)
  },
  isTerminal: process.stdout.isTTY === true,
})
