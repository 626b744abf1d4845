import { randomBytes } from 'node:crypto'
import pg from 'pg'
import { missingServer } from '../../../../../tooling/missing-server.js'
import { readAddresses } from './addresses.js'
import { dropDatabases } from './provision.js'

/** The PostgreSQL for tests, as its administrator. */
export interface TestPostgres {
  readonly url: string
  readonly admin: pg.Client
  /** A name for a database and its role that nobody else has; both are dropped at the end. */
  name(): string
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
    async close() {
      await dropDatabases(admin, names)
      await admin.end()
    },
  }
}
