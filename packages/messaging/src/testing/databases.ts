import { randomUUID } from 'node:crypto'
import { PGlite } from '@electric-sql/pglite'
import pg from 'pg'
import { missingServer } from '../../../../tooling/missing-server.js'
import type { Database, Queryable } from '../shapes.js'

/** A database for tests, with a way to use a transaction of the caller's own. */
export interface TestDatabase {
  readonly name: string
  readonly pool: Database
  transaction<T>(run: (tx: Queryable) => Promise<T>): Promise<T>
  /** A schema name of this run's own, dropped at the end. */
  schema(): string
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

export const POSTGRES_OF_TESTS: string = process.env['DATABASE_URL'] ?? 'postgres://postgres@127.0.0.1:5432/postgres'

/** A pool that survives the loss of its idle connections. */
export function openPool(url: string, max: number): pg.Pool {
  const pool = new pg.Pool({ connectionString: url, max, connectionTimeoutMillis: 3_000 })
  pool.on('error', () => undefined)

  return pool
}

/** Undefined when no server answers, unless MSX_REQUIRE_SERVICES says that it must. */
export async function postgresDatabase(url: string = POSTGRES_OF_TESTS): Promise<TestDatabase | undefined> {
  const pool = openPool(url, 10)
  try {
    await pool.query('SELECT 1')
  } catch (error) {
    await pool.end()
    return missingServer('postgres', url, error)
  }

  return database(
    'PostgreSQL',
    pool,
    (run) => inTransaction(pool, run),
    () => pool.end(),
  )
}

async function inTransaction<T>(pool: pg.Pool, run: (tx: Queryable) => Promise<T>): Promise<T> {
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

function database(
  name: string,
  pool: Database,
  transaction: TestDatabase['transaction'],
  end: () => Promise<void>,
): TestDatabase {
  const run = randomUUID().slice(0, 8)
  const schemas: string[] = []

  return {
    name,
    pool,
    transaction,
    schema() {
      const schema = `msx_messaging_${run}_${schemas.length}`
      schemas.push(schema)
      return schema
    },
    async close() {
      for (const schema of schemas) await pool.query(`DROP SCHEMA IF EXISTS "${schema}" CASCADE`)
      await end()
    },
  }
}
