import { type SpawnOptions, spawn } from 'node:child_process'
import { once } from 'node:events'
import { connect } from 'node:net'
import { serversProgram } from '../places.js'
import { StartError } from '../start-error.js'
import type { Addresses } from './addresses.js'

/** The ports of the protocols, for addresses without one. */
const standardPorts: Readonly<Record<string, number>> = {
  'amqp:': 5672,
  'amqps:': 5671,
  'postgres:': 5432,
  'postgresql:': 5432,
  'redis:': 6379,
  'rediss:': 6379,
  'http:': 80,
  'https:': 443,
}

/**
 * Sees to it that all four servers answer: `scripts/services up` starts those that do not. Resolves with the names of
 * those that nobody listened for before, which are the ones to stop again.
 */
export async function bringUpServers(addresses: Addresses, signal: AbortSignal): Promise<readonly string[]> {
  const names = Object.entries(addresses)
  const listening = await Promise.all(names.map(([, address]) => isListening(address)))
  const missing = names.filter((_, index) => !listening[index]).map(([name]) => name)

  const code = await runServers(['up'], { signal, killSignal: 'SIGINT' })
  if (code === 0) return missing

  if (missing.length > 0) await takeDownServers(missing)
  signal.throwIfAborted()
  throw new StartError('the shop needs all four servers; what keeps one of them from starting is said above')
}

/** Stops those of the servers that `scripts/services` started, and no other. */
export async function takeDownServers(names: readonly string[]): Promise<void> {
  // In a group of its own: a second Ctrl-C must not leave half of them behind.
  if (names.length > 0) await runServers(['down', ...names], { detached: true })
}

async function runServers(args: readonly string[], options: SpawnOptions): Promise<number | null> {
  const child = spawn(process.execPath, [serversProgram, ...args], {
    ...options,
    stdio: ['ignore', 'inherit', 'inherit'],
  })
  child.on('error', () => {}) // an abort, which its exit tells as well
  const [code] = (await once(child, 'exit').catch(() => [null])) as [number | null]
  return code
}

function isListening(address: string): Promise<boolean> {
  const { hostname, port, protocol } = new URL(address)
  return new Promise((resolve) => {
    const socket = connect(Number(port) || (standardPorts[protocol] ?? 0), hostname.replace(/^\[(.*)\]$/, '$1'))
    const settle = (answer: boolean) => {
      socket.destroy()
      resolve(answer)
    }
    socket.setTimeout(3_000, () => settle(false))
    socket.once('connect', () => settle(true))
    socket.once('error', () => settle(false))
  })
}
