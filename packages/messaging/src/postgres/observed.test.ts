import { context, SpanKind } from '@opentelemetry/api'
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks'
import {
  AggregationTemporality,
  InMemoryMetricExporter,
  MeterProvider,
  PeriodicExportingMetricReader,
} from '@opentelemetry/sdk-metrics'
import {
  BasicTracerProvider,
  InMemorySpanExporter,
  type ReadableSpan,
  SimpleSpanProcessor,
} from '@opentelemetry/sdk-trace-base'
import client, { Registry } from 'prom-client'
import { afterAll, afterEach, beforeAll, describe, expect, onTestFinished, test, vi } from 'vitest'
import { createBus } from '../bus.js'
import { memory } from '../memory/memory.js'
import { openTelemetry } from '../opentelemetry.js'
import { prometheus } from '../prometheus.js'
import { testBroker } from '../rabbitmq/fixture.js'
import { pgliteDatabase, postgresDatabase, type TestDatabase } from '../testing/databases.js'
import type { Transport } from '../transport.js'
import { events, outboxFixture, until } from './fixture.js'
import { inbox } from './inbox.js'
import { createOutbox } from './outbox.js'

const [pglite, postgres, rabbit] = await Promise.all([pgliteDatabase(), postgresDatabase(), testBroker()])
const databases: TestDatabase[] = [pglite, postgres].filter((one) => one !== undefined)
const exporter = new InMemorySpanExporter()
const tracer = new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] }).getTracer('tests')

vi.setConfig({ testTimeout: 30_000 })
beforeAll(() => {
  context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable())
})
afterEach(() => exporter.reset())
afterAll(async () => {
  context.disable()
  await Promise.all([...databases, rabbit].map((server) => server?.close()))
})

function measured() {
  const registry = new Registry()
  const lines = async (start: string) => (await registry.metrics()).split('\n').filter((line) => line.startsWith(start))
  return { lines, metrics: prometheus({ client, registry }) }
}

describe.each(databases.map((database) => [database.name, database] as const))('on %s', (_, database) => {
  test('a relay shows what waits, and counts what it published, tried again and parked', async () => {
    const { outbox, bus, received } = await outboxFixture(database)
    const { metrics, lines } = measured()
    await outbox.transaction(async (tx) => {
      await outbox.publish(tx, 'order.created', { orderId: 'o-1', n: 1 })
      await outbox.publish(tx, 'note.made', { text: 'later' }, { delay: 600_000 })
      // Nobody takes it.
      await outbox.publish(tx, 'order.lost', { orderId: 'o-2' })
    })

    await using relay = outbox.relay(bus, { attempts: 2, backoff: () => 5 })
    const remove = metrics.add(relay)
    expect(metrics.add(relay)).toBe(remove)
    expect(await lines('messaging_outbox_waiting')).toEqual([])

    await until(() => relay.snapshot().outbox?.parked === 1 && received.length === 1, 'a row to be parked')
    const own = 'bus="tests",type'
    expect((await lines('messaging_outbox_rows_total')).sort()).toEqual([
      `messaging_outbox_rows_total{${own}="order.created",outcome="published"} 1`,
      `messaging_outbox_rows_total{${own}="order.lost",outcome="parked"} 1`,
      `messaging_outbox_rows_total{${own}="order.lost",outcome="retry"} 1`,
    ])
    expect(await lines('messaging_outbox_lag_seconds_count')).toEqual([
      'messaging_outbox_lag_seconds_count{bus="tests"} 1',
    ])
    expect(await lines('messaging_outbox_waiting')).toEqual([
      'messaging_outbox_waiting{bus="tests",state="ready"} 0',
      'messaging_outbox_waiting{bus="tests",state="delayed"} 1',
      'messaging_outbox_waiting{bus="tests",state="retrying"} 0',
      'messaging_outbox_waiting{bus="tests",state="parked"} 1',
      'messaging_outbox_waiting{bus="tests",state="held"} 0',
    ])
    expect(await lines('messaging_outbox_oldest_seconds')).toEqual(['messaging_outbox_oldest_seconds{bus="tests"} 0'])

    remove()
    expect(await lines('messaging_outbox_waiting')).toEqual([])
    await relay.close()
    expect(relay.snapshot().outbox).toBeUndefined()
  })

  test('the lag is how long a row waited, without the delay that was asked for', async () => {
    const { outbox, bus, schema, received } = await outboxFixture(database)
    await outbox.transaction((tx) => outbox.publish(tx, 'note.made', { text: 'old' }))
    await outbox.transaction((tx) => outbox.publish(tx, 'note.made', { text: 'delayed' }, { delay: 600_000 }))
    await database.pool.query(`UPDATE ${schema}.outbox SET at = at - interval '60 s', due = due - interval '630 s'`)
    expect((await outbox.stats()).lag).toBeGreaterThanOrEqual(60_000)
    const lags: number[] = []

    await using relay = outbox.relay(bus)
    relay.on('published', ({ lag }) => lags.push(Math.floor(lag / 10_000)))
    await until(() => received.length === 2)

    // The second was due 30 s ago.
    expect(lags.sort()).toEqual([3, 6])
  })

  test('an outage shows as interruptions, and as the age of what waits', async () => {
    let isAway = true
    const broker = memory()
    const transport: Transport = {
      connect: async (options) => {
        const connection = await broker.connect(options)
        const publish = connection.publish.bind(connection)
        return Object.assign(connection, {
          publish: (...args: Parameters<typeof publish>) =>
            isAway ? Promise.reject(new RangeError('away')) : publish(...args),
        })
      },
    }
    const { outbox, bus, received, schema } = await outboxFixture(database, { transport })
    const { metrics, lines } = measured()
    await outbox.transaction((tx) => outbox.publish(tx, 'note.made', { text: 'a' }))
    await database.pool.query(`UPDATE ${schema}.outbox SET at = at - interval '60 s'`)

    await using relay = outbox.relay(bus, { reconnect: () => 5 })
    metrics.add(relay)
    const oldest = async () => Number((await lines('messaging_outbox_oldest_seconds'))[0]?.split(' ')[1])
    await until(async () => (await lines('messaging_outbox_interruptions_total')).length > 0)
    expect(await oldest()).toBeGreaterThanOrEqual(60)
    expect(await lines('messaging_outbox_waiting{bus="tests",state="ready"')).toEqual([
      'messaging_outbox_waiting{bus="tests",state="ready"} 1',
    ])

    isAway = false
    await until(async () => received.length === 1 && (await oldest()) === 0, 'the backlog to be gone')
  })

  test('an inbox counts what it handled and what came twice', async () => {
    const { metrics, lines } = measured()
    const telemetry = openTelemetry({ tracer })
    const box = inbox({ pool: database.pool, schema: database.schema() })
    await box.migrate()
    metrics.add(box)
    telemetry.add(box)
    const broker = memory()
    const bus = createBus({ events, transport: broker, source: 'tests', use: [box], telemetry })
    onTestFinished(() => bus.close())
    let calls = 0
    bus.subscribe('notes', 'note.made', () => {
      calls += 1
      if (calls === 1) throw new Error('rolled back')
    })

    for (const id of ['m-1', 'm-1', 'm-2']) {
      await bus.publish('note.made', { text: 'a' }, { id })
      await broker.drain()
    }

    expect(await lines('messaging_inbox_messages_total')).toEqual([
      'messaging_inbox_messages_total{group="notes",type="note.made",outcome="handled"} 2',
      'messaging_inbox_messages_total{group="notes",type="note.made",outcome="duplicate"} 1',
    ])
    const attempts = exporter.getFinishedSpans().filter(({ name }) => name === 'process note.made')
    expect(attempts.map((span) => span.events.map(({ name }) => name))).toEqual([
      ['exception'],
      [],
      ['msx.messaging.duplicate'],
      [],
    ])
  })

  test('OpenTelemetry has the same numbers', async () => {
    const metricExporter = new InMemoryMetricExporter(AggregationTemporality.CUMULATIVE)
    const reader = new PeriodicExportingMetricReader({ exporter: metricExporter, exportIntervalMillis: 60_000 })
    const meters = new MeterProvider({ readers: [reader] })
    onTestFinished(() => meters.shutdown())
    const telemetry = openTelemetry({ tracer, meter: meters.getMeter('tests') })
    const { outbox, bus, received } = await outboxFixture(database)
    await outbox.transaction(async (tx) => {
      await outbox.publish(tx, 'note.made', { text: 'a' })
      await outbox.publish(tx, 'note.made', { text: 'later' }, { delay: 600_000 })
      await outbox.publish(tx, 'order.lost', { orderId: 'o-2' })
    })

    await using relay = outbox.relay(bus, { attempts: 1 })
    const remove = telemetry.add(relay)
    expect(telemetry.add(relay)).toBe(remove)
    await until(() => relay.snapshot().outbox?.parked === 1 && received.length === 1)
    await meters.forceFlush()

    const points = metricExporter
      .getMetrics()
      .flatMap(({ scopeMetrics }) => scopeMetrics.flatMap(({ metrics }) => metrics))
      .flatMap(({ descriptor, dataPoints }) =>
        dataPoints.map(({ attributes, value }) => {
          const labels = Object.values(attributes).join(' ')
          return `${descriptor.name}: ${labels} = ${typeof value === 'object' ? value.count : value}`
        }),
      )
    expect(points.sort()).toEqual([
      'msx.messaging.outbox.lag: tests = 1',
      'msx.messaging.outbox.oldest: tests = 0',
      'msx.messaging.outbox.rows: tests note.made published = 1',
      'msx.messaging.outbox.rows: tests order.lost parked = 1',
      'msx.messaging.outbox.waiting: tests delayed = 1',
      'msx.messaging.outbox.waiting: tests held = 0',
      'msx.messaging.outbox.waiting: tests parked = 1',
      'msx.messaging.outbox.waiting: tests ready = 0',
      'msx.messaging.outbox.waiting: tests retrying = 0',
    ])
  })
})

const brokers: [string, TestDatabase | undefined, () => Transport | undefined][] = [
  ['PGlite and memory', pglite, () => memory()],
  ['PostgreSQL and RabbitMQ', postgres, () => rabbit?.transport()],
]
test.each(brokers)('transaction, row, relay and consumer are one trace, on %s', async (_, database, transportOf) => {
  const transport = transportOf()
  if (database === undefined || transport === undefined) return

  const schema = database.schema()
  const telemetry = openTelemetry({ tracer })
  const outbox = createOutbox({ events, pool: database.pool, schema, telemetry })
  await outbox.migrate()
  const box = inbox({ pool: database.pool, schema })
  const bus = createBus({ events, transport, source: 'tests', telemetry, use: [box] })
  onTestFinished(() => bus.close())
  bus.subscribe(
    'orders',
    'order.created',
    async ({ data }, { tx }) => {
      if (tx !== undefined) await outbox.publish(tx, 'note.made', { text: data.orderId })
    },
    { queue: { name: rabbit?.name('orders') ?? 'orders' } },
  )
  const told: string[] = []
  bus.subscribe(
    'notes',
    'note.made',
    ({ data }) => {
      told.push(data.text)
    },
    { queue: { name: rabbit?.name('notes') ?? 'notes' } },
  )
  await bus.start()

  await tracer.startActiveSpan('request', async (request) => {
    await outbox.transaction((tx) => outbox.publish(tx, 'order.created', { orderId: 'o-1', n: 1 }))
    request.end()
  })
  // A relay has a life of its own, and so a trace of its own: nothing that it sends belongs there.
  const relay = tracer.startActiveSpan('start', (start) => {
    start.end()
    return outbox.relay(bus)
  })
  await until(() => told.length === 1 && spans().length === 8, 'the note')
  await relay.close()

  expect(tree()).toEqual([
    'request',
    '  send order.created to outbox',
    '    process order.created',
    '      send note.made to outbox',
    '        process note.made',
    '        send note.made',
    '    send order.created',
    'start',
  ])
  const created = spans().filter(({ name }) => name === 'send order.created')
  const [written, relayed] = created[0]?.kind === SpanKind.PRODUCER ? created : created.toReversed()
  // By the conventions: the message travels with the span that created it, and who sends it later links to that.
  expect([written?.kind, relayed?.kind]).toEqual([SpanKind.PRODUCER, SpanKind.CLIENT])
  expect(relayed?.links.map((link) => link.context.spanId)).toEqual([written?.spanContext().spanId])
  expect(relayed?.attributes).toMatchObject({
    'messaging.system': transport.system,
    'messaging.operation.name': 'send',
    'messaging.operation.type': 'send',
    'messaging.destination.template': 'order.created',
    'messaging.message.id': written?.attributes['messaging.message.id'],
  })
})

test('the span of a relay says when the broker refused it, and begins a trace where the row has none', async () => {
  const { outbox } = await outboxFixture(pglite)
  const telemetry = openTelemetry({ tracer })
  const broker = memory()
  const bus = createBus({ events, transport: broker, source: 'tests', telemetry })
  onTestFinished(() => bus.close())
  bus.subscribe('notes', 'note.made', () => {})
  await using relay = outbox.relay(bus, { attempts: 1 })

  await outbox.transaction(async (tx) => {
    await outbox.publish(tx, 'order.lost', { orderId: 'o-1' })
    await outbox.publish(tx, 'note.made', { text: 'a' })
  })
  await until(() => relay.snapshot().outbox?.parked === 1 && spans().length === 3)

  const [lost] = spans().filter(({ name }) => name === 'send order.lost')
  expect(lost?.attributes['error.type']).toBe('MSX_UNROUTABLE')
  expect(tree()).toEqual(['send note.made', '  process note.made', 'send order.lost'])
})

function spans(): ReadableSpan[] {
  return exporter.getFinishedSpans()
}

/** The spans as an outline. */
function tree(parent?: string, indent = ''): string[] {
  return spans()
    .filter(({ parentSpanContext }) => parentSpanContext?.spanId === parent)
    .sort((a, b) => a.name.localeCompare(b.name))
    .flatMap((span) => {
      const where = span.attributes['messaging.destination.name'] === 'outbox' ? ' to outbox' : ''
      return [`${indent}${span.name}${where}`, ...tree(span.spanContext().spanId, `${indent}  `)]
    })
}
