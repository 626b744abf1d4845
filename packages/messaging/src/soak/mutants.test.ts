import { afterAll, describe, expect, onTestFinished, test } from 'vitest'
import { createBus } from '../bus.js'
import { FORWARD, type Forward } from '../internal/forward.js'
import { memory } from '../memory/memory.js'
import type { BusMiddleware } from '../message.js'
import { until } from '../postgres/fixture.js'
import { inbox } from '../postgres/inbox.js'
import type { Relay } from '../postgres/relay.js'
import type { Database, Queryable } from '../shapes.js'
import { openPool, POSTGRES_OF_TESTS, postgresDatabase } from '../testing/databases.js'
import type { Transport } from '../transport.js'
import { judgeEffects, type Verdict } from './exactly-one-effect.js'
import { ledgerEvents, ledgerOutbox, prepareLedger } from './outbox-actors.js'

const database = await postgresDatabase()
afterAll(() => database?.close())

/** Mistakes that an outbox or an inbox could have. Each works as long as nothing breaks. */
type Bug = 'delete before the confirm' | 'ack before the commit' | 'watermark offset'

const SPOTLESS: Verdict = { missing: 0, doubled: 0, misordered: 0, left: 0 }

describe.skipIf(database === undefined)('the judge of the soak', { timeout: 60_000 }, () => {
  test('finds nothing where nothing is wrong, whatever breaks', async () => {
    expect(await live(undefined)).toEqual(SPOTLESS)
  })

  test.each<[Bug, Partial<Verdict>]>([
    ['delete before the confirm', { missing: 3, left: 0 }],
    ['ack before the commit', { missing: 1, left: 0 }],
    ['watermark offset', { missing: 1, left: 1 }],
  ])('catches the planted bug: %s', async (bug, verdict) => {
    expect(await live(bug)).toMatchObject(verdict)
  })

  /**
   * Three troubles in a row: a relay dies with events on their way that the broker never gets, a transaction commits late,
   * and the connection of a handler is ended before its commit.
   */
  async function live(bug: Bug | undefined): Promise<Verdict> {
    const schema = (database as NonNullable<typeof database>).schema()
    const business = (database as NonNullable<typeof database>).schema()
    await database?.pool.query(`CREATE SCHEMA ${business}`)
    const pool = openPool(`${POSTGRES_OF_TESTS}?options=-c%20search_path%3D${business}`, 10)
    onTestFinished(() => pool.end())
    await prepareLedger(pool, schema)

    const broker = memory()
    const line = deafLine(broker)
    const outbox = ledgerOutbox(bug === 'watermark offset' ? withWatermark(pool) : pool, schema)
    const bus = createBus({ events: ledgerEvents, transport: line.transport, source: 'soak' })
    const relayed = bug === 'delete before the confirm' ? withoutConfirms(bus) : bus
    const consumer = createBus({
      events: ledgerEvents,
      transport: broker,
      source: 'soak',
      use: [bug === 'ack before the commit' ? ackingEarly(pool, schema) : inbox({ pool, schema })],
    })
    onTestFinished(async () => {
      await bus.close({ timeout: 0 })
      await consumer.close()
    })
    let breaks = false
    consumer.subscribe(
      'totals',
      'ledger.moved',
      async ({ data }, { tx }) => {
        const values = ['totals', data.account, data.n]
        await tx?.query('INSERT INTO effect (group_name, account, n) VALUES ($1, $2, $3)', values)
        if (!breaks) return
        breaks = false
        await tx?.query('SELECT pg_terminate_backend(pg_backend_pid())').catch(() => {})
      },
      { ordered: { partitions: 1 }, retry: { immediate: 0, delays: [10] } },
    )
    await consumer.start()

    let written = 0
    const write = async (tx: Queryable, account: string): Promise<void> => {
      const n = written++
      await tx.query('INSERT INTO movement VALUES ($1, $2)', [account, n])
      await outbox.publish(tx, 'ledger.moved', { account, n })
    }
    const effects = async (): Promise<number> =>
      (await pool.query('SELECT count(*)::int AS n FROM effect')).rows[0].n as number

    line.isDeaf = true
    const dying = outbox.relay(relayed)
    for (let n = 0; n < 3; n += 1) await outbox.transaction((tx) => write(tx, 'a'))
    await until(() => line.swallowed > 0 && isQuiet(dying), 'events on their way')
    await dying.close({ timeout: 0 })
    line.isDeaf = false

    const relay: Relay = outbox.relay(relayed)
    onTestFinished(() => relay.close({ timeout: 0 }))
    await database?.transaction(async (late) => {
      await late.query(`SET LOCAL search_path = ${business}`)
      await write(late, 'b')
      await outbox.transaction((tx) => write(tx, 'c'))
      await until(() => broker.published.some(({ key }) => key === 'c'), 'the later one')
      // Read, published and deleted: the next look begins behind it, or it does not.
      await until(async () => (await outboxOf(pool, schema)) === 0)
    })

    await until(() => broker.published.some(({ key }) => key === 'b') || bug === 'watermark offset')
    breaks = true
    await outbox.transaction((tx) => write(tx, 'd'))
    await until(() => !breaks, 'the end of a connection')
    await outbox.transaction((tx) => write(tx, 'e'))
    await until(() => broker.published.some(({ key }) => key === 'e'))
    await broker.drain()
    const wanted = written - (bug === undefined ? 0 : bug === 'delete before the confirm' ? 3 : 1)
    await until(async () => (await effects()) >= wanted, 'the effects')
    await relay.close()

    return judgeEffects(pool, { events: written, groups: ['totals'], schema }, () => {})
  }
})

/** Nothing more is to come of what was written: with the bug all rows are deleted, without it all are in hand. */
function isQuiet(relay: Relay): boolean {
  const { inFlight, relayed } = relay.snapshot()

  return inFlight === 3 || relayed === 3
}

async function outboxOf(pool: Queryable, schema: string): Promise<number> {
  return (await pool.query(`SELECT count(*)::int AS n FROM "${schema}".outbox`)).rows[0].n as number
}

/** A way to the broker that takes events and, while it is deaf, brings them nowhere. */
function deafLine(broker: Transport) {
  const line = {
    isDeaf: false,
    swallowed: 0,
    transport: {
      ...broker,
      async connect(terms) {
        const connection = await broker.connect(terms)
        const publish = connection.publish.bind(connection)
        connection.publish = (message, options) => {
          if (!line.isDeaf) return publish(message, options)

          line.swallowed += 1
          return new Promise<void>(() => {})
        }
        return connection
      },
    } satisfies Transport,
  }

  return line
}

/** The relay is told that the broker has an event as soon as it was given it. */
function withoutConfirms<B extends object>(bus: B): B {
  const forward = (bus as unknown as { readonly [FORWARD]: Forward })[FORWARD]
  const hasty: Forward = async (prepared) => {
    forward(prepared).catch(() => {})
  }

  return { ...bus, [FORWARD]: hasty }
}

/** The message is settled as soon as its handler is done; what it wrote is committed a moment later. */
function ackingEarly(pool: Database, schema: string): BusMiddleware {
  const honest = inbox({ pool, schema })

  return (message, context, next) =>
    new Promise<void>((resolve, reject) => {
      const done = honest(message, context, async () => {
        await next()
        resolve()
      })
      done.then(resolve, reject)
    })
}

/** Each look begins behind the last row that was seen. */
function withWatermark(pool: ReturnType<typeof openPool>): Database {
  return {
    query: (text: string, values?: unknown[]) => pool.query(text, values),
    async connect() {
      let watermark = 0n
      const client = await pool.connect()
      const query = client.query.bind(client) as Queryable['query']
      const watching: Queryable['query'] = async (text, values) => {
        if (!text.includes('o.body')) return query(text, values)

        const result = await query(
          text.replace('WHERE o.state = 0', `WHERE o.id > ${watermark} AND o.state = 0`),
          values,
        )
        for (const { id } of result.rows) if (BigInt(id) > watermark) watermark = BigInt(id)
        return result
      }
      return Object.assign(Object.create(client), { query: watching, release: client.release.bind(client) })
    },
  } as Database
}
