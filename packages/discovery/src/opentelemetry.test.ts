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
import { roundRobin } from './balancers/round-robin.js'
import { createDiscovery } from './discovery.js'
import { openTelemetry } from './opentelemetry.js'
import { endpoint, ScriptedSource, VirtualClock } from './test-support.js'

beforeAll(() => {
  context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable())
})

afterAll(() => context.disable())

function observed() {
  const spans = new InMemorySpanExporter()
  const tracer = new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(spans)] }).getTracer('test')
  const exporter = new InMemoryMetricExporter(AggregationTemporality.CUMULATIVE)
  const reader = new PeriodicExportingMetricReader({ exporter, exportIntervalMillis: 2 ** 31 - 1 })
  const meter = new MeterProvider({ readers: [reader] }).getMeter('test')

  /** Each metric with its points, as attributes and value. */
  const points = async () => {
    exporter.reset()
    await reader.forceFlush()
    const all = exporter.getMetrics().flatMap(({ scopeMetrics }) => scopeMetrics.flatMap(({ metrics }) => metrics))
    return Object.fromEntries(
      all.map(({ descriptor, dataPoints }) => [
        descriptor.name,
        dataPoints.map(({ attributes, value }) => `${Object.values(attributes).join(' ')}: ${value}`),
      ]),
    )
  }

  const source = new ScriptedSource()
  const clock = new VirtualClock()
  const telemetry = openTelemetry({ meter, tracer })
  const outlier = { consecutiveFailures: 1, ejectionTime: 30_000 }
  const options = { source, clock, balancer: roundRobin(), outlier, random: () => 0.5 }
  const discovery = createDiscovery({ ...options, telemetry })
  const users = discovery.service('users')
  source.sink.update([endpoint('a'), endpoint('b')])
  return { spans, tracer, points, telemetry, source, clock, discovery, users }
}

it('counts by service, and shows what is', async () => {
  const { points, users, source } = observed()

  users.pick().done('failure')
  users.pick().done('cancelled')
  users.pick()
  source.sink.fail(new Error('10.0.0.1 is away'))

  expect(await points()).toEqual({
    'msx.discovery.picks': ['users: 3'],
    'msx.discovery.failures': ['users: 1'],
    'msx.discovery.cancellations': ['users: 1'],
    'msx.discovery.refusals': ['users: 0'],
    'msx.discovery.ejections': ['users consecutive-failures: 1'],
    'msx.discovery.source.errors': ['users: 1'],
    'msx.discovery.endpoints': ['users active: 1', 'users ejected: 1'],
    'msx.discovery.in_flight': ['users: 1'],
    'msx.discovery.stale': ['users: 1'],
    'msx.discovery.snapshot.version': ['users: 2'],
  })
})

it('puts ejections and readmissions into the span of the request that brings them about', async () => {
  const { spans, tracer, clock, users, points } = observed()

  tracer.startActiveSpan('request', (span) => {
    users.pick().done('failure')
    clock.advance(30_000)
    users.pick().done('success')
    span.end()
  })

  const where = { 'server.address': '10.0.0.1', 'server.port': expect.any(Number) }
  const service = { 'msx.discovery.service': 'users' }
  const [span] = spans.getFinishedSpans()
  expect(span?.events.map(({ name, attributes }) => [name, attributes])).toEqual([
    [
      'msx.discovery.ejected',
      { ...service, 'msx.discovery.reason': 'consecutive-failures', 'msx.discovery.duration': 30, ...where },
    ],
    ['msx.discovery.readmitted', { ...service, ...where }],
  ])
  expect((await points())['msx.discovery.readmissions']).toEqual(['users: 1'])
})

it('makes a span of its own for an ejection outside of any', () => {
  const { spans, users } = observed()

  users.pick().done('failure')

  expect(spans.getFinishedSpans().map(({ name }) => name)).toEqual(['msx.discovery.ejected'])
})

it('ends with the discovery, and keeps what was counted', async () => {
  const { points, users, discovery, spans } = observed()
  const lease = users.pick()

  await discovery.close()
  lease.done('failure')

  expect((await points())['msx.discovery.picks']).toEqual(['users: 1'])
  expect(spans.getFinishedSpans()).toEqual([])
})

it('has the metrics that the README lists', async () => {
  const { points, clock, users } = observed()
  users.pick().done('failure')
  clock.advance(40_000)
  users.pick().done('success')
  const readme = await readFile(new URL('../README.md', import.meta.url), 'utf8')
  const documented = [...readme.matchAll(/^\| `discovery_\w+` *\| `(msx\.discovery\.[\w.]+)`/gm)].map(
    ([, name]) => name,
  )

  expect([...Object.keys(await points()), 'msx.discovery.source.errors'].sort()).toEqual(documented.sort())
})

it('refuses options that are none', () => {
  expect(() => openTelemetry(5 as never)).toThrow(/options must be/)
})
