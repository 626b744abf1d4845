import { randomBytes } from 'node:crypto'
import pg from 'pg'
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
    const why = `no PostgreSQL answers at ${new URL(url).host}: ${error instanceof Error ? error.message : error}`
    if (process.env['MSX_REQUIRE_SERVICES'] === '1') throw new Error(why, { cause: error })
    console.warn(`\n  SKIPPED: ${why}\n  Start one with \`scripts/services up postgres\`, or set DATABASE_URL.\n`)
    return undefined
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
