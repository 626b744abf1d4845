import { PGlite } from '@electric-sql/pglite'
import { createDiscovery, fixed } from '@msx/discovery'
import { type MemoryTransport, memory } from '@msx/messaging'
import { type Database, embeddedDatabase, messagingSchema, provision } from './database.js'
import { createLog } from './log.js'
import type { ServiceDeps } from './service.js'
import { createInstruments } from './watch/instruments.js'

/** A fresh in-memory PostgreSQL for a service's tests, seen through the service's own role. */
export async function testDatabase(
  role: string,
  schemas: readonly string[] = [],
): Promise<{ readonly database: Database; close(): Promise<void> }> {
  const embedded = await PGlite.create()
  await provision(embedded, role, [messagingSchema(role), ...schemas])

  return { database: embeddedDatabase(embedded, role), close: () => embedded.close() }
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
