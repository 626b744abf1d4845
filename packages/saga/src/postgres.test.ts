import { PGlite } from '@electric-sql/pglite'
import type { Pool } from 'pg'
import { afterAll, expect, onTestFinished, test, vi } from 'vitest'
import { POSTGRES_OF_TESTS } from '../../../tooling/databases.js'
import { createSagaEngine, type Database, eventType, type Queryable, saga } from './index.js'
import { migrateSchema } from './postgres/schema.js'
import { statementsFor } from './postgres/statements.js'
import { postgresStore } from './postgres.js'
import { FRESH } from './state.js'
import { openPool, pgliteDatabase, postgresDatabase } from './testing/databases.js'
import { gate } from './testing/every-store.js'

/** An embedded database as one of several services sees it: its own role, without the right to create a schema. */
function asRole(embedded: PGlite, role: string): Database & { transaction: NonNullable<unknown> } {
  const transaction = <T>(run: (tx: Queryable) => Promise<T>): Promise<T> =>
    embedded.transaction(async (tx) => {
      await tx.exec(`SET LOCAL ROLE ${role}; SET LOCAL search_path TO ${role}`)
      return run(tx)
    })
  return { transaction, query: (text, values) => transaction((tx) => tx.query(text, values)) }
}

test('works for a role that may not create schemas, when its schema is there', { timeout: 30_000 }, async () => {
  const embedded = new PGlite()
  onTestFinished(() => embedded.close())
  await embedded.exec('CREATE ROLE orders NOLOGIN; CREATE SCHEMA orders_saga AUTHORIZATION orders')
  const store = postgresStore({ pool: asRole(embedded, 'orders'), schema: 'orders_saga' })

  await store.migrate()
  await store.migrate()

  const order = saga<null>('order')
    .txStep('a', async (tx) => (await tx.query('SELECT current_user AS me')).rows[0].me as string)
    .returns(({ results }) => results.a)
  const engine = createSagaEngine({ store, sagas: [order] })
  onTestFinished(() => engine.close())
  await engine.run()
  expect(await (await engine.start(order, null)).result()).toBe('orders')

  const stranger = postgresStore({ pool: asRole(embedded, 'orders'), schema: 'nobodys' })
  await expect(stranger.migrate()).rejects.toThrow('permission denied')
})

test('migrates once, however many processes do it at the same time', async ({ skip }) => {
  const database = await postgresDatabase()
  if (!database) return skip('no PostgreSQL')
  const schema = `msx_saga_${crypto.randomUUID().slice(0, 8)}`
  onTestFinished(async () => {
    await database.pool.query(`DROP SCHEMA ${schema} CASCADE`)
    await database.close()
  })

  await Promise.all(Array.from({ length: 6 }, () => postgresStore({ pool: database.pool, schema }).migrate()))

  expect((await database.pool.query(`SELECT version FROM ${schema}.migration_done`)).rows).toEqual([
    { version: 1 },
    { version: 2 },
    { version: 3 },
    { version: 4 },
  ])
})

test('brings a schema of the first version forward, with what is in it', { timeout: 30_000 }, async () => {
  const database = await pgliteDatabase()
  onTestFinished(() => database.close())
  const at = 'msx_saga_old'
  await database.transaction((tx) => migrateSchema(tx, at, 1))
  const id = '01890000-0000-7000-8000-000000000000'
  await database.pool.query(
    `INSERT INTO ${at}.saga (id, name, version, shape, status, wake_at, created_at, cursor, rev)
     VALUES ('${id}', 'order', 1, '${shape}', 'running', now(), now(), 1, 2)`,
  )
  await database.pool.query(
    `INSERT INTO ${at}.saga_step (saga_id, seq, name, kind, outcome, attempt, output, took, at)
     VALUES ('${id}', 2, 'a', 'do', 'ok', 1, '1', 1, now())`,
  )

  const store = postgresStore({ pool: database.pool, schema: at })
  await store.migrate()
  const engine = createSagaEngine({ store, sagas: [twoSteps] })
  onTestFinished(() => engine.close())
  await engine.run()

  expect((await engine.settled(id)).output).toBe(2)
})

test('has a clock for tests that moves for all who use the schema', { timeout: 60_000 }, async () => {
  const database = await pgliteDatabase()
  onTestFinished(() => database.close())
  const store = postgresStore({ pool: database.pool, testClock: true })
  await store.migrate()
  await store.migrate()
  const order = saga<null>('order')
    .sleep('week', 7 * 86_400_000)
    .returns(() => 'awake')
  const engine = createSagaEngine({ store, sagas: [order], lease: { ttl: 500 } })
  onTestFinished(() => engine.close())
  await engine.run()
  const { id } = await engine.start(order, null)
  await vi.waitFor(async () => expect((await engine.get(id))?.status).toBe('waiting'), { timeout: 5_000 })

  await store.advance?.(6 * 86_400_000)
  await new Promise((resolve) => setTimeout(resolve, 50))
  expect((await engine.get(id))?.status).toBe('waiting')
  await store.advance?.(86_400_000)

  expect((await engine.settled(id, { timeout: 20_000 })).output).toBe('awake')
  expect(postgresStore({ pool: database.pool }).advance).toBeUndefined()
  await expect(store.advance?.(-1)).rejects.toThrow('advance must be milliseconds')
})

const twoSteps = saga<null>('order')
  .step('a', () => 1)
  .step('b', ({ results }) => results.a + 1)
  .returns(({ results }) => results.b)
const { shape } = twoSteps

test('finds due sagas by the index', async ({ skip }) => {
  const database = await postgresDatabase()
  if (!database) return skip('no PostgreSQL')
  const schema = `msx_saga_${crypto.randomUUID().slice(0, 8)}`
  await postgresStore({ pool: database.pool, schema }).migrate()
  onTestFinished(async () => {
    await database.pool.query(`DROP SCHEMA ${schema} CASCADE`)
    await database.close()
  })
  await database.pool.query(
    `INSERT INTO ${schema}.saga (id, name, version, shape, status, wake_at, created_at)
     SELECT gen_random_uuid(), 'order', 1, 's', 'running', now() + interval '1 hour', now() FROM generate_series(1, 5000)`,
  )
  await database.pool.query(`ANALYZE ${schema}.saga`)

  const plan = await database.pool.query(`EXPLAIN ${statementsFor(schema).claim}`, [
    crypto.randomUUID(),
    '[{"name":"order","version":1}]',
    10,
    '[]',
  ])

  const told = plan.rows.map((row) => Object.values(row)[0]).join('\n')
  expect(told).toContain('saga_due')
  expect(told).toContain('saga_owned')
})

const forIndexes = await pgliteDatabase()
const indexed = { database: forIndexes, schema: (await forIndexes.store()).schema }
afterAll(() => forIndexes.close())

/** A batch of no transitions. */
const NOTHING = Array.from({ length: 16 }, () => '{}')

test.each([
  ['commit', NOTHING, ['saga_pkey']],
  ['commitFar', NOTHING, ['saga_pkey', 'saga_wait_pkey', 'saga_lock_pkey', 'saga_mail_pending']],
  ['park', ['[]', 0, 10], ['saga_due']],
  ['deliver', ['e', 'k', null, null], ['saga_wait_box']],
  ['isDuplicate', ['e', 'k', 'm'], ['saga_mail_once']],
  ['prune', [0, 10], ['saga_finished', 'saga_pkey']],
  ['pruneMail', [0, 10], ['saga_mail_taken']],
  ['running', ['order'], ['saga_owned']],
  ['load', ['01890000-0000-7000-8000-000000000000'], ['saga_pkey', 'saga_step_pkey']],
  ['findByKey', ['order', 'k'], ['saga_key']],
] as const)('can answer %s by an index', { timeout: 20_000 }, async (name, values, indexes) => {
  const { database, schema } = indexed
  const statement = statementsFor(schema)[name]

  const told = await database.transaction(async (tx) => {
    await tx.query('SET LOCAL enable_seqscan = off')
    const { rows } = await tx.query(`EXPLAIN ${statement}`, [...values])
    return rows.map((row) => Object.values(row)[0]).join('\n')
  })

  for (const index of indexes) expect(told).toContain(index)
})

// The table is empty, was never analysed, and may have a million rows before the plan is made again.
test.each([
  ['commit', NOTHING.length, ['saga_pkey']],
  ['claim', 4, ['saga_pkey', 'saga_due', 'saga_mail_pending']],
  ['load', 1, ['saga_pkey', 'saga_step_pkey']],
  ['findByKey', 2, ['saga_key']],
] as const)(
  '%s is prepared with a plan that still holds when the table has grown',
  async (name, parameters, indexes) => {
    const { database, schema } = indexed
    const values = Array.from({ length: parameters }, () => 'NULL').join(', ')

    const told = await database.transaction(async (tx) => {
      await tx.query('SET LOCAL plan_cache_mode = force_generic_plan')
      await tx.query(`PREPARE asked_${name} AS ${statementsFor(schema)[name]}`)
      const { rows } = await tx.query(`EXPLAIN EXECUTE asked_${name}(${values})`)
      return rows.map((row) => String(Object.values(row)[0])).join('\n')
    })

    for (const index of indexes) expect(told).toContain(index)
    expect(told).not.toMatch(/Seq Scan on saga( |$)/m)
    expect(told).not.toContain('Seq Scan on saga_step')
  },
)

test('goes on without prepared statements behind a pooler that does not know them', async ({ skip }) => {
  const database = await postgresDatabase()
  if (!database) return skip('no PostgreSQL')
  onTestFinished(() => database.close())
  const { schema } = await database.store()
  const pool = database.pool as Pool
  const named: string[] = []
  const pooler = Object.assign(Object.create(pool) as Pool, {
    query: async (asked: string | { name: string }, values?: unknown[]) => {
      if (typeof asked === 'string') return pool.query(asked, values)
      named.push(asked.name)
      throw Object.assign(new Error(`prepared statement "${asked.name}" does not exist`), { code: '26000' })
    },
  })
  const order = saga<null>('order')
    .step('a', () => 'done')
    .returns(({ results }) => results.a)
  const engine = createSagaEngine({ store: postgresStore({ pool: pooler, schema }), sagas: [order] })
  await engine.run()

  const handle = await engine.start(order, null)

  expect(await handle.result()).toBe('done')
  expect(named).toHaveLength(1)
  await engine.close()
})

test('survives the end of its connections in the middle of a transactional step', async ({ skip }) => {
  const database = await postgresDatabase()
  if (!database) return skip('no PostgreSQL')
  onTestFinished(() => database.close())
  const store = await database.store()
  let attempts = 0
  const order = saga<null>('order')
    .txStep(
      'a',
      async (tx) => {
        attempts++
        const [{ pid }] = (await tx.query('SELECT pg_backend_pid() AS pid')).rows
        if (attempts > 1) return 'a'
        await database.pool.query('SELECT pg_terminate_backend($1)', [pid])
        // The step works on something else while its connection breaks.
        await new Promise((resolve) => setTimeout(resolve, 50))
        return 'lost'
      },
      { retry: { backoff: () => 0 } },
    )
    .returns(({ results }) => results.a)
  const engine = createSagaEngine({ store, sagas: [order] })
  onTestFinished(() => engine.close())
  await engine.run()

  expect(await (await engine.start(order, null)).result()).toBe('a')
})

test('takes a saga away from a process that stops in the middle of a transaction', async ({ skip }) => {
  const database = await postgresDatabase()
  if (!database) return skip('no PostgreSQL')
  onTestFinished(() => database.close())
  const store = await database.store()
  const worker = crypto.randomUUID()
  await store.enlist(worker, 50)
  const { saga: row } = await store.create({
    id: crypto.randomUUID(),
    name: 'order',
    version: 1,
    shape: 's',
    key: undefined,
    input: undefined,
    tags: {},
    delay: undefined,
    deadline: undefined,
    worker,
    progress: FRESH,
  })
  let wake: (reason: Error) => void = () => undefined
  const asleep = new Promise<never>((_, reject) => {
    wake = reject
  })
  const stopped = store.commitWith(row, () => asleep, 200)
  const zombie = stopped.catch((error: Error) => error.message)

  await vi.waitFor(async () => expect(await store.sweep()).toBe(1), { timeout: 2_000, interval: 50 })

  expect(await store.load(row.id)).toMatchObject({ worker: undefined, fence: 2 })
  wake(new Error('awake'))
  expect(await zombie).toBe('awake')
})

test('goes on when the database comes back', { timeout: 30_000 }, async () => {
  const database = await pgliteDatabase()
  onTestFinished(() => database.close())
  let away = false
  const { pool } = database
  const flaky = {
    query: async (text: string, values?: unknown[]) => {
      if (away) throw new Error('the database is away')
      return pool.query(text, values)
    },
    transaction: <T>(run: (tx: Queryable) => Promise<T>) =>
      away ? Promise.reject(new Error('the database is away')) : database.transaction(run),
  }
  const store = postgresStore({ pool: flaky })
  await store.migrate()
  const order = saga<null>('order')
    .step('a', () => {
      away = true
      setTimeout(() => {
        away = false
      }, 200)
    })
    .txStep('b', () => 'b')
    .returns(({ results }) => results.b)
  const engine = createSagaEngine({ store, sagas: [order] })
  onTestFinished(() => engine.close())
  const errors = vi.fn()
  engine.on('storeError', errors)
  await engine.run()

  const { id } = await engine.start(order, null)

  await vi.waitFor(() => expect(errors).toHaveBeenCalled())
  await vi.waitFor(() => expect(away).toBe(false))
  expect((await engine.settled(id, { timeout: 10_000 })).output).toBe('b')
})

test('says what to do where the tables are not there', async ({ skip }) => {
  const database = await postgresDatabase()
  if (!database) return skip('no PostgreSQL')
  onTestFinished(() => database.close())
  const order = saga<null>('order').returns(() => null)
  const store = postgresStore({ pool: database.pool, schema: 'msx_saga_never_made' })
  const engine = createSagaEngine({ store, sagas: [order] })
  onTestFinished(() => engine.close())

  const refused = { message: expect.stringContaining("'msx_saga_never_made' does not have its tables: call migrate()") }
  await expect(engine.run()).rejects.toMatchObject({ ...refused, code: '42P01' })
  await expect(engine.start(order, null)).rejects.toMatchObject(refused)
})

test('renews its lease while transactional steps take all the connections they can get', async ({ skip }) => {
  const database = await postgresDatabase()
  if (!database) return skip('no PostgreSQL')
  const { schema } = await database.store()
  const pool = openPool(POSTGRES_OF_TESTS, 2)
  onTestFinished(async () => {
    await pool.end()
    await database.close()
  })
  const end = gate()
  const order = saga<null>('order')
    .txStep('slow', () => end.promise)
    .returns(() => 'done')
  // Long enough for a busy machine to renew it in time.
  const engine = createSagaEngine({ store: postgresStore({ pool, schema }), sagas: [order], lease: { ttl: 2_000 } })
  onTestFinished(() => engine.close())
  const lost = vi.fn()
  engine.on('leaseLost', lost)
  await engine.run()
  const handles = await Promise.all([1, 2, 3].map(() => engine.start(order, null)))

  const expires = async (): Promise<number> => {
    const { rows } = await database.pool.query(
      `SELECT extract(epoch FROM max(expires_at))::float8 AS at FROM ${schema}.saga_worker`,
    )
    return rows[0].at * 1_000
  }
  const first = await expires()
  await vi.waitFor(async () => expect(await expires()).toBeGreaterThan(first + 1_200), {
    timeout: 10_000,
    interval: 50,
  })
  end.open()

  expect(await Promise.all(handles.map((handle) => handle.result()))).toEqual(['done', 'done', 'done'])
  expect(lost).not.toHaveBeenCalled()
})

test('refuses to LISTEN on the only connection of a pool', async ({ skip }) => {
  const database = await postgresDatabase()
  if (!database) return skip('no PostgreSQL')
  await database.close()
  const pool = openPool(POSTGRES_OF_TESTS, 1)
  onTestFinished(() => pool.end())

  expect(() => postgresStore({ pool, notify: true })).toThrow(/^postgresStore: notify needs a pool of at least 2/)
})

test('works in a database whose transactions are REPEATABLE READ, and leaves steps theirs', async ({ skip }) => {
  const database = await postgresDatabase()
  if (!database) return skip('no PostgreSQL')
  const { schema } = await database.store()
  const pool = openPool(POSTGRES_OF_TESTS, 4, '-c default_transaction_isolation=repeatable\\ read')
  onTestFinished(async () => {
    await pool.end()
    await database.close()
  })
  const paid = eventType<number>('paid')
  const order = saga<null>('order')
    .txStep('a', async (tx) => (await tx.query('SHOW transaction_isolation')).rows[0].transaction_isolation as string)
    .waitFor('payment', paid, { key: ({ sagaId }) => sagaId })
    .returns(({ results }) => [results.a, results.payment])
  const engine = createSagaEngine({ store: postgresStore({ pool, schema }), sagas: [order] })
  onTestFinished(() => engine.close())
  await engine.run()

  const handle = await engine.start(order, null)
  await engine.send(paid, handle.id, 7)

  expect(await handle.result()).toEqual(['repeatable read', 7])
})
