import { PGlite } from '@electric-sql/pglite'
import pg from 'pg'
import { missingServer } from '../../../../tooling/missing-server.js'
import { type PostgresStore, postgresStore } from '../postgres.js'
import type { Database, Queryable } from '../shapes.js'

/** A database for tests, with a way to use a transaction of the caller's own. */
export interface TestDatabase {
  readonly name: string
  readonly pool: Database
  transaction<T>(run: (tx: Queryable) => Promise<T>): Promise<T>
  /** A migrated store in a schema of its own. */
  store(options?: { readonly testClock?: boolean }): Promise<PostgresStore>
  close(): Promise<void>
}

export async function pgliteDatabase(): Promise<TestDatabase> {
  const pool = new PGlite()
  await pool.waitReady
  return database(
    'PGlite',
    pool,
    (run) => pool.transaction(run),
    () => pool.close(),
  )
}

/** Undefined when no server answers, unless MSX_REQUIRE_SERVICES says that it must. */
export async function postgresDatabase(): Promise<TestDatabase | undefined> {
  const url = process.env['DATABASE_URL'] ?? 'postgres://postgres@127.0.0.1:5432/postgres'
  // What survives the loss of power is not asked here, and waiting for the disk is most of the time.
  const options = '-c synchronous_commit=off'
  const pool = new pg.Pool({ connectionString: url, connectionTimeoutMillis: 3_000, options })
  pool.on('error', () => undefined)
  try {
    await pool.query('SELECT 1')
  } catch (error) {
    await pool.end()
    return missingServer('postgres', url, error)
  }

  const transaction: TestDatabase['transaction'] = async (run) => {
    const client = await pool.connect()
    try {
      await client.query('BEGIN')
      const result = await run(client)
      await client.query('COMMIT')
      return result
    } catch (error) {
      await client.query('ROLLBACK')
      throw error
    } finally {
      client.release()
    }
  }
  return database('PostgreSQL', pool, transaction, () => pool.end())
}

function database(
  name: string,
  pool: Database,
  transaction: TestDatabase['transaction'],
  end: () => Promise<void>,
): TestDatabase {
  const run = crypto.randomUUID().slice(0, 8)
  const schemas: string[] = []

  return {
    name,
    pool,
    transaction,
    async store(options) {
      const schema = `msx_saga_${run}_${schemas.length}`
      schemas.push(schema)
      const store = postgresStore({ ...options, pool, schema })
      await store.migrate()
      return store
    },
    async close() {
      for (const schema of schemas) await pool.query(`DROP SCHEMA "${schema}" CASCADE`)
      await end()
    },
  }
}
