import { PGlite } from '@electric-sql/pglite'
import pg from 'pg'
import * as databases from '../../../../tooling/databases.js'
import { type PostgresStore, postgresStore } from '../postgres.js'

const PREFIX = 'msx_saga'

export interface TestDatabase extends databases.TestDatabase {
  /** A migrated store in a schema of its own. */
  store(options?: { readonly testClock?: boolean }): Promise<PostgresStore>
}

/** A pool that survives the loss of its connections. */
export function openPool(url: string, max: number, options?: string): pg.Pool {
  const pool = new pg.Pool({ connectionString: url, max, connectionTimeoutMillis: 3_000, options })
  pool.on('error', () => undefined)

  return pool
}

/** Rejects when no database answers. */
export async function askDatabase(url: string): Promise<void> {
  const pool = openPool(url, 1)
  try {
    await pool.query('SELECT 1')
  } finally {
    await pool.end()
  }
}

export async function pgliteDatabase(): Promise<TestDatabase> {
  return withStores(await databases.pgliteDatabase(new PGlite(), PREFIX))
}

/** Undefined when no server answers, unless MSX_REQUIRE_SERVICES says that it must. */
export async function postgresDatabase(): Promise<TestDatabase | undefined> {
  const url = databases.POSTGRES_OF_TESTS
  // What survives the loss of power is not asked here, and waiting for the disk is most of the time.
  const pool = openPool(url, 10, '-c synchronous_commit=off')
  const database = await databases.postgresDatabase(pool, url, PREFIX)
  return database && withStores(database)
}

function withStores(database: databases.TestDatabase): TestDatabase {
  return {
    ...database,
    async store(options) {
      const store = postgresStore({ ...options, pool: database.pool, schema: database.schema() })
      await store.migrate()
      return store
    },
  }
}
