import { PGlite } from '@electric-sql/pglite'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Database } from './database.js'
import { type EmbeddedPostgres, embeddedPostgres } from './embedded.js'

let pglite: PGlite
let embedded: EmbeddedPostgres
let users: Database
let orders: Database

beforeAll(async () => {
  pglite = await PGlite.create()
  embedded = embeddedPostgres(pglite)
  await embedded.provision('users')
  await embedded.provision('orders', ['orders_sagas'])
  users = embedded.database('users')
  orders = embedded.database('orders')

  await users.execute("CREATE TABLE secrets (word text); INSERT INTO secrets VALUES ('sesame')")
  await orders.execute('CREATE TABLE orders (id text)')
})

afterAll(() => pglite.close())

describe('the database of a service', () => {
  it('finds its own tables without naming the schema', async () => {
    const { rows } = await users.query('SELECT word FROM secrets')

    expect(rows).toEqual([{ word: 'sesame' }])
  })

  it('is refused a look into another service’s tables', async () => {
    await expect(orders.query('SELECT word FROM users.secrets')).rejects.toMatchObject({ code: '42501' })
  })

  it('cannot make or change anything in another service’s schema', async () => {
    await expect(orders.execute('CREATE TABLE users.mine (id text)')).rejects.toMatchObject({ code: '42501' })
    await expect(orders.execute('DROP TABLE users.secrets')).rejects.toMatchObject({ code: '42501' })
  })

  it('cannot become another role with the next statement', async () => {
    await orders.execute('RESET ROLE').catch(() => undefined)

    await expect(orders.query('SELECT word FROM users.secrets')).rejects.toMatchObject({ code: '42501' })
  })

  it('uses the further schemas that were provisioned for it', async () => {
    await orders.execute('CREATE TABLE orders_sagas.saga (id text)')

    expect((await orders.query('SELECT id FROM orders_sagas.saga')).rows).toEqual([])
    await expect(users.query('SELECT id FROM orders_sagas.saga')).rejects.toMatchObject({ code: '42501' })
  })

  it('rolls back what a rejected transaction did', async () => {
    const reason = new Error('changed my mind')

    const result = orders.transaction(async (tx) => {
      await tx.query('INSERT INTO orders VALUES ($1)', ['one'])
      throw reason
    })

    await expect(result).rejects.toBe(reason)
    expect((await orders.query('SELECT id FROM orders')).rows).toEqual([])
  })

  it('commits what a transaction did, and shows it to nobody before', async () => {
    const seen: unknown[] = []
    const count = async () => (await orders.query<{ n: number }>('SELECT count(*)::int AS n FROM orders')).rows[0]?.n

    const [, after] = await Promise.all([
      orders.transaction(async (tx) => {
        await tx.query('INSERT INTO orders VALUES ($1)', ['two'])
        seen.push((await tx.query('SELECT id FROM orders')).rows)
      }),
      count(),
    ])

    expect(seen).toEqual([[{ id: 'two' }]])
    expect(after).toBe(1)
    await orders.query('DELETE FROM orders')
  })

  it('says that nothing was committed when the error of a statement was caught', async () => {
    const result = orders.transaction(async (tx) => {
      await tx.query('INSERT INTO orders VALUES ($1)', ['three'])
      await tx.query('SELECT 1/0').catch(() => undefined)
    })

    await expect(result).rejects.toThrow('nothing was committed')
    expect((await orders.query('SELECT id FROM orders')).rows).toEqual([])
  })

  it('goes on after a statement that failed, by itself or first in a transaction', async () => {
    await expect(orders.query('SELECT nonsense')).rejects.toMatchObject({ code: '42703' })
    await expect(orders.transaction((tx) => tx.query('SELECT 1/0'))).rejects.toMatchObject({ code: '22012' })
    await expect(orders.execute('SELECT 1; SELECT nonsense')).rejects.toMatchObject({ code: '42703' })

    expect((await orders.query('SELECT current_user::text AS role')).rows).toEqual([{ role: 'orders' }])
  })

  it('says so when what was written is refused at the commit', async () => {
    await orders.execute(`CREATE TABLE parents (id text PRIMARY KEY);
      CREATE TABLE children (parent text REFERENCES parents DEFERRABLE INITIALLY DEFERRED)`)

    await expect(orders.query("INSERT INTO children VALUES ('nobody')")).rejects.toMatchObject({ code: '23503' })
    await expect(orders.transaction((tx) => tx.query("INSERT INTO children VALUES ('nobody')"))).rejects.toMatchObject({
      code: '23503',
    })

    expect((await orders.query('SELECT * FROM children')).rows).toEqual([])
  })

  it('answers nobody who holds on to a transaction that is over', async () => {
    const kept = await orders.transaction(async (tx) => tx)

    await expect(kept.query('SELECT 1')).rejects.toThrow('this transaction is over')
  })

  it.each([
    ['text', 'text', 'it\'s \\ {"odd"}, ü'],
    ['int', 'int', -7],
    ['bigint', 'bigint', 9_007_199_254_740_991],
    ['float8', 'float8', 0.1],
    ['bool', 'bool', false],
    ['jsonb', 'jsonb', { a: [1, 'two', null] }],
    ['timestamptz', 'timestamptz', new Date('2026-11-30T01:02:03.004Z')],
    ['text[]', 'text[]', ['a', 'b,c', '"', '\\', '', 'NULL', null]],
    ['int[]', 'int[]', [1, -2]],
    ['null', 'text', null],
  ])('gives back %s as it was given', async (_, type, value) => {
    const { rows } = await orders.query(`SELECT $1::${type} AS value`, [value])

    expect(rows).toEqual([{ value }])
  })

  it('means by the same words the tables of whoever says them', async () => {
    await users.execute("CREATE TABLE notes (text text); INSERT INTO notes VALUES ('of users')")
    await orders.execute("CREATE TABLE notes (text text); INSERT INTO notes VALUES ('of orders')")

    for (let time = 0; time < 8; time += 1) {
      expect((await users.query('SELECT text FROM notes')).rows).toEqual([{ text: 'of users' }])
      expect((await orders.query('SELECT text FROM notes')).rows).toEqual([{ text: 'of orders' }])
    }
  })

  it('sees what became of a table since it was asked the same', async () => {
    await orders.execute('CREATE TABLE changing (id text); INSERT INTO changing VALUES (1)')
    const all = 'SELECT * FROM changing'
    for (let time = 0; time < 8; time += 1) expect((await orders.query(all)).rows).toEqual([{ id: '1' }])

    await orders.execute('ALTER TABLE changing ADD COLUMN more int DEFAULT 2')
    expect((await orders.query(all)).rows).toEqual([{ id: '1', more: 2 }])

    await orders.execute('ALTER TABLE changing ALTER COLUMN id TYPE int USING id::int')
    expect((await orders.query(all)).rows).toEqual([{ id: 1, more: 2 }])
  })

  it('asks the same again after it failed', async () => {
    await orders.execute('CREATE TABLE once (id text PRIMARY KEY)')
    const insert = 'INSERT INTO once VALUES ($1)'
    for (let time = 0; time < 8; time += 1) await orders.query(insert, [`${time}`])

    await expect(orders.query(insert, ['1'])).rejects.toMatchObject({ code: '23505' })
    await expect(
      orders.transaction(async (tx) => {
        await tx.query('SELECT 1/0').catch(() => undefined)
        await tx.query(insert, ['8'])
      }),
    ).rejects.toMatchObject({ code: '25P02' })
    await orders.query(insert, ['9'])

    expect((await orders.query('SELECT count(*)::int AS n FROM once')).rows).toEqual([{ n: 9 }])
  })

  it('takes any number of different statements, and any number of one', async () => {
    for (let n = 0; n < 600; n += 1) expect((await orders.query(`SELECT ${n} AS n`)).rows).toEqual([{ n }])
    for (let n = 0; n < 1_100; n += 1) await orders.query('SELECT $1::int AS n', [n])

    expect((await orders.query('SELECT $1::int AS n', [-1])).rows).toEqual([{ n: -1 }])
    const { rows } = await orders.query<{ n: number }>('SELECT count(*)::int AS n FROM pg_prepared_statements')
    expect(rows[0]?.n).toBeLessThanOrEqual(501)
  })

  it('keeps the roles apart when both ask at the same moment', async () => {
    const roles = await Promise.all(
      Array.from({ length: 20 }, (_, index) =>
        (index % 2 === 0 ? users : orders).query<{ role: string }>('SELECT current_user::text AS role'),
      ),
    )

    expect(roles.map(({ rows }) => rows[0]?.role)).toEqual(
      Array.from({ length: 20 }, (_, index) => (index % 2 === 0 ? 'users' : 'orders')),
    )
  })
})

describe('provision', () => {
  it('may be repeated', async () => {
    await embedded.provision('users')

    expect((await users.query('SELECT word FROM secrets')).rows).toHaveLength(1)
  })

  it.each(['Users', 'users; DROP TABLE x', '', '1st', 'a"b'])('refuses %j as a name', async (name) => {
    await expect(embedded.provision(name)).rejects.toThrow(TypeError)
    expect(() => embedded.database(name)).toThrow(TypeError)
  })
})
