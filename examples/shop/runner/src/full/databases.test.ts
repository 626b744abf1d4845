import { type Database, pooledDatabase } from '@shop/platform'
import pg from 'pg'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { databaseUrl } from './addresses.js'
import { claimShop } from './admin.js'
import { dropDatabases, provisionDatabases } from './provision.js'
import { type TestPostgres, testPostgres } from './test-postgres.js'

const server = await testPostgres()
const timeout = 30_000

describe.skipIf(server === undefined)('on a real PostgreSQL', { timeout }, () => {
  // What is skipped is collected all the same: without a server there are names, and nobody uses them.
  const { admin, url, name } = server ?? ({ name: () => 'nobody' } as TestPostgres)
  const users = name()
  const orders = name()
  const passwords = { [users]: 'p-users', [orders]: 'p-orders' }

  beforeAll(() => provisionDatabases(admin, [users, orders], passwords), timeout)

  afterAll(() => server?.close(), timeout)

  describe('provisionDatabases', () => {
    test('may be repeated, and keeps what is in the databases', async () => {
      await asked(users, 'CREATE TABLE kept (word text)')

      await provisionDatabases(admin, [users, orders], passwords)

      expect((await asked(users, 'SELECT * FROM kept')).rows).toEqual([])
    })

    test('gives each role its own database, where it may make what it likes', async () => {
      await asked(users, 'CREATE SCHEMA more; CREATE TABLE more.things (id text)')

      const { rows } = await asked(users, 'SELECT current_user::text AS role, current_database()::text AS database')
      expect(rows).toEqual([{ role: users, database: users }])
    })

    test('keeps every other role out', async () => {
      const stranger = new URL(databaseUrl(url, orders, passwords[orders]!))
      stranger.pathname = `/${users}`
      const client = new pg.Client({ connectionString: stranger.href })

      await expect(client.connect()).rejects.toMatchObject({ code: '42501' })
      await client.end()
    })

    test('gives a role the password of this start', async () => {
      const before = await admin.query('SELECT rolpassword FROM pg_authid WHERE rolname = $1', [users])

      await provisionDatabases(admin, [users], { [users]: 'another' })

      const after = await admin.query('SELECT rolpassword FROM pg_authid WHERE rolname = $1', [users])
      expect(after.rows[0].rolpassword).not.toBe(before.rows[0].rolpassword)
      await provisionDatabases(admin, [users], passwords)
    })
  })

  test('dropDatabases drops databases and roles, also while somebody is connected', async () => {
    const gone = name()
    await provisionDatabases(admin, [gone], { [gone]: 'p' })
    const client = new pg.Client({ connectionString: databaseUrl(url, gone, 'p') })
    const cut = new Promise((resolve) => {
      client.on('error', resolve)
    })
    await client.connect()

    await dropDatabases(admin, [gone])
    await dropDatabases(admin, [gone])

    await cut
    expect((await admin.query('SELECT FROM pg_roles WHERE rolname = $1', [gone])).rows).toEqual([])
  })

  test('claimShop lets one in at a time', async () => {
    const shop = name()
    const first = await claimShop(url, shop)

    await expect(claimShop(url, shop)).rejects.toThrow(`a shop named '${shop}' runs on these servers already`)

    await first.end()
    await expect
      .poll(() =>
        claimShop(url, shop)
          .then((client) => client.end())
          .then(
            () => 'mine',
            () => 'taken',
          ),
      )
      .toBe('mine')
  })

  test('claimShop says that the address is at fault, and never its password', async () => {
    const elsewhere = new URL(url)
    elsewhere.pathname = '/no_such_database'

    await expect(claimShop(elsewhere.href, name())).rejects.toThrow(
      'PostgreSQL does not let DATABASE_URL in: database "no_such_database" does not exist',
    )
  })

  describe('pooledDatabase', () => {
    let pool: pg.Pool
    let database: Database

    beforeEach(async () => {
      pool = server!.pool(orders, passwords[orders]!, 1)
      database = pooledDatabase(pool)
      await database.execute('DROP TABLE IF EXISTS notes; CREATE TABLE notes (word text)')
    })

    afterEach(() => pool.end())

    const words = async () =>
      (await database.query<{ word: string }>('SELECT word FROM notes')).rows.map((row) => row.word)

    test('commits what a transaction did, and returns its result', async () => {
      const result = await database.transaction(async (tx) => {
        await tx.query('INSERT INTO notes VALUES ($1)', ['kept'])
        await tx.execute("INSERT INTO notes VALUES ('also'); INSERT INTO notes VALUES ('this')")
        return 7
      })

      expect(result).toBe(7)
      // By another connection: this one would also see what it has not committed.
      expect((await asked(orders, 'SELECT word FROM notes')).rows.map(({ word }) => word)).toEqual([
        'kept',
        'also',
        'this',
      ])
    })

    test('rolls back what a rejected transaction did, and uses its connection again', async () => {
      const reason = new Error('changed my mind')
      const pid = await backend()

      const result = database.transaction(async (tx) => {
        await tx.query('INSERT INTO notes VALUES ($1)', ['one'])
        throw reason
      })

      await expect(result).rejects.toBe(reason)
      expect(await words()).toEqual([])
      expect(await backend()).toBe(pid)
    })

    test('goes on after a statement that failed inside a transaction', async () => {
      const failing = database.transaction((tx) => tx.query('SELECT nonsense'))

      await expect(failing).rejects.toMatchObject({ code: '42703' })
      expect(await words()).toEqual([])
    })

    test('rejects when a failed statement was passed over and nothing could be committed', async () => {
      const result = database.transaction(async (tx) => {
        await tx.query('INSERT INTO notes VALUES ($1)', ['lost'])
        await tx.query('SELECT nonsense').catch(() => {})
      })

      await expect(result).rejects.toThrow('nothing was committed, because a statement had failed before')
      expect(await words()).toEqual([])
    })

    test('does not wait for a query that a rejected transaction left running', async () => {
      const began = performance.now()
      let left: Promise<unknown> = Promise.resolve()

      const result = database.transaction(async (tx) => {
        left = tx.query("INSERT INTO notes SELECT 'late' FROM pg_sleep(2)")
        left.catch(() => {})
        throw new Error('no time')
      })

      await expect(result).rejects.toThrow('no time')
      expect(await words()).toEqual([])
      expect(performance.now() - began).toBeLessThan(1_500)
      await expect(left).rejects.toThrow()
    })

    test('refuses a transaction that is over to whoever kept it', async () => {
      const kept = await database.transaction(async (tx) => tx)

      await expect(kept.query("INSERT INTO notes VALUES ('late')")).rejects.toThrow('this transaction is over')
      await expect(kept.execute("INSERT INTO notes VALUES ('late')")).rejects.toThrow('this transaction is over')
      expect(await words()).toEqual([])
    })

    test('survives a connection that breaks in the middle, and takes another', async () => {
      const result = database.transaction(async (tx) => {
        const pid = (await tx.query<{ pid: number }>('SELECT pg_backend_pid() AS pid')).rows[0]?.pid
        await admin.query('SELECT pg_terminate_backend($1)', [pid])
        await tx.query('SELECT 1')
      })

      await expect(result).rejects.toThrow()
      expect(await words()).toEqual([])
    })

    const backend = async () => (await database.query<{ pid: number }>('SELECT pg_backend_pid() AS pid')).rows[0]?.pid
  })

  async function asked(role: string, script: string) {
    const client = new pg.Client({ connectionString: databaseUrl(url, role, passwords[role]!) })
    await client.connect()
    try {
      return await client.query(script)
    } finally {
      await client.end()
    }
  }
})
