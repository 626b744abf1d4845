import { randomUUID } from 'node:crypto'
import { missingServer } from './missing-server.js'

interface Queryable {
  // biome-ignore lint/suspicious/noExplicitAny: rows are what the drivers say they are
  query(text: string, values?: unknown[]): Promise<{ rows: any[]; rowCount?: number | null }>
}

type Database = Queryable &
  (
    | { connect(): Promise<Queryable & { release(error?: Error | boolean): void }> }
    | { transaction<T>(run: (tx: Queryable) => Promise<T>): Promise<T> }
  )

/** A database for tests, with a way to use a transaction of the caller's own. */
export interface TestDatabase {
  readonly name: string
  readonly pool: Database
  transaction<T>(run: (tx: Queryable) => Promise<T>): Promise<T>
  /** The name of a schema of this run's own, dropped at the end. */
  schema(): string
  close(): Promise<void>
}

interface Pool extends Queryable {
  connect(): Promise<Queryable & { release(error?: Error | boolean): void }>
  end(): Promise<void>
}

interface Pglite extends Queryable {
  readonly waitReady: Promise<void>
  transaction<T>(run: (tx: Queryable) => Promise<T>): Promise<T>
  close(): Promise<void>
}

export const POSTGRES_OF_TESTS: string = process.env['DATABASE_URL'] ?? 'postgres://postgres@127.0.0.1:5432/postgres'

/** `prefix` begins the names of the schemas. */
export async function pgliteDatabase(pool: Pglite, prefix: string): Promise<TestDatabase> {
  await pool.waitReady

  return database(
    'PGlite',
    prefix,
    pool,
    (run) => pool.transaction(run),
    () => pool.close(),
  )
}

/** Undefined when no server answers, unless MSX_REQUIRE_SERVICES says that it must. */
export async function postgresDatabase(pool: Pool, url: string, prefix: string): Promise<TestDatabase | undefined> {
  try {
    await pool.query('SELECT 1')
  } catch (error) {
    await pool.end()
    return missingServer('postgres', url, error)
  }

  return database(
    'PostgreSQL',
    prefix,
    pool,
    (run) => inTransaction(pool, run),
    () => pool.end(),
  )
}

async function inTransaction<T>(pool: Pool, run: (tx: Queryable) => Promise<T>): Promise<T> {
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
  prefix: string,
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
      const schema = `${prefix}_${run}_${schemas.length}`
      schemas.push(schema)
      return schema
    },
    async close() {
      for (const schema of schemas) await pool.query(`DROP SCHEMA IF EXISTS "${schema}" CASCADE`)
      await end()
    },
  }
}
