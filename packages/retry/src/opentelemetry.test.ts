import { readFile } from 'node:fs/promises'
import { context } from '@opentelemetry/api'
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks'
import {
  AggregationTemporality,
  InMemoryMetricExporter,
  MeterProvider,
  PeriodicExportingMetricReader,
} from '@opentelemetry/sdk-metrics'
import { BasicTracerProvider, InMemorySpanExporter, SimpleSpanProcessor } from '@opentelemetry/sdk-trace-base'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { constant } from './backoff.js'
import { HttpStatusError } from './errors.js'
import { hedge } from './hedge.js'
import { VirtualClock } from './internal/virtual-clock.js'
import { type OpenTelemetryOptions, openTelemetry } from './opentelemetry.js'
import { pipeline } from './pipeline.js'
import { retry } from './retry.js'
import { retryBudget } from './retry-budget.js'
import { timeout } from './timeout.js'
import { retryInterceptor } from './undici/retry-interceptor.js'
import { agentWith, serve } from './undici/test-server.js'

beforeAll(() => {
  context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable())
})

afterAll(() => context.disable())

const fails = () => Promise.reject(new Error('connect to 10.0.0.1 failed'))

function observed() {
  const spans = new InMemorySpanExporter()
  const tracer = new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(spans)] }).getTracer('test')
  const exporter = new InMemoryMetricExporter(AggregationTemporality.CUMULATIVE)
  const reader = new PeriodicExportingMetricReader({ exporter, exportIntervalMillis: 2 ** 31 - 1 })
  const meter = new MeterProvider({ readers: [reader] }).getMeter('test')

  /** Each metric with its points, as [attributes, value]. */
  const points = async () => {
    exporter.reset()
    await reader.forceFlush()
    const all = exporter.getMetrics().flatMap(({ scopeMetrics }) => scopeMetrics.flatMap(({ metrics }) => metrics))
    return Object.fromEntries(
      all.map(({ descriptor, dataPoints }) => [
        descriptor.name,
        dataPoints.map(({ attributes, value }) => [Object.values(attributes).join(' '), value]),
      ]),
    ) as Record<string, [string, number | { sum: number; count: number }][]>
  }
  /** Runs `run` within a span, and returns the events of that span. */
  const eventsOf = async (name: string, run: () => Promise<unknown>) => {
    await tracer.startActiveSpan(name, async (span) => {
      await run().catch(() => {})
      span.end()
    })
    const span = spans.getFinishedSpans().find((each) => each.name === name)
    return span?.events.map((event) => [event.name, event.attributes])
  }
  return { spans, tracer, points, eventsOf, telemetry: openTelemetry({ meter, tracer }) }
}

it('counts attempts by what came of them, and measures the waits', async () => {
  const { telemetry, points } = observed()
  const policy = retry({ name: 'stock', backoff: constant(1) })
  telemetry.add(policy)

  await policy.execute(() => 1)
  await policy.execute(fails).catch(() => {})

  const { 'msx.retry.attempts': attempts, 'msx.retry.delay': delay } = await points()
  expect(attempts).toEqual([
    ['stock success', 1],
    ['stock retried', 2],
    ['stock exhausted', 1],
  ])
  expect(delay).toMatchObject([['stock', { sum: 0.002, count: 2 }]])
})

it('makes what happens events of the span that is active in the call, with the type of the error', async () => {
  const { telemetry, eventsOf } = observed()
  const policy = retry({ name: 'stock', backoff: constant(1) })
  telemetry.add(policy)
  const errors = [
    new HttpStatusError(new Response(null, { status: 503 })),
    Object.assign(new Error('x'), { code: 'ECONNRESET' }),
    'a string',
  ]

  const events = await eventsOf('call', () => policy.execute(() => Promise.reject(errors.shift())))

  expect(events).toEqual([
    [
      'msx.retry.retry',
      { 'msx.retry.name': 'stock', 'msx.retry.attempt': 1, 'msx.retry.delay': 0.001, 'error.type': '503' },
    ],
    [
      'msx.retry.retry',
      { 'msx.retry.name': 'stock', 'msx.retry.attempt': 2, 'msx.retry.delay': 0.001, 'error.type': 'ECONNRESET' },
    ],
    [
      'msx.retry.exhausted',
      { 'msx.retry.name': 'stock', 'msx.retry.attempt': 3, 'msx.retry.reason': 'attempts', 'error.type': '_OTHER' },
    ],
  ])
})

it('finds the span of each of many calls, whatever timer or socket they are woken by', async () => {
  const { origin } = await serve((_, response) => response.writeHead(503).end())
  const { telemetry, eventsOf } = observed()
  const slow = retry({ name: 'slow', backoff: constant(2) })
  const interceptor = retryInterceptor({ name: 'http', backoff: constant(2) })
  const { get } = agentWith(interceptor)
  telemetry.add(slow)
  telemetry.add(interceptor)
  const policy = pipeline(slow, timeout(5))

  const events = await Promise.all(
    Array.from({ length: 20 }, (_, i) => [
      eventsOf(`timeout ${i}`, () => policy.execute(() => new Promise(() => {}))),
      eventsOf(`http ${i}`, () => get(origin)),
    ]).flat(),
  )

  for (const each of events) {
    expect(each?.map(([name]) => name)).toEqual(['msx.retry.retry', 'msx.retry.retry', 'msx.retry.exhausted'])
  }
  expect(events[0]?.[0]?.[1]).toMatchObject({ 'msx.retry.name': 'slow', 'error.type': 'MSX_TIMEOUT' })
  expect(events[1]?.[0]?.[1]).toMatchObject({ 'msx.retry.name': 'http', 'error.type': '503' })
})

it('makes a span for a call that was given up while none is active', async () => {
  const { telemetry, spans } = observed()
  const policy = retry({ name: 'stock', backoff: constant(0) })
  telemetry.add(policy)

  await policy.execute(fails).catch(() => {})

  expect(spans.getFinishedSpans()).toMatchObject([
    { name: 'msx.retry.exhausted', status: { code: 2 }, attributes: { 'error.type': 'Error' } },
  ])
})

it('shows the balance of a budget, and what it refused', async () => {
  const { telemetry, points, eventsOf } = observed()
  const budget = retryBudget({ ratio: 0, minPerSecond: 1, ttl: 1_000, clock: new VirtualClock() })
  const policy = retry({ name: 'stock', backoff: constant(0), budget })
  telemetry.add(policy)
  telemetry.add(retry({ name: 'without' }))
  expect((await points())['msx.retry.budget.balance']).toEqual([['stock', 1]])

  const events = await eventsOf('call', () => policy.execute(fails))

  expect(events?.map(([name]) => name)).toEqual(['msx.retry.retry', 'msx.retry.budget_exhausted'])
  expect((await points())['msx.retry.budget.balance']).toEqual([['stock', 0]])
})

it('counts further copies: started, won, refused', async () => {
  const { telemetry, points, eventsOf } = observed()
  const clock = new VirtualClock()
  const budget = retryBudget({ ratio: 0, minPerSecond: 1, ttl: 1_000, clock })
  const policy = hedge({ name: 'stock', delay: 10, budget, clock })
  telemetry.add(policy)

  let copies = 0
  const events = await eventsOf('call', async () => {
    const won = policy.execute(() => (++copies === 1 ? new Promise(() => {}) : 'second'))
    await clock.advance(10)
    await won
    await policy.execute(fails).catch(() => {})
  })

  expect((await points())['msx.hedge.copies']).toEqual([
    ['stock started', 1],
    ['stock won', 1],
    ['stock budgetExhausted', 1],
  ])
  expect(events?.map(([name]) => name)).toEqual(['msx.hedge.hedge', 'msx.hedge.budget_exhausted'])
})

it('counts once what is added twice, and nothing after it is removed', async () => {
  const { telemetry, points } = observed()
  const policy = retry({ name: 'stock' })
  const remove = telemetry.add(policy)
  expect(telemetry.add(policy)).toBe(remove)

  await policy.execute(() => 1)
  remove()
  await policy.execute(() => 1)

  expect((await points())['msx.retry.attempts']).toEqual([['stock success', 1]])
})

it('keeps the number of names bounded', async () => {
  const { telemetry, points } = observed()
  for (let i = 0; i < 1_005; i++) {
    const policy = retry({ name: `n${i}` })
    telemetry.add(policy)
    await policy.execute(() => 1)
  }

  const { 'msx.retry.attempts': attempts } = await points()
  expect(attempts).toHaveLength(1_001)
  expect(attempts?.at(-1)).toEqual(['other success', 5])
})

it('has the metrics that the README lists', async () => {
  const { telemetry, points } = observed()
  const clock = new VirtualClock()
  const policy = retry({ backoff: constant(0), budget: retryBudget() })
  const hedging = hedge({ delay: 0, clock })
  telemetry.add(policy)
  telemetry.add(hedging)
  await policy.execute(fails).catch(() => {})
  await hedging.execute(fails).catch(() => {})

  const readme = await readFile(new URL('../README.md', import.meta.url), 'utf8')
  const documented = [...readme.matchAll(/`(msx\.(?:retry|hedge)\.[a-z.]+)`/g)].map(([, name]) => name)

  expect(documented).toEqual(expect.arrayContaining(Object.keys(await points())))
})

it('needs nothing registered', async () => {
  const policy = retry({ backoff: constant(0) })
  openTelemetry().add(policy)

  await expect(policy.execute(fails)).rejects.toThrow('connect')
})

it.each([undefined, {}, retryBudget()])('does not measure %o', (thing) => {
  expect(() => openTelemetry().add(thing as never)).toThrow(/openTelemetry: what is added must be a retry or a hedge/)
})

it('refuses options that are none', () => {
  expect(() => openTelemetry(null as unknown as OpenTelemetryOptions)).toThrow(/openTelemetry options/)
})
