import { afterAll, describe, expect, onTestFinished, test, vi } from 'vitest'
import { type Bus, createBus } from '../bus.js'
import { defineEvents } from '../catalogue.js'
import { MessagingError } from '../errors.js'
import { memory } from '../memory/memory.js'
import { testBroker } from '../rabbitmq/fixture.js'
import { type BreakableLine, proxyTo } from '../rabbitmq/proxy.js'
import { openPool, POSTGRES_OF_TESTS, postgresDatabase } from '../testing/databases.js'
import type { Transport } from '../transport.js'
import { events, type OutboxSchemas, until } from './fixture.js'
import { createOutbox, type Outbox } from './outbox.js'
import type { Relay } from './relay.js'

const [database, rabbit] = await Promise.all([postgresDatabase(), testBroker()])
vi.setConfig({ testTimeout: 60_000 })
afterAll(() => Promise.all([database?.close(), rabbit?.close()]))

const KEYS = Array.from({ length: 30 }, (_, n) => `k-${n}`)

describe.skipIf(database === undefined || rabbit === undefined)('relays between PostgreSQL and RabbitMQ', () => {
  /** A process of a service: its connections, its relay, and how it dies. */
  interface Member {
    readonly relay: Relay
    readonly line: BreakableLine
    die(): Promise<void>
  }

  /** An outbox, and a group that takes down what comes. */
  async function service() {
    const { pool, schema: own } = database as NonNullable<typeof database>
    const { transport, name, url } = rabbit as NonNullable<typeof rabbit>
    const schema = own()
    const outbox = createOutbox({ events, pool, schema })
    await outbox.migrate()
    const received: string[] = []
    const consumer = createBus({ events, transport: transport(), source: 'consumer' })
    onTestFinished(() => consumer.close())
    consumer.subscribe(
      name(`all-${schema.slice(-10)}`),
      ['order.created', 'note.made'],
      ({ data }) => void received.push('text' in data ? data.text : `${data.orderId}:${data.n}`),
      { ordered: { partitions: 1 } },
    )
    await consumer.start()

    async function join(): Promise<Member> {
      const line = await proxyTo(url)
      const named = new URL(POSTGRES_OF_TESTS)
      named.searchParams.set('application_name', `member-${line.url.split(':').at(-1)}`)
      const own = openPool(named.href, 3)
      const bus = createBus({ events, transport: transport({ url: line.url }), source: 'tests' })
      const relay = createOutbox({ events, pool: own, schema }).relay(bus, { batch: 50, reconnect: () => 20 })
      let isDead = false
      const die = async (): Promise<void> => {
        if (isDead) return
        isDead = true
        // As a process that is killed: neither server is told.
        line.refuse(true)
        line.cut()
        await end(line)
        await relay.close({ timeout: 0 })
        await bus.close({ timeout: 0 })
        await Promise.all([own.end(), line.close()])
      }
      onTestFinished(die)
      return { relay, line, die }
    }

    return { outbox, received, schema, join }
  }

  /** Ends the connections of a member at the server. */
  async function end(line: BreakableLine): Promise<void> {
    await database?.pool.query(
      `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'member-${line.url.split(':').at(-1)}'`,
    )
  }

  const write = (outbox: Outbox<OutboxSchemas>, n: number): Promise<void> =>
    outbox.transaction((tx) =>
      outbox.publishMany(
        tx,
        KEYS.map((orderId) => ({ type: 'order.created', data: { orderId, n } }) as const),
      ),
    )

  /** Each event at least once, the first times of each key in order. */
  function expectAll(received: readonly string[], count: number): void {
    const first = [...new Set(received)]
    expect(first).toHaveLength(KEYS.length * count)
    for (const key of KEYS) {
      const own = first.filter((one) => one.startsWith(`${key}:`))
      expect(own).toEqual(Array.from({ length: count }, (_, n) => `${key}:${n}`))
    }
  }

  test('come and die while events are written: each arrives, those of a key in order', async () => {
    const { outbox, received, join } = await service()
    const members = [await join(), await join()]
    await until(() => members.every(({ relay }) => relay.snapshot().buckets === 8), 'half of the buckets each')

    for (let n = 0; n < 40; n += 1) {
      await write(outbox, n)
      if (n === 8) members.push(await join())
      if (n === 16) await members[0]?.die()
      if (n === 24) members.push(await join())
      if (n === 32) await members[1]?.die()
    }

    await until(async () => (await outbox.stats()).ready === 0 && new Set(received).size === KEYS.length * 40)
    expectAll(received, 40)
    const [, , third, fourth] = members
    await until(
      () => third?.relay.snapshot().buckets === 8 && fourth?.relay.snapshot().buckets === 8,
      'the buckets of the dead',
    )
  })

  test('go on when their database connection is ended in the middle of a batch', async () => {
    const { outbox, received, join } = await service()
    const { relay, line } = await join()
    let ends = 0
    const interruptions: unknown[] = []
    relay.on('interrupted', ({ error }) => interruptions.push(error))
    relay.on('published', () => {
      // Confirmed, and not deleted yet.
      if (ends < 5 && relay.snapshot().relayed >= ends * 100) {
        ends += 1
        void end(line)
      }
    })

    for (let n = 0; n < 20; n += 1) await write(outbox, n)

    await until(
      async () => ends === 5 && (await outbox.stats()).ready === 0 && new Set(received).size === KEYS.length * 20,
    )
    expect(interruptions.length).toBeGreaterThan(0)
    expectAll(received, 20)
  })

  test('wait for a broker that is away, and park nothing for it', async () => {
    const { outbox, received, join } = await service()
    const { relay, line } = await join()
    await write(outbox, 0)
    await until(async () => received.length === KEYS.length && (await outbox.stats()).ready === 0)

    line.refuse(true)
    line.cut()
    for (let n = 1; n < 10; n += 1) await write(outbox, n)
    await until(() => relay.snapshot().inFlight > 0, 'the relay to try')
    expect(await outbox.stats()).toMatchObject({ ready: KEYS.length * 9, retrying: 0, parked: 0, held: 0 })
    line.refuse(false)

    await until(async () => (await outbox.stats()).ready === 0 && new Set(received).size === KEYS.length * 10)
    expectAll(received, 10)
    expect(relay.snapshot().state).toBe('running')
  })
})

/** The same numbers each time: mulberry32, from 0 to 1. */
function randomOf(seed: number): () => number {
  let state = seed

  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

describe.skipIf(database === undefined)('an outbox that lives long', () => {
  const { pool, schema: own } = database ?? { pool: undefined as never, schema: undefined as never }

  function listening(): { readonly bus: Bus<OutboxSchemas>; readonly received: string[] } {
    const bus = createBus({ events, transport: memory(), source: 'tests' })
    onTestFinished(() => bus.close())
    const received: string[] = []
    bus.subscribe('all', ['order.created', 'note.made'], ({ data }) => {
      received.push('text' in data ? data.text : `${data.orderId}:${data.n}`)
    })
    return { bus, received }
  }

  test('publishes what was written of an event that is no longer in the catalogue', async () => {
    const schema = own()
    const before = createOutbox({ events, pool, schema })
    await before.migrate()
    await before.transaction((tx) => before.publish(tx, 'order.created', { orderId: 'o-1', n: 1 }))
    const broker = memory()
    const old = createBus({ events, transport: broker, source: 'a service that knows it' })
    onTestFinished(() => old.close())
    const received: string[] = []
    old.subscribe('old', 'order.created', ({ data }) => void received.push(data.orderId))
    await old.start()

    const fewer = defineEvents({ 'note.made': events.events['note.made'] })
    const bus = createBus({ events: fewer, transport: broker, source: 'tests' })
    onTestFinished(() => bus.close())
    await using _ = createOutbox({ events: fewer, pool, schema }).relay(bus)

    await until(() => received.length === 1)
    await until(async () => (await before.stats()).ready === 0)
  })

  test('leaves nothing behind, whatever is refused while relays come and go', async () => {
    const schema = own()
    const outbox = createOutbox({ events, pool, schema })
    await outbox.migrate()
    const broker = memory()
    const random = randomOf(7)
    let refuses = true
    const moody: Transport = {
      async connect(terms) {
        const connection = await broker.connect(terms)
        const publish = connection.publish.bind(connection)
        connection.publish = (message, options) => {
          const mood = refuses ? random() : 1
          if (mood < 0.1) return Promise.reject(new MessagingError('MSX_NACKED', 'full', { retryable: true }))
          if (mood < 0.2) return Promise.reject(new MessagingError('MSX_TOO_LARGE', 'no', { retryable: false }))
          return publish(message, options)
        }
        return connection
      },
    }
    const bus = createBus({ events, transport: moody, source: 'tests' })
    const consumer = createBus({ events, transport: broker, source: 'tests' })
    onTestFinished(async () => {
      await Promise.all([bus.close(), consumer.close()])
    })
    const received: string[] = []
    consumer.subscribe('all', 'order.created', ({ data }) => void received.push(`${data.orderId}:${data.n}`))
    await consumer.start()
    // Each with an outbox of its own, as in processes of their own.
    const join = (): Relay =>
      createOutbox({ events, pool, schema }).relay(bus, { batch: 20, attempts: 2, backoff: () => random() * 20 })
    const relays = [join(), join()]

    for (let n = 0; n < 30; n += 1) {
      await outbox.transaction((tx) =>
        outbox.publishMany(
          tx,
          KEYS.map((orderId) => ({ type: 'order.created', data: { orderId, n } }) as const),
        ),
      )
      if (n % 5 === 2) await outbox.retry((await outbox.parked()).map(({ id }) => id))
      if (n % 7 === 3) relays.push(join())
      if (n % 7 === 6) await relays.shift()?.close()
    }
    await until(async () => (await outbox.stats()).parked > 0)
    refuses = false
    await until(async () => {
      await outbox.retry((await outbox.parked()).map(({ id }) => id))
      const { ready, delayed, retrying, parked, held } = await outbox.stats()
      return ready + delayed + retrying + parked + held === 0
    }, 'an empty outbox')

    await Promise.all(relays.map((relay) => relay.close()))
    await consumer.close()
    expect(received).toHaveLength(KEYS.length * 30)
    expect(new Set(received).size).toBe(KEYS.length * 30)
  })

  test('keeps what waits behind a parked row in order, also when it comes free in many pieces', async () => {
    const schema = own()
    const outbox = createOutbox({ events, pool, schema })
    await outbox.migrate()
    const { bus, received } = listening()
    await using _ = outbox.relay(bus, { attempts: 1 })
    await outbox.transaction((tx) => outbox.publish(tx, 'order.lost', { orderId: 'k' }))
    await until(async () => (await outbox.stats()).parked === 1)
    const write = (from: number, to: number): Promise<void> =>
      outbox.transaction((tx) =>
        outbox.publishMany(
          tx,
          Array.from({ length: to - from }, (_, n) => {
            return { type: 'order.created', data: { orderId: 'k', n: from + n } } as const
          }),
        ),
      )
    // More than one statement frees, and than one batch.
    await write(0, 5_000)
    await until(async () => (await outbox.stats()).held === 5_000)

    bus.subscribe('lost', 'order.lost', () => {})
    await outbox.retry((await outbox.parked()).map(({ id }) => id))
    for (let n = 5_000; n < 6_000; n += 100) await write(n, n + 100)

    await until(() => received.length >= 6_000)
    expect(received).toEqual(Array.from({ length: 6_000 }, (_, n) => `k:${n}`))
    await until(async () => (await outbox.stats()).held + (await outbox.stats()).ready === 0)
  })

  test('lets go what waits behind a row that somebody deleted by hand', async () => {
    const schema = own()
    const outbox = createOutbox({ events, pool, schema })
    await outbox.migrate()
    const { bus, received } = listening()
    await using _ = outbox.relay(bus, { attempts: 1 })
    await outbox.transaction(async (tx) => {
      await outbox.publish(tx, 'order.lost', { orderId: 'k' })
      await outbox.publish(tx, 'order.created', { orderId: 'k', n: 1 })
    })
    await until(async () => (await outbox.stats()).held === 1)

    await pool.query(`DELETE FROM ${schema}.outbox WHERE state = 3`)

    await until(() => received.length === 1)
  })

  test('holds up no key but its own, whatever is parked', async () => {
    const [own1, hostile, long] = ['order-1', '57rf0wVlfuiP', 'x'.repeat(500)] as const
    const { rows } = await pool.query('SELECT hashtextextended($1, 0) = hashtextextended($2, 0) AS same', [
      own1,
      hostile,
    ])
    expect(rows).toEqual([{ same: true }])
    const schema = own()
    const outbox = createOutbox({ events, pool, schema })
    await outbox.migrate()
    const { bus, received } = listening()
    await using _ = outbox.relay(bus, { attempts: 1 })
    await outbox.transaction(async (tx) => {
      await outbox.publish(tx, 'order.lost', { orderId: hostile })
      await outbox.publish(tx, 'order.lost', { orderId: long })
    })
    await until(async () => (await outbox.stats()).parked === 2)

    await outbox.transaction(async (tx) => {
      await outbox.publish(tx, 'order.created', { orderId: own1, n: 1 })
      await outbox.publish(tx, 'order.created', { orderId: long, n: 1 })
      await outbox.publish(tx, 'order.created', { orderId: long.slice(1), n: 1 })
    })

    await until(() => received.length === 2)
    expect(received.toSorted()).toEqual([`order-1:1`, `${long.slice(1)}:1`])
    await until(async () => (await outbox.stats()).held === 1)
  })

  test('shares a database with that of another service', async () => {
    const [one, two] = [listening(), listening()]
    const outboxes = [
      createOutbox({ events, pool, schema: own() }),
      createOutbox({ events, pool, schema: own() }),
    ] as const
    for (const outbox of outboxes) await outbox.migrate()
    await using first = outboxes[0].relay(one.bus)
    await using second = outboxes[1].relay(two.bus)
    await until(() => first.snapshot().buckets === 16 && second.snapshot().buckets === 16, 'all buckets each')

    await outboxes[0].transaction((tx) => outboxes[0].publish(tx, 'note.made', { text: 'one' }))
    await outboxes[1].transaction((tx) => outboxes[1].publish(tx, 'note.made', { text: 'two' }))

    await until(() => one.received.length + two.received.length === 2)
    expect([one.received, two.received]).toEqual([['one'], ['two']])
  })

  test.each(['select', 'user', '_', 'a'.repeat(63)])('takes %j as the name of its schema', async (schema) => {
    const outbox = createOutbox({ events, pool, schema, notify: true })
    onTestFinished(async () => {
      await pool.query(`DROP SCHEMA IF EXISTS "${schema}" CASCADE`)
    })
    await outbox.migrate()
    const { bus, received } = listening()
    await using _ = outbox.relay(bus)

    await outbox.transaction((tx) => outbox.publish(tx, 'note.made', { text: 'a' }))

    await until(() => received.length === 1)
    await until(async () => (await outbox.stats()).ready === 0)
  })

  test.each(['pg_mine', 'Mine', 'a"; DROP TABLE x; --', "a'b", 'a.b', '', 'a'.repeat(64)])(
    'does not take %j as the name of its schema',
    (schema) => {
      expect(() => createOutbox({ events, pool, schema })).toThrow('createOutbox: schema must be a name of a-z')
    },
  )

  test('is migrated once, by however many begin to', async () => {
    const schema = own()
    const pools = Array.from({ length: 5 }, () => openPool(POSTGRES_OF_TESTS, 1))
    onTestFinished(async () => {
      await Promise.all(pools.map((one) => one.end()))
    })

    await Promise.all(pools.map((one) => createOutbox({ events, pool: one, schema }).migrate()))

    const { rows } = await pool.query(`SELECT version FROM ${schema}.migration_done ORDER BY version`)
    expect(rows).toEqual([{ version: 1 }, { version: 2 }, { version: 3 }])
  })

  test.each(['migrate()', 'what migrations() prints'])(
    'comes from an older release by %s, with what waits in it',
    async (how) => {
      const schema = own()
      const outbox = createOutbox({ events, pool, schema })
      const [first = ''] = outbox.migrations().split('-- version 2')
      await runAll(first)
      await outbox.transaction(async (tx) => {
        await outbox.publish(tx, 'order.lost', { orderId: 'o-1' })
        await outbox.publish(tx, 'order.created', { orderId: 'o-1', n: 1 })
        await outbox.publish(tx, 'note.made', { text: 'a' })
      })
      await pool.query(
        `UPDATE ${schema}.outbox SET state = 3, attempts = 5, code = 'x', reason = 'y', failed_at = now() WHERE type = 'order.lost'`,
      )

      if (how === 'migrate()') await outbox.migrate()
      else await runAll(outbox.migrations({ from: 1 }))

      const { rows } = await pool.query(`SELECT version FROM ${schema}.migration_done ORDER BY version`)
      expect(rows).toEqual([{ version: 1 }, { version: 2 }, { version: 3 }])
      const { bus, received } = listening()
      await using _ = outbox.relay(bus)
      await until(() => received.length === 1)
      expect(received).toEqual(['a'])
      await until(async () => (await outbox.stats()).held === 1)
      const [parked] = await outbox.parked()
      bus.subscribe('late', 'order.lost', () => {})
      expect(await outbox.retry([parked?.id as string])).toBe(1)
      await until(() => received.length === 2)
      expect(received).toEqual(['a', 'o-1:1'])
    },
  )

  test('prints nothing for a schema that is up to date', () => {
    expect(createOutbox({ events, pool }).migrations({ from: 3 })).toBe('')
    expect(() => createOutbox({ events, pool }).migrations({ from: -1 })).toThrow('migrations: from must be')
  })

  async function runAll(text: string): Promise<void> {
    for (const statement of text.split(/;\n/)) if (statement.trim() !== '') await pool.query(statement)
  }
})
