import { randomBytes } from 'node:crypto'
import pg from 'pg'
import { missingServer } from '../../../../../tooling/missing-server.js'
import { databaseUrl, readAddresses } from './addresses.js'
import { dropDatabases } from './provision.js'

/** The PostgreSQL for tests, as its administrator. */
export interface TestPostgres {
  readonly url: string
  readonly admin: pg.Client
  /** A name for a database and its role that nobody else has; both are dropped at the end. */
  name(): string
  /** Connections to a database of such a name. */
  pool(database: string, password: string, max: number): pg.Pool
  close(): Promise<void>
}

/** Undefined when no server answers, unless MSX_REQUIRE_SERVICES says that it must. */
export async function testPostgres(): Promise<TestPostgres | undefined> {
  const { postgres: url } = readAddresses(process.env)
  const admin = new pg.Client({ connectionString: url, connectionTimeoutMillis: 3_000 })
  try {
    await admin.connect()
  } catch (error) {
    return missingServer('postgres', url, error)
  }

  const names: string[] = []
  return {
    url,
    admin,
    name() {
      const name = `test_${randomBytes(4).toString('hex')}`
      names.push(name)
      return name
    },
    pool(database, password, max) {
      const pool = new pg.Pool({ connectionString: databaseUrl(url, database, password), max })
      // A pool that has ended may have connections that the server does not know to be over: dropping the database cuts
      // them, and says so to them.
      pool.on('error', () => {})
      return pool
    },
    async close() {
      await dropDatabases(admin, names)
      await admin.end()
    },
  }
}
