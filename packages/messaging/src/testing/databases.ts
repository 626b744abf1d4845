import { PGlite } from '@electric-sql/pglite'
import pg from 'pg'
import * as databases from '../../../../tooling/databases.js'

export { POSTGRES_OF_TESTS, type TestDatabase } from '../../../../tooling/databases.js'

const PREFIX = 'msx_messaging'

/** A pool that survives the loss of its idle connections. */
export function openPool(url: string, max: number): pg.Pool {
  const pool = new pg.Pool({ connectionString: url, max, connectionTimeoutMillis: 3_000 })
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

export function pgliteDatabase(): Promise<databases.TestDatabase> {
  return databases.pgliteDatabase(new PGlite(), PREFIX)
}

/** Undefined when no server answers, unless MSX_REQUIRE_SERVICES says that it must. */
export function postgresDatabase(
  url: string = databases.POSTGRES_OF_TESTS,
): Promise<databases.TestDatabase | undefined> {
  return databases.postgresDatabase(openPool(url, 10), url, PREFIX)
}
