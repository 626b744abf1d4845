import { PGlite } from '@electric-sql/pglite'
import { type Database, embeddedDatabase, provision } from './database.js'

/** A fresh in-memory PostgreSQL for a service's tests, seen through the service's own role. */
export async function testDatabase(
  role: string,
  schemas: readonly string[] = [],
): Promise<{ readonly database: Database; close(): Promise<void> }> {
  const embedded = await PGlite.create()
  await provision(embedded, role, schemas)

  return { database: embeddedDatabase(embedded, role), close: () => embedded.close() }
}
