// The command itself, with the two servers that take longer to start.

import { existsSync, symlinkSync } from 'node:fs'
import { networkInterfaces } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { isRunning } from './processes.mjs'
import { findPrograms } from './programs.mjs'
import { readState } from './state.mjs'
import { privateServices } from './testing.js'

const unpacked = fileURLToPath(new URL('../../.data/services/consul', import.meta.url))
const absent = [
  ...(findPrograms.rabbitmq('') === undefined ? ['RabbitMQ'] : []),
  ...(existsSync(unpacked) || findPrograms.consul('') !== undefined ? [] : ['Consul']),
]

// Processes take their time on a busy machine.
vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 })

let services: Awaited<ReturnType<typeof privateServices>>
beforeEach(async () => {
  services = await privateServices()
})
afterEach(() => services.dispose())

/** Those at which other machines reach this one. */
const outerAddresses = () =>
  Object.values(networkInterfaces()).flatMap((addresses = []) =>
    addresses.filter(({ internal, family }) => !internal && family === 'IPv4').map(({ address }) => address),
  )

test('RabbitMQ and Consul answer to this machine only, and leave nothing running', async ({ skip }) => {
  if (absent.length > 0) {
    const why = `${absent.join(' and ')} cannot be started without a download: \`scripts/services up\` does that`
    console.warn(`\n  SKIPPED: ${why}\n`)
    skip(why)
  }
  if (existsSync(unpacked)) symlinkSync(unpacked, join(services.state, 'consul'))

  expect(await services.run('up', '--only', 'rabbitmq,consul')).toMatchObject({ code: 0 })
  for (const name of ['rabbitmq', 'consul'] as const) {
    expect(await services.ask(name)).toEqual({ state: 'answers', version: expect.any(String) })
    for (const host of outerAddresses()) expect(await services.ask(name, host)).toMatchObject({ state: 'silent' })
  }

  const processes = readState(services.state).flatMap((record) => record.processes)
  expect(await services.run('down')).toMatchObject({ code: 0 })
  expect(processes.filter(isRunning)).toEqual([])
  // The server, and Erlang's port mapper that it brought along.
  expect(processes).toHaveLength(3)
})
