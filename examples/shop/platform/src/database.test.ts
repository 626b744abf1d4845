import { PGlite } from '@electric-sql/pglite'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Database, embeddedDatabase, provision } from './database.js'

let embedded: PGlite
let users: Database
let orders: Database

beforeAll(async () => {
  embedded = await PGlite.create()
  await provision(embedded, 'users')
  await provision(embedded, 'orders', ['orders_sagas'])
  users = embeddedDatabase(embedded, 'users')
  orders = embeddedDatabase(embedded, 'orders')

  await users.execute("CREATE TABLE secrets (word text); INSERT INTO secrets VALUES ('sesame')")
  await orders.execute('CREATE TABLE orders (id text)')
})

afterAll(() => embedded.close())

describe('embeddedDatabase', () => {
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
    await provision(embedded, 'users')

    expect((await users.query('SELECT word FROM secrets')).rows).toHaveLength(1)
  })

  it.each(['Users', 'users; DROP TABLE x', '', '1st', 'a"b'])('refuses %j as a name', async (name) => {
    await expect(provision(embedded, name)).rejects.toThrow(TypeError)
  })
})
