import { afterAll, describe, expect, onTestFinished, test, vi } from 'vitest'
import { createBus } from '../bus.js'
import { MessagingError } from '../errors.js'
import { memory } from '../memory/memory.js'
import type { Database, Queryable } from '../shapes.js'
import {
  openPool,
  POSTGRES_OF_TESTS,
  pgliteDatabase,
  postgresDatabase,
  type TestDatabase,
} from '../testing/databases.js'
import type { Transport } from '../transport.js'
import { events, outboxFixture, until } from './fixture.js'
import { inbox } from './inbox.js'
import { createOutbox, type OutboxPublishOptions } from './outbox.js'

const databases: TestDatabase[] = [await pgliteDatabase(), await postgresDatabase()].filter((one) => one !== undefined)
vi.setConfig({ testTimeout: 30_000 })
afterAll(() => Promise.all(databases.map((database) => database.close())))

/** A broker that refuses what it is given for good, as RabbitMQ does with headers that fit no frame. */
function refusing(refuses: (key: unknown) => boolean): Transport {
  const broker = memory()

  return {
    async connect(terms) {
      const connection = await broker.connect(terms)
      const publish = connection.publish.bind(connection)
      connection.publish = (message, options) => {
        if (!refuses(message.headers['cloudEvents_partitionkey'])) return publish(message, options)

        return Promise.reject(new MessagingError('MSX_TOO_LARGE', 'no frame is so large\0', { retryable: false }))
      }
      return connection
    },
  }
}

describe.each(databases.map((database) => [database.name, database] as const))('on %s', (name, database) => {
  test('a key of any length that the broker refuses is parked, and stops nobody else', async () => {
    // Random, so that no compression makes it fit a page of an index after all.
    const key = Array.from({ length: 20_000 }, () => Math.floor(Math.random() * 36).toString(36)).join('')
    const transport = refusing((given) => given === key)
    const { outbox, bus, received } = await outboxFixture(database, { transport })
    await using relay = outbox.relay(bus, { reconnect: () => 5 })
    const interruptions: unknown[] = []
    relay.on('interrupted', ({ error }) => interruptions.push(error))

    await outbox.transaction(async (tx) => {
      await outbox.publish(tx, 'note.made', { text: 'long' }, { key })
      await outbox.publish(tx, 'note.made', { text: 'behind it' }, { key })
      await outbox.publish(tx, 'note.made', { text: 'short' }, { key: 'k' })
    })

    await until(() => received.length > 0 || interruptions.length > 0)
    await until(async () => interruptions.length > 0 || (await outbox.parked()).length > 0)
    expect(interruptions).toEqual([])
    expect(received).toEqual(['short'])
    expect(await outbox.parked()).toMatchObject([{ key, code: 'MSX_TOO_LARGE', reason: 'no frame is so large\ufffd' }])
  })

  test.each<[string, OutboxPublishOptions, string]>([
    ['id', { id: 'a\0b' }, 'id'],
    ['key', { key: '\ud800' }, 'key'],
    ['correlationId', { correlationId: '\0' }, 'correlationId'],
    ['causationId', { causationId: 'x\udc00' }, 'causationId'],
    ['header', { headers: { note: '\0' } }, "header 'note'"],
    ['name of a header', { headers: { 'no\0te': 'x' } }, 'the name of header "no\\u0000te"'],
  ])('what the database cannot keep as it is, it is not given: %s', async (_, options, field) => {
    const { outbox, bus, received } = await outboxFixture(database)

    await outbox.transaction(async (tx) => {
      const refused = outbox.publish(tx, 'note.made', { text: 'x' }, options)
      await expect(refused).rejects.toMatchObject({
        code: 'MSX_NOT_STORABLE',
        message: expect.stringContaining(`${field} has a NUL`),
        details: { type: 'note.made', field },
      })
      // Nothing reached the database, so its transaction goes on.
      await outbox.publish(tx, 'note.made', { text: 'y' }, { key: '\ud83d\ude00', headers: { note: 'grün\n' } })
    })

    await using _relay = outbox.relay(bus)
    await until(() => received.length === 1)
    expect(received).toEqual(['y'])
  })

  test('a key that the data has is looked at too', async () => {
    const { outbox } = await outboxFixture(database)

    await outbox.transaction(async (tx) => {
      const batch = [{ type: 'order.created', data: { orderId: 'o\0', n: 1 } } as const]
      await expect(outbox.publishMany(tx, batch)).rejects.toMatchObject({
        code: 'MSX_NOT_STORABLE',
        message: expect.stringContaining("item 0 of the batch: 'order.created' cannot be kept in an outbox: key"),
      })
    })
  })

  test('a foreign id that no column can hold is handled once all the same', async () => {
    const schema = database.schema()
    const box = inbox({ pool: database.pool, schema })
    await box.migrate()
    const broker = memory()
    const bus = createBus({ events, transport: broker, source: 'tests', use: [box] })
    onTestFinished(() => bus.close())
    const handled: string[] = []
    bus.subscribe('notes', 'note.made', ({ id }) => void handled.push(id), { retry: false })

    for (const id of ['a\0', 'a\0', 'a\ud800', 'a\ud801', 'a\ud800']) {
      await bus.publish('note.made', { text: 'x' }, { id })
      await broker.drain()
    }

    expect(handled).toEqual(['a\0', 'a\ud800', 'a\ud801'])
    expect(broker.deadLetters('notes')).toEqual([])
  })

  test('without tables, everything says what to do', async () => {
    const schema = database.schema()
    const outbox = createOutbox({ events, pool: database.pool, schema })
    const box = inbox({ pool: database.pool, schema })
    const unmigrated = {
      code: 'MSX_NOT_MIGRATED',
      message: `the tables of schema '${schema}' are missing or older than this release: run migrate() of the outbox or the inbox once, or what migrations() prints`,
      cause: expect.objectContaining({ code: '42P01' }),
    }

    await expect(outbox.transaction((tx) => outbox.publish(tx, 'note.made', { text: 'x' }))).rejects.toMatchObject(
      unmigrated,
    )
    await expect(outbox.parked()).rejects.toMatchObject(unmigrated)
    await expect(outbox.retry(['1'])).rejects.toMatchObject(unmigrated)
    await expect(outbox.stats()).rejects.toMatchObject(unmigrated)
    await expect(box.prune({ olderThan: 0 })).rejects.toMatchObject(unmigrated)

    const broker = memory()
    const bus = createBus({ events, transport: broker, source: 'tests', use: [box] })
    onTestFinished(() => bus.close())
    bus.subscribe('notes', 'note.made', () => {}, { retry: false })
    await bus.publish('note.made', { text: 'x' })
    await broker.drain()
    expect(broker.deadLetters('notes')).toMatchObject([{ code: 'MSX_NOT_MIGRATED' }])
  })

  test('a relay that is there before the tables waits for them, and says so', async () => {
    const schema = database.schema()
    const outbox = createOutbox({ events, pool: database.pool, schema })
    const broker = memory()
    const bus = createBus({ events, transport: broker, source: 'tests' })
    onTestFinished(() => bus.close())
    const received: string[] = []
    bus.subscribe('notes', 'note.made', ({ data }) => void received.push(data.text))
    await using relay = outbox.relay(bus, { reconnect: () => 5 })
    const interruptions: unknown[] = []
    relay.on('interrupted', ({ error }) => interruptions.push(error))
    await until(() => interruptions.length > 0)
    expect(interruptions[0]).toMatchObject({ code: 'MSX_NOT_MIGRATED' })

    await outbox.migrate()
    await outbox.transaction((tx) => outbox.publish(tx, 'note.made', { text: 'a' }))

    await until(() => received.length === 1)
  })

  test('the missing table of somebody else is their own', async () => {
    const { outbox } = await outboxFixture(database)

    const failed = outbox.transaction((tx) => tx.query('SELECT * FROM no_such_table'))

    await expect(failed).rejects.toMatchObject({ code: '42P01' })
  })

  test('keeps an event back for longer than any timer can', async () => {
    const { outbox, bus, received, schema } = await outboxFixture(database)
    const days = 24 * 3_600_000
    await using relay = outbox.relay(bus)

    await outbox.transaction((tx) => outbox.publish(tx, 'note.made', { text: 'a' }, { delay: 400 * days }))
    const { rows } = await database.pool.query(
      `SELECT round(extract(epoch FROM due - at) / 86400)::int AS days FROM ${schema}.outbox`,
    )
    expect(rows).toEqual([{ days: 400 }])
    await until(() => relay.snapshot().outbox?.delayed === 1, 'the relay to see it')
    await database.pool.query(`UPDATE ${schema}.outbox SET due = due - interval '400 days'`)

    await until(() => received.length === 1)
  })

  test.each([-1, Number.NaN, Number.POSITIVE_INFINITY, 1e13, '5'])('refuses a delay of %j', async (delay) => {
    const { outbox } = await outboxFixture(database)

    const refused = outbox.publish(database.pool, 'note.made', { text: 'a' }, { delay: delay as number })

    await expect(refused).rejects.toThrow("publish 'note.made': delay must be a number of milliseconds from 0 to")
    await expect(refused).rejects.toBeInstanceOf(TypeError)
  })

  test('refuses wrong arguments, naming them', async () => {
    const { outbox } = await outboxFixture(database)
    const box = inbox({ pool: database.pool, schema: database.schema() })
    const refusals: [Promise<unknown>, string][] = [
      [outbox.parked({ limit: 0 }), 'parked: limit must be an integer from 1, got 0'],
      [outbox.parked({ limit: 'x' as never }), "parked: limit must be an integer from 1, got 'x'"],
      [outbox.parked(7 as never), 'parked: options must be an object, got 7'],
      [outbox.parked({ after: 'x' }), "parked: after must be ids of parked rows, got 'x'"],
      [outbox.retry('12' as never), "retry: ids must be an array of ids of parked rows, got '12'"],
      [outbox.retry(undefined as never), 'retry: ids must be an array of ids of parked rows, got undefined'],
      [outbox.retry(['9223372036854775808']), "retry: ids must be ids of parked rows, got '9223372036854775808'"],
      [outbox.retry([1.5]), 'retry: ids must be ids of parked rows, got 1.5'],
      [outbox.retry([-1n]), 'retry: ids must be ids of parked rows, got -1'],
      [outbox.retry([null as never]), 'retry: ids must be ids of parked rows, got null'],
      [box.prune(undefined as never), 'prune: options must be { olderThan }, got undefined'],
      [box.prune({ olderThan: Number.POSITIVE_INFINITY }), 'prune: olderThan must be a number of milliseconds'],
    ]

    for (const [refused, message] of refusals) {
      await expect(refused).rejects.toThrow(message)
      await expect(refused).rejects.toBeInstanceOf(TypeError)
    }
    expect(await outbox.parked({ limit: 2 ** 40 })).toEqual([])
    expect(await outbox.retry(['9223372036854775807', 3, 4n])).toBe(0)
  })

  test('shows what is parked page by page', async () => {
    const { outbox, schema } = await outboxFixture(database)
    await outbox.transaction(async (tx) => {
      // Above nine, where the order of texts is another one than that of numbers.
      for (let n = 0; n < 12; n += 1) await outbox.publish(tx, 'note.made', { text: String(n) })
    })
    await database.pool.query(`UPDATE ${schema}.outbox SET state = 3, code = 'x', reason = 'x', failed_at = now()`)

    const first = await outbox.parked({ limit: 8 })
    const rest = await outbox.parked({ after: first.at(-1)?.id })

    expect([first.length, rest.length]).toEqual([8, 4])
    expect([...first, ...rest].map(({ data }) => data)).toEqual(
      Array.from({ length: 12 }, (_, n) => ({ text: String(n) })),
    )
  })

  test.each<[string, () => number]>([
    ['has no number', () => Number.NaN],
    [
      'throws',
      () => {
        throw new Error('no idea')
      },
    ],
  ])('goes on with a back-off that %s', async (_, backoff) => {
    const { outbox, bus } = await outboxFixture(database)
    await using relay = outbox.relay(bus, { attempts: 2, backoff, reconnect: backoff })
    const delays: number[] = []
    relay.on('retry', ({ delay }) => delays.push(delay))

    await outbox.transaction((tx) => outbox.publish(tx, 'order.lost', { orderId: 'o-1' }))

    await until(async () => (await outbox.parked()).length === 1)
    expect(delays).toEqual([1_000])
  })

  if (name === 'PGlite') return

  test('an attempt whose time is up while it waits for a connection does not call the handler', async () => {
    const schema = database.schema()
    const pool = openPool(POSTGRES_OF_TESTS, 1)
    onTestFinished(() => pool.end())
    await late(pool, schema, async (isWaiting) => {
      const held = await pool.connect()
      await isWaiting(() => pool.waitingCount > 0)
      return () => held.release()
    })
  })

  test('an attempt whose time is up while it waits for a duplicate does not call the handler', async () => {
    const schema = database.schema()
    const pool = openPool(POSTGRES_OF_TESTS, 5)
    onTestFinished(() => pool.end())
    await late(pool, schema, async (isWaiting) => {
      const other = await database.pool.query('SELECT 1').then(() => pool.connect())
      await other.query('BEGIN')
      await other.query(`INSERT INTO ${schema}.inbox (group_name, message_id) VALUES ('notes', 'm-1')`)
      await isWaiting(async () => (await blocked(database.pool, schema)) > 0)
      return async () => {
        await other.query('ROLLBACK')
        other.release()
      }
    })
  })

  /** Publishes a message whose attempts cannot go on until `block` lets them, which is after their time. */
  async function late(
    pool: Database,
    schema: string,
    block: (isWaiting: (holds: () => boolean | Promise<boolean>) => Promise<void>) => Promise<() => unknown>,
  ): Promise<void> {
    const box = inbox({ pool, schema })
    await box.migrate()
    const broker = memory()
    const bus = createBus({ events, transport: broker, source: 'tests', use: [box] })
    onTestFinished(() => bus.close())
    const calls: string[] = []
    const outcomes: string[] = []
    bus.on('deadLetter', ({ code }) => outcomes.push(code))
    bus.on('handled', () => outcomes.push('handled'))
    bus.subscribe('notes', 'note.made', ({ id }) => void calls.push(id), { timeout: 100, retry: false })

    const unblock = await block(async (holds) => {
      await bus.publish('note.made', { text: 'a' }, { id: 'm-1' })
      await until(holds, 'the attempt to wait')
    })
    await until(() => outcomes.length > 0)
    await unblock()
    // The next message goes through the same way, behind whatever is left of the late attempt.
    await bus.publish('note.made', { text: 'b' }, { id: 'm-2' })
    await until(() => outcomes.length > 1)

    expect(outcomes).toEqual(['MSX_HANDLER_TIMEOUT', 'handled'])
    expect(calls).toEqual(['m-2'])
    expect((await pool.query(`SELECT message_id FROM ${schema}.inbox`)).rows).toEqual([{ message_id: 'm-2' }])
  }
})

async function blocked(pool: Queryable, schema: string): Promise<number> {
  const { rows } = await pool.query(
    `SELECT count(*)::int AS n FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%"${schema}".inbox%' AND pid <> pg_backend_pid()`,
  )
  return rows[0].n as number
}
