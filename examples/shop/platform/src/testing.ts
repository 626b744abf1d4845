import { connect } from 'node:net'
import { setImmediate } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { PGlite } from '@electric-sql/pglite'
import { createDiscovery, fixed } from '@msx/discovery'
import { type MemoryTransport, memory } from '@msx/messaging'
import { type Database, messagingSchema } from './database.js'
import { embeddedPostgres } from './embedded.js'
import { createLog } from './log.js'
import type { ServiceDeps } from './service.js'
import { createInstruments } from './watch/instruments.js'

/** A fresh in-memory PostgreSQL for a service's tests, seen through the service's own role. */
export async function testDatabase(
  role: string,
  schemas: readonly string[] = [],
): Promise<{ readonly database: Database; close(): Promise<void> }> {
  const pglite = await PGlite.create()
  const embedded = embeddedPostgres(pglite)
  await embedded.provision(role, [messagingSchema(role), ...schemas])

  return { database: embedded.database(role), close: () => pglite.close() }
}

/** What the operations of a tested service are asked with. */
export const operationsToken = 'test-operations'

export interface TestDeps extends ServiceDeps {
  readonly transport: MemoryTransport
  close(): Promise<void>
}

export interface TestDepsOptions {
  /** The service's role in the database, and the name of its schema. */
  readonly role: string
  readonly schemas?: readonly string[] | undefined
  /** Where the services that the tested one calls are. Default: nowhere. */
  readonly services?: Readonly<Record<string, string[]>> | undefined
}

/** All that a service is given, for its tests: a real PostgreSQL, a broker in memory, a log that keeps quiet. */
export async function testDeps(options: TestDepsOptions): Promise<TestDeps> {
  const { database, close } = await testDatabase(options.role, options.schemas)
  const discovery = createDiscovery({ source: fixed({ ...options.services }) })

  return {
    database,
    discovery,
    transport: memory(),
    log: createLog(options.role, 'silent'),
    instruments: createInstruments(options.role, { token: operationsToken }),
    async close() {
      await discovery.close()
      await close()
    },
  }
}

/** Whether nothing holds on to it any more: the garbage is collected until it is gone, or it is clear that it stays. */
export async function isForgotten(ref: WeakRef<object>): Promise<boolean> {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  // What was just used is kept until the turn ends, and some things let go of others only when they are collected.
  for (let round = 0; round < 8 && ref.deref() !== undefined; round += 1) {
    await setImmediate()
    collect()
  }
  return ref.deref() === undefined
}

/** All that a server sends to these bytes until it hangs up. */
export async function rawAnswer(url: string, bytes: string): Promise<string> {
  const { hostname, port } = new URL(url)
  const socket = connect(Number(port), hostname)
  let received = ''
  socket.setEncoding('utf8').on('data', (text: string) => {
    received += text
  })
  socket.write(bytes)
  await new Promise((resolve) => socket.on('error', () => undefined).once('close', resolve))
  return received
}
