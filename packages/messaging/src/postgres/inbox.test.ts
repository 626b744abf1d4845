import { afterAll, describe, expect, onTestFinished, test, vi } from 'vitest'
import { createBus } from '../bus.js'
import { type MemoryTransport, memory } from '../memory/memory.js'
import type { Handler } from '../message.js'
import type { Queryable } from '../shapes.js'
import type { SubscribeOptions } from '../subscribe-options.js'
import { pgliteDatabase, postgresDatabase, type TestDatabase } from '../testing/databases.js'
import { events, type OutboxSchemas, until } from './fixture.js'
import { type Inbox, inbox } from './inbox.js'

const databases: TestDatabase[] = [await pgliteDatabase(), await postgresDatabase()].filter((one) => one !== undefined)
vi.setConfig({ testTimeout: 30_000 })
afterAll(() => Promise.all(databases.map((database) => database.close())))

interface InboxFixture {
  readonly box: Inbox
  readonly schema: string
  readonly broker: MemoryTransport
  publish(text: string, id: string): Promise<void>
  /** What the table of effects holds. */
  effects(): Promise<string[]>
}

/** A handler behind an inbox, with a table for its effects. */
async function inboxFixture(
  database: TestDatabase,
  handle: (tx: Queryable, text: string, signal: AbortSignal) => Promise<void>,
  options: SubscribeOptions = {},
): Promise<InboxFixture> {
  const schema = database.schema()
  const box = inbox({ pool: database.pool, schema })
  await box.migrate()
  await database.pool.query(`CREATE TABLE ${schema}.effect (text text)`)
  const broker = memory()
  const bus = createBus({ events, transport: broker, source: 'tests', use: [box] })
  onTestFinished(() => bus.close())
  const handler: Handler<OutboxSchemas, 'note.made'> = async ({ data, signal }, { tx }) => {
    await (tx as Queryable).query(`INSERT INTO ${schema}.effect VALUES ($1)`, [data.text])
    await handle(tx as Queryable, data.text, signal)
  }
  bus.subscribe('notes', 'note.made', handler, options)

  return {
    box,
    schema,
    broker,
    publish: (text, id) => bus.publish('note.made', { text }, { id }),
    effects: async () => (await database.pool.query(`SELECT text FROM ${schema}.effect`)).rows.map(({ text }) => text),
  }
}

describe.each(databases.map((database) => [database.name, database] as const))('an inbox on %s', (name, database) => {
  test('has one effect for a message that comes twice, and acknowledges both', async () => {
    let calls = 0
    const { publish, effects, broker } = await inboxFixture(database, async () => {
      calls += 1
    })

    await publish('a', 'm-1')
    await broker.drain()
    await publish('a', 'm-1')
    await publish('b', 'm-2')
    await broker.drain()

    expect(await effects()).toEqual(['a', 'b'])
    expect(calls).toBe(2)
    expect(broker.queues().find(({ name }) => name === 'notes')).toMatchObject({ ready: 0, unsettled: 0 })
  })

  test('undoes what a failing handler wrote, and handles the message again', async () => {
    let calls = 0
    const { publish, effects, broker } = await inboxFixture(database, async () => {
      calls += 1
      if (calls === 1) throw new Error('once')
    })

    await publish('a', 'm-1')
    await broker.drain()

    expect(calls).toBe(2)
    expect(await effects()).toEqual(['a'])
  })

  test('acknowledges only after the commit', async () => {
    const seen: unknown[] = []
    const { publish, effects, broker } = await inboxFixture(database, async () => {
      seen.push(broker.queues().find(({ name }) => name === 'notes')?.unsettled)
    })

    await publish('a', 'm-1')
    // The moment nothing is in hand any more, the effect is there for everybody.
    while (seen.length === 0 || broker.queues().some(({ unsettled }) => unsettled > 0)) {
      await new Promise((resolve) => setImmediate(resolve))
    }

    expect(seen).toEqual([1])
    expect(await effects()).toEqual(['a'])
  })

  test('rolls back a handler whose time is up, and lets it write nothing more', async () => {
    const late: unknown[] = []
    let calls = 0
    const { publish, effects, broker, schema } = await inboxFixture(
      database,
      async (tx, _, signal) => {
        calls += 1
        if (calls > 1) return
        await new Promise((resolve) => signal.addEventListener('abort', resolve))
        await new Promise((resolve) => setTimeout(resolve, 20))
        await tx.query(`INSERT INTO ${schema}.effect VALUES ('late')`).catch((error) => late.push(error))
      },
      { timeout: 300 },
    )

    await publish('a', 'm-1')
    await until(() => late.length > 0)
    await broker.drain()

    expect(await effects()).toEqual(['a'])
    expect(late).toEqual([new Error('this transaction is over')])
  })

  test('forgets what is old, in batches', async () => {
    const { publish, broker, box } = await inboxFixture(database, async () => {})
    for (let n = 0; n < 25; n += 1) await publish('a', `m-${n}`)
    await broker.drain()

    expect(await box.prune({ olderThan: 60_000 })).toBe(0)
    expect(await box.prune({ olderThan: 0, batch: 10 })).toBe(25)
  })

  if (name === 'PGlite') return

  test('lets a duplicate wait for the transaction that has the message', async () => {
    const { publish, effects, schema, broker } = await inboxFixture(database, async () => {})

    await database.transaction(async (tx) => {
      await tx.query(`INSERT INTO ${schema}.inbox (group_name, message_id) VALUES ('notes', 'm-1')`)
      await publish('a', 'm-1')
      await until(async () => (await waiting(database)) > 0, 'the duplicate to wait')
      expect(await effects()).toEqual([])
    })
    await broker.drain()

    expect(await effects()).toEqual([])
  })
})

async function waiting(database: TestDatabase): Promise<number> {
  const { rows } = await database.pool.query(
    `SELECT count(*)::int AS n FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%.inbox%' AND pid <> pg_backend_pid()`,
  )
  return rows[0].n as number
}

test('refuses wrong options', async () => {
  const pool = { query: async () => ({ rows: [] }), transaction: async () => undefined as never }

  expect(() => inbox({ pool: 7 as never })).toThrow('inbox: pool must be a pg.Pool or PGlite, got 7')
  expect(() => inbox({ pool, schema: 'A' })).toThrow(
    "inbox: schema must be a name of a-z, 0-9 and _, at most 63 characters and not beginning with pg_, got 'A'",
  )
  expect(() => inbox({ pool, schema: 'pg_mine' })).toThrow('inbox: schema must be')
  await expect(inbox({ pool }).prune({ olderThan: Number.NaN })).rejects.toThrow('prune: olderThan')
})
