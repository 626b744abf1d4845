import {
  type Attributes,
  context,
  createTraceState,
  propagation,
  SpanKind,
  SpanStatusCode,
  trace,
} from '@opentelemetry/api'
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks'
import { W3CTraceContextPropagator } from '@opentelemetry/core'
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
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { createBus } from './bus.js'
import { NonRetryableError } from './errors.js'
import { events, fixture } from './internal/fixture.js'
import { virtualClock } from './internal/virtual-clock.js'
import { memory } from './memory/memory.js'
import { w3c } from './opentelemetry/w3c.js'
import { openTelemetry } from './opentelemetry.js'
import { testBroker } from './rabbitmq/fixture.js'
import type { Telemetry } from './telemetry.js'
import type { Transport } from './transport.js'

const exporter = new InMemorySpanExporter()
const provider = new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] })
const tracer = provider.getTracer('tests')
const rabbit = await testBroker()

beforeAll(() => {
  context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable())
})
afterEach(() => exporter.reset())
afterAll(async () => {
  context.disable()
  await rabbit?.close()
})

describe('a trace', () => {
  test('goes from the publisher to each group, and on to what a handler publishes', async () => {
    const { bus, broker } = fixture({ telemetry: openTelemetry({ tracer }) })
    bus.subscribe('mails', 'order.created', async (message, { publish }) => {
      await publish('order.line.added', { sku: message.data.orderId })
    })
    bus.subscribe('facts', 'order.*', () => {})

    await tracer.startActiveSpan('request', async (request) => {
      await bus.publish('order.created', { orderId: '1' }, { id: 'm-1' })
      request.end()
    })
    await broker.drain()
    await bus.close()

    expect(tree()).toEqual([
      'request',
      '  send order.created',
      '    process order.created by facts',
      '    process order.created by mails',
      '      send order.line.added',
    ])
    const [request] = spans('request')
    expect(new Set(exporter.getFinishedSpans().map((span) => span.spanContext().traceId)).size).toBe(1)
    expect(spans('send order.created')[0]?.parentSpanContext?.spanId).toBe(request?.spanContext().spanId)
  })

  test('has the names, kinds, links and attributes of the conventions', async () => {
    const { bus, broker } = fixture({ telemetry: openTelemetry({ tracer }) })
    bus.subscribe('mails', 'order.created', () => {}, { queue: { name: 'mail-queue' } })

    await bus.publish('order.created', { orderId: '1' }, { id: 'm-1', correlationId: 'c-1' })
    await broker.drain()

    const [sent, processed] = [spans('send order.created')[0], spans('process order.created')[0]]
    const common = {
      'messaging.system': 'memory',
      'messaging.destination.name': 'order.created',
      'messaging.destination.template': 'order.created',
      'messaging.message.id': 'm-1',
      'messaging.message.conversation_id': 'c-1',
      'messaging.message.body.size': 15,
    }
    expect(sent?.kind).toBe(SpanKind.PRODUCER)
    expect(sent?.attributes).toEqual({
      ...common,
      'messaging.operation.name': 'send',
      'messaging.operation.type': 'send',
    })
    expect(processed?.kind).toBe(SpanKind.CONSUMER)
    expect(processed?.attributes).toEqual({
      ...common,
      'messaging.operation.name': 'process',
      'messaging.operation.type': 'process',
      'messaging.consumer.group.name': 'mails',
      'msx.messaging.attempt': 1,
      'msx.messaging.redelivered': false,
    })
    expect(processed?.parentSpanContext?.spanId).toBe(sent?.spanContext().spanId)
    expect(processed?.links.map((link) => link.context.spanId)).toEqual([sent?.spanContext().spanId])
  })

  test('shows each attempt, and why it failed', async () => {
    const { bus, broker, clock } = fixture({ telemetry: openTelemetry({ tracer }) })
    bus.subscribe(
      'mails',
      'order.created',
      ({ attempt }) => {
        if (attempt < 3) throw new RangeError(`attempt ${attempt}`)
        throw new NonRetryableError('never')
      },
      { retry: { immediate: 1, delays: [1_000] } },
    )

    await bus.publish('order.created', { orderId: '1' })
    await broker.drain()
    await clock.advance(1_000)
    await broker.drain()

    const attempts = spans('process order.created')
    expect(attempts.map(({ attributes }) => [attributes['msx.messaging.attempt'], attributes['error.type']])).toEqual([
      [1, 'RangeError'],
      [2, 'RangeError'],
      [3, 'MSX_NON_RETRYABLE'],
    ])
    expect(attempts[0]?.status).toEqual({ code: SpanStatusCode.ERROR, message: 'attempt 1' })
    expect(attempts[0]?.events.map(({ name }) => name)).toEqual(['exception'])
    const [sent] = spans('send order.created')
    for (const { parentSpanContext } of attempts) expect(parentSpanContext?.spanId).toBe(sent?.spanContext().spanId)
  })

  test('shows a handler that ran out of time, and a message that never reached one', async () => {
    const { bus, broker, clock } = fixture({ telemetry: openTelemetry({ tracer }) })
    bus.subscribe('mails', 'order.created', () => new Promise(() => {}), { timeout: 10, retry: false })
    await bus.publish('order.created', { orderId: '1' })
    await clock.advance(10)
    const foreign = await broker.connect({ name: 'foreign' })
    await foreign.publish({ type: 'order.created', body: Buffer.from('{'), headers: {} }, { mandatory: true })
    await broker.drain()

    expect(spans('process order.created').map(({ attributes }) => attributes['error.type'])).toEqual([
      'MSX_HANDLER_TIMEOUT',
      'MSX_DECODE',
    ])
  })

  test('shows what the broker did not take, and not what was not valid', async () => {
    const { bus } = fixture({ telemetry: openTelemetry({ tracer }) })

    await expect(bus.publish('order.created', { orderId: '1' })).rejects.toMatchObject({ code: 'MSX_UNROUTABLE' })
    await expect(bus.publish('order.created', {} as never)).rejects.toMatchObject({ code: 'MSX_VALIDATION' })

    expect(exporter.getFinishedSpans()).toHaveLength(1)
    expect(spans('send order.created')[0]?.attributes['error.type']).toBe('MSX_UNROUTABLE')
  })

  test('covers a request and its answer', async () => {
    const { bus } = fixture({ telemetry: openTelemetry({ tracer }) })
    bus.subscribe('prices', 'price.asked', (_, { reply }) => reply('price.told', { cents: 100 }))

    await bus.request('price.asked', { sku: 's' }, { reply: 'price.told', timeout: 1_000 })
    await bus.close()

    expect(tree()).toEqual(['send price.asked', '  process price.asked by prices', '    send price.told'])
  })

  test('handed on by the publisher in the headers goes before the one it runs in', async () => {
    const { bus, broker } = fixture({ telemetry: openTelemetry({ tracer }) })
    bus.subscribe('g', 'order.created', () => {})
    const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'

    await tracer.startActiveSpan('relay', async (relay) => {
      await bus.publish('order.created', { orderId: '1' }, { headers: { traceparent, tracestate: 'vendor=x' } })
      relay.end()
    })
    await broker.drain()

    const [sent] = spans('send order.created')
    expect(sent?.parentSpanContext).toMatchObject({ spanId: 'b7ad6b7169203331', isRemote: true })
    expect(sent?.spanContext().traceState?.serialize()).toBe('vendor=x')
    expect(spans('process order.created')[0]?.spanContext().traceId).toBe('0af7651916cd43dd8448eb211c80319c')
  })

  test.each([
    'garbage',
    '',
    '00-00000000000000000000000000000000-b7ad6b7169203331-01',
    '00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01',
    '00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01',
    'ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
    '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more',
    `01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-${'x'.repeat(5_000)}`,
    7,
    { nested: true },
    Buffer.from('00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'),
  ])('begins anew where a foreign one is not valid: %s', async (traceparent) => {
    const { bus, broker } = fixture({ telemetry: openTelemetry({ tracer }) })
    let handled = 0
    bus.subscribe('g', 'order.created', () => {
      handled += 1
    })
    await bus.start()
    const foreign = await broker.connect({ name: 'foreign' })
    const headers = { traceparent, tracestate: '=,=;;\u0000' }
    const wire = { type: 'order.created', body: Buffer.from('{"orderId":"1"}'), headers }

    // In the same process, so that there is a trace it could be taken into by mistake.
    await tracer.startActiveSpan('elsewhere', async (elsewhere) => {
      await foreign.publish(wire, { mandatory: true })
      elsewhere.end()
    })
    await broker.drain()

    expect(handled).toBe(1)
    const [processed] = spans('process order.created')
    expect(processed?.parentSpanContext).toBeUndefined()
    expect(processed?.links).toEqual([])
  })

  test('has one name for all events that the catalogue does not know', async () => {
    const { bus, broker } = fixture({ telemetry: openTelemetry({ tracer }) })
    bus.subscribe('g', 'order.*', () => {})
    await bus.start()
    const foreign = await broker.connect({ name: 'foreign' })

    await foreign.publish({ type: 'order.x17', body: Buffer.from('{}'), headers: {} }, { mandatory: true })
    await broker.drain()

    expect(spans('process unknown')[0]?.attributes).toMatchObject({
      'messaging.destination.name': 'order.x17',
      'messaging.destination.template': 'unknown',
      'error.type': 'MSX_UNKNOWN_EVENT',
    })
  })

  test('shows a propagator only text, and only what is a header', async () => {
    const seen: unknown[] = []
    const curious = {
      fields: () => [],
      inject: () => {},
      extract(given: never, carrier: unknown, getter: { get(c: unknown, name: string): unknown }) {
        seen.push(...['text', 'number', 'nested', 'toString'].map((name) => getter.get(carrier, name)))
        return given
      },
    }
    const { bus, broker } = fixture({ telemetry: openTelemetry({ tracer, propagator: curious }) })
    bus.subscribe('g', 'order.created', () => {})
    await bus.start()
    const foreign = await broker.connect({ name: 'foreign' })

    const headers = { text: 'x', number: 1, nested: { a: 1 } }
    await foreign.publish({ type: 'order.created', body: Buffer.from('{"orderId":"1"}'), headers }, { mandatory: true })
    await broker.drain()

    expect(seen).toEqual(['x', undefined, undefined, undefined])
  })

  test('travels as the given propagator has it, or the registered one', async () => {
    const b3ish = {
      fields: () => ['x-trace'],
      inject: (_: unknown, carrier: unknown, setter: { set(c: unknown, k: string, v: string): void }) => {
        setter.set(carrier, 'x-trace', 'abc')
        setter.set(carrier, 'msx-attempts', '99')
      },
      extract: (given: never) => given,
    }
    const given = fixture({ telemetry: openTelemetry({ tracer, propagator: b3ish }) })
    given.bus.subscribe('g', 'order.created', () => {})
    await given.bus.publish('order.created', { orderId: '1' })
    expect(given.broker.published[0]?.headers).toEqual({ 'x-trace': 'abc' })

    propagation.setGlobalPropagator(b3ish)
    const registered = fixture({ telemetry: openTelemetry({ tracer }) })
    registered.bus.subscribe('g', 'order.created', () => {})
    await registered.bus.publish('order.created', { orderId: '1' })
    propagation.disable()
    expect(registered.broker.published[0]?.headers).toEqual({ 'x-trace': 'abc' })
  })
})

test('our W3C Trace Context reads and writes what that of the SDK does', () => {
  const theirs = new W3CTraceContextPropagator()
  const span = {
    traceId: '0af7651916cd43dd8448eb211c80319c',
    spanId: 'b7ad6b7169203331',
    traceFlags: 1,
    traceState: createTraceState('a=1,b=2'),
  }
  const written = [w3c, theirs].map((propagator) => {
    const headers: Record<string, string> = {}
    const setter = {
      set(carrier: Record<string, string>, name: string, value: string) {
        carrier[name] = value
      },
    }
    propagator.inject(trace.setSpanContext(context.active(), span), headers, setter)
    return headers
  })
  expect(written[0]).toEqual(written[1])

  const getter = {
    keys: (carrier: Record<string, string>) => Object.keys(carrier),
    get: (carrier: Record<string, string>, name: string) => carrier[name],
  }
  const [ours, sdks] = [w3c, theirs].map((propagator) =>
    trace.getSpanContext(propagator.extract(context.active(), written[0] as Record<string, string>, getter)),
  )
  expect(ours?.traceState?.serialize()).toBe('a=1,b=2')
  expect({ ...ours, traceState: undefined }).toEqual({ ...sdks, traceState: undefined })
})

test('counts and times by the conventions, in seconds, with few labels', async () => {
  const metricExporter = new InMemoryMetricExporter(AggregationTemporality.CUMULATIVE)
  const reader = new PeriodicExportingMetricReader({ exporter: metricExporter, exportIntervalMillis: 60_000 })
  const meters = new MeterProvider({ readers: [reader] })
  const { bus, broker } = fixture({ telemetry: openTelemetry({ meter: meters.getMeter('tests') }) })
  bus.subscribe('g', 'order.created', ({ data }) => {
    if (data.orderId === 'bad') throw new NonRetryableError('no')
  })

  await bus.publish('order.created', { orderId: '1' })
  await bus.publish('order.created', { orderId: 'bad' })
  await broker.drain()
  await meters.forceFlush()

  const measured = metricExporter
    .getMetrics()
    .flatMap(({ scopeMetrics }) => scopeMetrics.flatMap(({ metrics }) => metrics))
  const values = measured.map(({ descriptor, dataPoints }) => [
    descriptor.name,
    descriptor.unit,
    dataPoints.map(({ attributes }) => attributes['error.type'] ?? 'success').sort(),
  ])
  expect(values).toEqual([
    ['messaging.client.sent.messages', '{message}', ['success']],
    ['messaging.client.consumed.messages', '{message}', ['MSX_NON_RETRYABLE', 'success']],
    ['messaging.client.operation.duration', 's', ['success']],
    ['messaging.process.duration', 's', ['MSX_NON_RETRYABLE', 'success']],
  ])
  const labels = new Set(
    measured.flatMap(({ dataPoints }) => dataPoints.flatMap(({ attributes }) => names(attributes))),
  )
  expect([...labels].sort()).toEqual([
    'error.type',
    'messaging.consumer.group.name',
    'messaging.destination.template',
    'messaging.operation.name',
    'messaging.system',
  ])
  await meters.shutdown()
})

describe('a telemetry that fails', () => {
  const broken: Telemetry = {
    send: () => {
      throw new Error('broken')
    },
    process: () => Promise.reject(new Error('broken')),
  }
  const half: Telemetry = {
    send: () => ({
      headers: {},
      end: () => {
        throw new Error('broken')
      },
    }),
    async process(_, attempt) {
      await attempt()
      throw new Error('broken')
    },
  }

  test.each([
    ['at once', broken],
    ['in the end', half],
  ])('%s breaks no message, and no message is handled twice', async (_, telemetry) => {
    const { bus, broker } = fixture({ telemetry })
    const got: string[] = []
    bus.subscribe('g', 'order.created', ({ data }) => {
      got.push(data.orderId)
    })

    await bus.publish('order.created', { orderId: '1' })
    await broker.drain()

    expect(got).toEqual(['1'])
    expect(broker.queues()[0]).toMatchObject({ ready: 0, unsettled: 0 })
  })

  test('to be one at all is refused', () => {
    expect(() => fixture({ telemetry: {} as never })).toThrow(/telemetry\.send must be a function/)
    expect(() => openTelemetry({ tracer: {} as never })).toThrow(/tracer\.startSpan/)
    expect(() => openTelemetry({ meter: {} as never })).toThrow(/meter\.createCounter/)
    expect(() => openTelemetry(null as never)).toThrow(/options/)
  })
})

describe.skipIf(rabbit === undefined)('over RabbitMQ', { timeout: 20_000 }, () => {
  test('a trace lasts through a delayed retry, the dead letters and back, and over a request', async () => {
    const broker = rabbit as NonNullable<typeof rabbit>
    const bus = tracedBus(broker.transport())
    const group = broker.name('traced')
    let isMended = false
    let settle = (): void => {}
    const settled = (): Promise<void> =>
      new Promise((resolve) => {
        settle = resolve
      })
    bus.on('deadLetter', () => settle())
    bus.on('handled', () => settle())
    bus.subscribe(
      group,
      'order.created',
      () => {
        if (!isMended) throw new Error('not yet')
      },
      { retry: { immediate: 0, delays: [1] } },
    )
    bus.subscribe(broker.name('prices'), 'price.asked', (_, { reply }) => reply('price.told', { cents: 1 }))
    await bus.start()

    const dead = settled()
    await bus.publish('order.created', { orderId: '1' }, { id: 'm-1' })
    await dead
    isMended = true
    const mended = settled()
    await bus.redrive(group)
    await mended
    await bus.request('price.asked', { sku: 's' }, { reply: 'price.told', timeout: 5_000 })
    await bus.close()

    const by = (name: string): string => `by ${group.replace('traced', name)}`
    expect(tree()).toEqual([
      'send order.created',
      `  process order.created ${by('traced')}`,
      `  process order.created ${by('traced')}`,
      `  process order.created ${by('traced')}`,
      'send price.asked',
      `  process price.asked ${by('prices')}`,
      '    send price.told',
    ])
    expect(spans('send order.created')[0]?.attributes).toMatchObject({
      'messaging.system': 'rabbitmq',
      'messaging.destination.name': `${broker.exchange}:order.created`,
      'messaging.rabbitmq.destination.routing_key': 'order.created',
    })
    expect(spans('process order.created')[0]?.attributes).toMatchObject({
      'messaging.destination.name': `${broker.exchange}:order.created:${group}`,
      'messaging.consumer.group.name': group,
    })
  })

  function tracedBus(transport: Transport) {
    return createBus({ events, transport, source: 'tests', telemetry: openTelemetry({ tracer }) })
  }
})

test('a bus without telemetry sends no header of it', async () => {
  const broker = memory({ clock: virtualClock() })
  const bus = createBus({ events, transport: broker, source: 'tests' })
  bus.subscribe('g', 'order.created', () => {})

  await tracer.startActiveSpan('request', async (request) => {
    await bus.publish('order.created', { orderId: '1' })
    request.end()
  })

  expect(broker.published[0]?.headers).toEqual({})
  expect(exporter.getFinishedSpans()).toHaveLength(1)
})

function spans(name: string): ReadableSpan[] {
  return exporter
    .getFinishedSpans()
    .filter((span) => span.name === name)
    .sort(byStart)
}

/** The spans as an outline, siblings by their names. */
function tree(parent?: string, indent = ''): string[] {
  return exporter
    .getFinishedSpans()
    .filter(({ parentSpanContext }) => parentSpanContext?.spanId === parent)
    .map((span) => ({ span, title: [span.name, groupOf(span.attributes)].join('') }))
    .sort((a, b) => a.title.localeCompare(b.title))
    .flatMap(({ span, title }) => [`${indent}${title}`, ...tree(span.spanContext().spanId, `${indent}  `)])
}

function groupOf(attributes: Attributes): string {
  const group = attributes['messaging.consumer.group.name']

  return group === undefined ? '' : ` by ${group}`
}

function byStart(a: ReadableSpan, b: ReadableSpan): number {
  return a.startTime[0] - b.startTime[0] || a.startTime[1] - b.startTime[1]
}

function names(attributes: Attributes): string[] {
  return Object.keys(attributes)
}
