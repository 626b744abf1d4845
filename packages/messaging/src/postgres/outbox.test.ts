import { afterAll, describe, expect, onTestFinished, test, vi } from 'vitest'
import { memory } from '../memory/memory.js'
import type { Queryable } from '../shapes.js'
import type { Telemetry } from '../telemetry.js'
import { pgliteDatabase, postgresDatabase, type TestDatabase } from '../testing/databases.js'
import type { Transport } from '../transport.js'
import { events, outboxFixture, until } from './fixture.js'
import { createOutbox } from './outbox.js'

const databases: TestDatabase[] = [await pgliteDatabase(), await postgresDatabase()].filter((one) => one !== undefined)
vi.setConfig({ testTimeout: 30_000 })
afterAll(() => Promise.all(databases.map((database) => database.close())))

/** Counts statements. */
function counting(tx: Queryable): Queryable & { count: number } {
  const counted = {
    count: 0,
    query(text: string, values?: unknown[]) {
      counted.count += 1
      return tx.query(text, values)
    },
  }
  return counted
}

describe.each(databases.map((database) => [database.name, database] as const))('an outbox on %s', (name, database) => {
  test('publishes what was committed, as it was when it was written', async () => {
    const { outbox, bus, broker } = await outboxFixture(database)
    const before = Date.now()

    await database.transaction((tx) =>
      outbox.publish(
        tx,
        'order.created',
        { orderId: 'o-1', n: 1 },
        { id: 'm-1', headers: { traceparent: '00-a-b-01' }, correlationId: 'c-1', causationId: 'm-0' },
      ),
    )
    const written = Date.now()
    await using _ = outbox.relay(bus)
    await until(() => broker.published.length === 1)

    const [message] = broker.published
    expect(message).toMatchObject({
      id: 'm-1',
      type: 'order.created',
      data: { orderId: 'o-1', n: 1 },
      key: 'o-1',
      source: 'tests',
      correlationId: 'c-1',
      causationId: 'm-0',
      headers: { traceparent: '00-a-b-01' },
    })
    expect(message?.time.getTime()).toBeGreaterThanOrEqual(before)
    expect(message?.time.getTime()).toBeLessThanOrEqual(written)
    await until(async () => (await outbox.stats()).ready === 0)
  })

  test('publishes nothing of a transaction that was rolled back', async () => {
    const { outbox, bus, received } = await outboxFixture(database)
    await using _ = outbox.relay(bus)

    const failing = outbox.transaction(async (tx) => {
      await outbox.publish(tx, 'note.made', { text: 'never' })
      throw new Error('changed my mind')
    })
    await expect(failing).rejects.toThrow('changed my mind')
    await outbox.transaction((tx) => outbox.publish(tx, 'note.made', { text: 'later' }))

    await until(() => received.length > 0)
    expect(received).toEqual(['later'])
  })

  test('writes any number of events with one statement, and none when one is not valid', async () => {
    const { outbox, bus, received } = await outboxFixture(database)
    const batch = Array.from(
      { length: 50 },
      (_, n) => ({ type: 'order.created', data: { orderId: 'o-1', n } }) as const,
    )

    await database.transaction(async (tx) => {
      const counted = counting(tx)
      await outbox.publishMany(counted, batch)
      expect(counted.count).toBe(1)
      await expect(
        outbox.publishMany(counted, [...batch, { type: 'note.made', data: { text: 7 as unknown as string } }]),
      ).rejects.toMatchObject({ code: 'MSX_VALIDATION', message: expect.stringContaining('item 50 of the batch') })
      await expect(outbox.publish(counted, 'nope' as 'note.made', { text: 'x' })).rejects.toMatchObject({
        code: 'MSX_UNKNOWN_EVENT',
      })
      expect(counted.count).toBe(1)
    })

    await using _ = outbox.relay(bus)
    await until(() => received.length === 50)
    expect(received).toEqual(batch.map(({ data }) => `o-1:${data.n}`))
  })

  test('keeps text as it is', async () => {
    const { outbox, bus, received } = await outboxFixture(database)
    const text = 'grün \u0000 \ud83d\ude00 \ud800 " \\ \n'

    await outbox.transaction((tx) => outbox.publish(tx, 'note.made', { text }))

    await using _ = outbox.relay(bus)
    await until(() => received.length === 1)
    expect(received).toEqual([text])
  })

  test('keeps a delayed event back until it is due, and holds up nobody', async () => {
    const { outbox, bus, received } = await outboxFixture(database)
    await using _ = outbox.relay(bus)

    const startedAt = performance.now()
    await outbox.transaction(async (tx) => {
      await outbox.publish(tx, 'order.created', { orderId: 'o-1', n: 1 }, { delay: 1_000 })
      await outbox.publish(tx, 'order.created', { orderId: 'o-1', n: 2 })
    })

    await until(() => received.length > 0)
    expect(received).toEqual(['o-1:2'])
    await until(() => received.length === 2)
    expect(performance.now() - startedAt).toBeGreaterThan(995)
  })

  test('parks what the broker refuses, with its reason, and the rest of its key behind it, until retry', async () => {
    const { outbox, bus, received } = await outboxFixture(database)
    const parked: string[] = []
    await using relay = outbox.relay(bus, { attempts: 2, backoff: () => 5 })
    relay.on('parked', ({ type }) => parked.push(type))

    await outbox.transaction(async (tx) => {
      await outbox.publish(tx, 'order.lost', { orderId: 'o-1' }, { id: 'm-lost' })
      await outbox.publish(tx, 'order.created', { orderId: 'o-1', n: 1 })
      await outbox.publish(tx, 'order.created', { orderId: 'o-2', n: 1 })
      await outbox.publish(tx, 'note.made', { text: 'no key' })
    })

    await until(async () => (await outbox.parked()).length === 1)
    await until(() => received.length === 2)
    await outbox.transaction((tx) => outbox.publish(tx, 'order.created', { orderId: 'o-1', n: 2 }))
    await outbox.transaction((tx) => outbox.publish(tx, 'note.made', { text: 'after' }))
    await until(() => received.includes('after'))
    expect(received.toSorted()).toEqual(['after', 'no key', 'o-2:1'])
    expect(parked).toEqual(['order.lost'])
    const [row] = await outbox.parked()
    expect(row).toMatchObject({
      messageId: 'm-lost',
      type: 'order.lost',
      key: 'o-1',
      data: { orderId: 'o-1' },
      attempts: 2,
      code: 'MSX_UNROUTABLE',
    })
    expect(row?.reason).toContain('no group is subscribed')
    // The two behind the parked one; what was relayed is deleted a moment later.
    await until(async () => (await outbox.stats()).ready === 0)
    expect(await outbox.stats()).toMatchObject({ parked: 1, held: 2 })

    const late: string[] = []
    bus.subscribe('late', ['order.lost', 'order.created'], ({ type }) => void late.push(type))
    expect(await outbox.retry([row?.id as string])).toBe(1)

    await until(() => late.length === 3)
    expect(late).toEqual(['order.lost', 'order.created', 'order.created'])
    expect(received.slice(-2)).toEqual(['o-1:1', 'o-1:2'])
    await until(async () => (await outbox.stats()).ready === 0)
    expect(await outbox.parked()).toEqual([])
  })

  test('gives back a batch that the broker does not take, and waits', async () => {
    const broker = memory()
    let isAway = true
    const transport: Transport = {
      async connect(terms) {
        if (isAway) throw new Error('no broker')
        return broker.connect(terms)
      },
    }
    const { outbox, bus, received } = await outboxFixture(database, { transport })
    const interruptions: unknown[] = []
    await using relay = outbox.relay(bus, { reconnect: () => 5 })
    relay.on('interrupted', ({ error }) => interruptions.push(error))

    await outbox.transaction((tx) => outbox.publish(tx, 'note.made', { text: 'a' }))
    await until(() => interruptions.length > 2)
    expect(interruptions[0]).toEqual(new Error('no broker'))
    expect(await outbox.stats()).toMatchObject({ ready: 1, retrying: 0, parked: 0 })
    isAway = false

    await until(() => received.length === 1)
    expect(received).toEqual(['a'])
  })

  test('deletes a row only after the broker has it', async () => {
    const broker = memory()
    let confirm = (): void => {}
    const transport: Transport = {
      async connect(terms) {
        const connection = await broker.connect(terms)
        const publish = connection.publish.bind(connection)
        connection.publish = async (message, options) => {
          await publish(message, options)
          await new Promise<void>((resolve) => {
            confirm = resolve
          })
        }
        return connection
      },
    }
    const { outbox, bus, received } = await outboxFixture(database, { transport })
    await using relay = outbox.relay(bus)

    await outbox.transaction((tx) => outbox.publish(tx, 'note.made', { text: 'a' }))
    await until(() => received.length === 1)
    await outbox.transaction(async () => {})
    await until(async () => (await outbox.stats()).ready === 1 && relay.snapshot().inFlight === 1)
    confirm()

    await until(async () => (await outbox.stats()).ready === 0)
    expect(received).toEqual(['a'])
    expect(relay.snapshot()).toMatchObject({ state: 'running', inFlight: 0, relayed: 1 })
  })

  test('keeps the trace that an event belongs to until it is published', async () => {
    const ends: unknown[] = []
    const seen: string[] = []
    const telemetry: Telemetry = {
      send({ system, destination, id }) {
        seen.push(`${system} ${destination} ${id}`)
        return { headers: { traceparent: `00-${id}-01` }, end: (failure) => ends.push(failure) }
      },
      process: (_, attempt) => attempt(),
    }
    const { outbox, bus, broker } = await outboxFixture(database, { telemetry })

    await outbox.transaction((tx) =>
      outbox.publishMany(tx, [
        { type: 'note.made', data: { text: 'a' }, options: { id: 'm-1' } },
        { type: 'note.made', data: { text: 'b' }, options: { id: 'm-2' } },
      ]),
    )
    await using _ = outbox.relay(bus)
    await until(() => broker.published.length === 2)

    expect(broker.published.map(({ headers }) => headers)).toEqual([
      { traceparent: '00-m-1-01' },
      { traceparent: '00-m-2-01' },
    ])
    expect(seen).toEqual(['postgresql outbox m-1', 'postgresql outbox m-2'])
    expect(ends).toEqual([undefined, undefined])
  })

  test('close waits for what is on its way and deletes it', async () => {
    const { outbox, bus, broker } = await outboxFixture(database)
    const relay = outbox.relay(bus)
    await outbox.transaction((tx) =>
      outbox.publishMany(
        tx,
        Array.from({ length: 300 }, (_, n) => ({ type: 'note.made', data: { text: String(n) } }) as const),
      ),
    )
    await until(() => broker.published.length > 0)

    await relay.close()
    await relay.close()

    const { ready } = await outbox.stats()
    expect(broker.published.length + ready).toBe(300)
    expect(relay.snapshot()).toMatchObject({ state: 'closed', inFlight: 0 })
  })

  test('migrates any number of times, and prints what it does', async () => {
    const schema = database.schema()
    const outbox = createOutbox({ events, pool: database.pool, schema })
    await Promise.all(Array.from({ length: 4 }, () => outbox.migrate()))
    expect((await database.pool.query(`SELECT version FROM ${schema}.migration_done`)).rows).toEqual([
      { version: 1 },
      { version: 2 },
      { version: 3 },
    ])

    const printed = createOutbox({ events, pool: database.pool, schema: database.schema() })
    for (const statement of printed.migrations().split(/;\n/)) {
      if (statement.trim() !== '') await database.pool.query(statement)
    }
    await printed.migrate()
    expect(await printed.stats()).toMatchObject({ ready: 0 })
  })

  if (name === 'PGlite') return

  test('does not skip what is committed late', async () => {
    const { outbox, bus, received } = await outboxFixture(database)
    await using _ = outbox.relay(bus)

    await database.transaction(async (slow) => {
      await outbox.publish(slow, 'order.created', { orderId: 'slow', n: 1 })
      await outbox.transaction((tx) => outbox.publish(tx, 'order.created', { orderId: 'fast', n: 1 }))
      await until(() => received.includes('fast:1'))
      await until(async () => (await outbox.stats()).ready === 0)
    })

    await until(() => received.length === 2)
    expect(received).toEqual(['fast:1', 'slow:1'])
  })

  test('is not stalled by a transaction that stays open elsewhere', async () => {
    const { outbox, bus, received } = await outboxFixture(database)
    await using _ = outbox.relay(bus)

    await database.transaction(async (open) => {
      await open.query('SELECT pg_current_xact_id()')
      await outbox.publish(open, 'note.made', { text: 'open' })
      for (let n = 0; n < 20; n += 1) {
        await outbox.transaction((tx) => outbox.publish(tx, 'order.created', { orderId: `o-${n}`, n }))
      }
      await until(() => received.length === 20)
    })
    await until(() => received.length === 21)
  })

  test('keeps the order of each key with several relays that share the work, and when one goes', async () => {
    const { outbox, bus, received, schema } = await outboxFixture(database)
    const other = createOutbox({ events, pool: database.pool, schema })
    const first = outbox.relay(bus, { batch: 10 })
    const second = other.relay(bus, { batch: 10 })
    onTestFinished(() => second.close())
    await until(() => first.snapshot().buckets === 8 && second.snapshot().buckets === 8, 'half of the buckets each')

    const keys = Array.from({ length: 20 }, (_, n) => `k-${n}`)
    for (let n = 0; n < 20; n += 1) {
      await outbox.transaction((tx) =>
        outbox.publishMany(
          tx,
          keys.map((orderId) => ({ type: 'order.created', data: { orderId, n } }) as const),
        ),
      )
      if (n === 10) await first.close()
    }

    await until(() => new Set(received).size === 400)
    // Nobody died, so nothing was published twice.
    expect(received).toHaveLength(400)
    expect(first.snapshot().relayed).toBeGreaterThan(0)
    expect(second.snapshot().relayed).toBeGreaterThan(0)
    for (const key of keys) {
      const own = [...new Set(received)].filter((one) => one.startsWith(`${key}:`))
      expect(own).toEqual(Array.from({ length: 20 }, (_, n) => `${key}:${n}`))
    }
    await until(() => second.snapshot().buckets === 16, 'all buckets')
  })

  test('goes on when its connection to the database is ended', async () => {
    const { outbox, bus, received, schema } = await outboxFixture(database)
    const interruptions: unknown[] = []
    await using relay = outbox.relay(bus, { reconnect: () => 5 })
    relay.on('interrupted', ({ error }) => interruptions.push(error))
    await until(() => relay.snapshot().buckets === 16)

    await database.pool.query(
      `SELECT pg_terminate_backend(l.pid) FROM pg_locks l WHERE l.locktype = 'advisory' AND l.classid = (((hashtext($1))::bigint + 4294967296) % 4294967296)::oid`,
      [`msx_messaging/${schema}/outbox`],
    )
    await until(() => interruptions.length > 0)
    await outbox.transaction((tx) => outbox.publish(tx, 'note.made', { text: 'a' }))

    await until(() => received.length === 1)
  })

  test('is told of commits in other processes by NOTIFY', async () => {
    const { outbox, bus, received, schema } = await outboxFixture(database, { notify: true })
    const elsewhere = createOutbox({ events, pool: database.pool, schema, notify: true })
    await using relay = outbox.relay(bus, { poll: [60_000, 60_000] })
    await until(() => relay.snapshot().buckets === 16)
    await new Promise((resolve) => setTimeout(resolve, 50))

    await database.transaction((tx) => elsewhere.publish(tx, 'note.made', { text: 'a' }))

    await until(() => received.length === 1)
  })
})

test('refuses wrong options', async () => {
  const pool = { query: async () => ({ rows: [] }), transaction: async () => undefined as never }

  expect(() => createOutbox({ events, pool: {} as never })).toThrow('createOutbox: pool must be a pg.Pool or PGlite')
  expect(() => createOutbox({ events, pool: { query: pool.query } as never })).toThrow('something with connect()')
  expect(() => createOutbox({ events, pool, schema: 'X; DROP' })).toThrow(
    'createOutbox: schema must be a name of a-z, 0-9 and _',
  )
  expect(() => createOutbox({ events: {} as never, pool })).toThrow('what defineEvents returns')
  const outbox = createOutbox({ events, pool })
  expect(() => outbox.relay({} as never)).toThrow('relay: bus must be what createBus returns')
  await expect(outbox.publish(undefined as never, 'note.made', { text: 'x' })).rejects.toThrow('publish: tx must be')
  await expect(outbox.retry(['x'])).rejects.toThrow("retry: ids must be ids of parked rows, got 'x'")
})
