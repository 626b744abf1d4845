import { createBus, defineEvents, type SchemasOf } from '@msx/messaging'
import { createOutbox, type Outbox } from '@msx/messaging/postgres'
import { rabbitmq } from '@msx/messaging/rabbitmq'
import pg from 'pg'
import { missingServer } from '../../tooling/missing-server.js'
import { type Comparison, type Effort, judge, main } from './harness/index.js'
import { type Order, order, orders, TYPE } from './messaging/payload.js'
import { openPlace, type Place } from './messaging/place.js'
import { amqplibAlone, WINDOW } from './messaging/publishers.js'

/** Events of each round. */
const COUNT = 10_000

/** In bytes of JSON. */
const SIZE = 250

/** How many events a transaction writes; that is not measured. */
const PER_TRANSACTION = 1_000

/** At most so many ns per event: 8,000 events a second. */
const SLOWEST = 1e9 / 8_000

/** The relay also reads and deletes each row. At most so many times as long as a publish that only confirms: 0.35 of its rate. */
const TIMES_RAW = 2.86

const URL_OF_DATABASE = process.env['DATABASE_URL'] ?? 'postgres://postgres@127.0.0.1:5432/postgres'
const events = defineEvents({ [TYPE]: { schema: order, key: ({ orderId }: Order) => orderId } })
type Events = SchemasOf<typeof events>

/** One relay from PostgreSQL to RabbitMQ, and amqplib alone that publishes the same messages, in turns. */
async function* run({ rounds }: Effort): AsyncIterable<Comparison> {
  const place = await openPlace('quorum')
  const pool = new pg.Pool({ connectionString: URL_OF_DATABASE, connectionTimeoutMillis: 3_000 })
  const schema = `msx_bench_${process.pid}`
  try {
    await pool
      .query('SELECT 1')
      .catch((error: unknown) => missingServer('postgres', URL_OF_DATABASE, error) ?? Promise.reject(error))
    if (place === undefined) throw new Error('no RabbitMQ')
    const outbox = createOutbox({ events, pool, schema })
    await outbox.migrate()
    yield await contest(place, outbox, rounds)
  } finally {
    await pool.query(`DROP SCHEMA IF EXISTS ${schema} CASCADE`).catch(() => {})
    await pool.end()
    await place?.close()
  }
}

async function contest(place: Place, outbox: Outbox<Events>, rounds: number): Promise<Comparison> {
  const made = orders(SIZE)
  const ours = { name: '@msx/messaging, one relay', run: () => relayed(place, outbox, made) }
  const raw = { name: 'amqplib, confirmed publish', run: () => published(place, made), target: TIMES_RAW }
  const samples = new Map<object, number[]>([
    [ours, []],
    [raw, []],
  ])

  // The first round warms up.
  for (let round = -1; round < rounds; round += 1) {
    for (const subject of round % 2 === 0 ? [ours, raw] : [raw, ours]) {
      const ns = (await subject.run()) / COUNT
      await place.reaches(COUNT)
      await place.empty()
      if (round >= 0) samples.get(subject)?.push(ns)
    }
  }

  const asSubject = ({ name }: { readonly name: string }) => ({ name, run: async () => {} })
  const [mine, theirs] = [asSubject(ours), { ...asSubject(raw), target: raw.target }]
  const title = `outbox to RabbitMQ, ${SIZE} bytes, ${COUNT} events a round`
  const compared = judge(
    { title, ours: mine, peers: [theirs] },
    new Map([
      [mine, samples.get(ours) as number[]],
      [theirs, samples.get(raw) as number[]],
    ]),
    'ns/event',
  )
  const rows = compared.rows.map((row) =>
    row.role === 'ours'
      ? {
          ...row,
          target: { of: 'amount', limit: SLOWEST, kind: 'target', reached: row.amount.median <= SLOWEST } as const,
        }
      : row,
  )
  return { ...compared, rows }
}

/** How long it takes a relay to empty an outbox, in ns, until the last row is deleted. */
async function relayed({ url, exchange }: Place, outbox: Outbox<Events>, made: readonly Order[]): Promise<number> {
  for (let written = 0; written < COUNT; written += PER_TRANSACTION) {
    const batch = Array.from({ length: PER_TRANSACTION }, (_, n) => {
      const data = { ...(made[n % made.length] as Order), orderId: `o-${n % 200}` }
      return { type: TYPE, data } as const
    })
    await outbox.transaction((tx) => outbox.publishMany(tx, batch))
  }
  const bus = createBus({ events, transport: rabbitmq({ url, exchange }), source: 'bench' })
  await bus.start()

  const startedAt = performance.now()
  const relay = outbox.relay(bus)
  await new Promise<void>((resolve) => {
    relay.on('relayed', () => {
      if (relay.snapshot().relayed >= COUNT) resolve()
    })
  })
  const took = performance.now() - startedAt
  await relay.close()
  await bus.close()
  return took * 1e6
}

/** How long amqplib alone takes for as many confirmed messages, in ns. */
async function published(place: Place, made: readonly Order[]): Promise<number> {
  const publisher = await amqplibAlone('same')(place)
  const startedAt = performance.now()
  await new Promise<void>((resolve, reject) => {
    let sent = 0
    let confirmed = 0
    const fill = (): void => {
      while (sent < COUNT && sent - confirmed < WINDOW) {
        publisher.send(made[sent++ % made.length] as Order, (error) => {
          if (error) reject(error as Error)
          confirmed += 1
          if (confirmed === COUNT) resolve()
          else fill()
        })
      }
    }
    fill()
  })
  const took = performance.now() - startedAt
  await publisher.close()
  return took * 1e6
}

await main([{ name: 'outbox', run }], ['@msx/messaging', 'amqplib', 'pg'])
