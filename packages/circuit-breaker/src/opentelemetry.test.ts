import { context, metrics, trace } from '@opentelemetry/api'
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks'
import { MeterProvider, MetricReader } from '@opentelemetry/sdk-metrics'
import { BasicTracerProvider, InMemorySpanExporter, SimpleSpanProcessor } from '@opentelemetry/sdk-trace-base'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { adaptiveThrottle } from './adaptive-throttle.js'
import { bulkhead } from './bulkhead.js'
import { circuitBreaker } from './circuit-breaker.js'
import { openTelemetry } from './opentelemetry.js'
import { circuitRegistry } from './registry.js'
import { deferred, errorOf, VirtualClock } from './test-support.js'

class PullReader extends MetricReader {
  protected async onForceFlush(): Promise<void> {}
  protected async onShutdown(): Promise<void> {}
}

beforeAll(() => {
  context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable())
})
afterAll(() => {
  context.disable()
})

const fails = () => Promise.reject(new Error('503'))

function observed() {
  const reader = new PullReader()
  const meter = new MeterProvider({ readers: [reader] }).getMeter('test')
  const exporter = new InMemorySpanExporter()
  const tracer = new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] }).getTracer('test')

  return {
    telemetry: openTelemetry({ meter, tracer }),
    tracer,
    spans: () => exporter.getFinishedSpans(),
    /** The points of a metric: its attributes without their prefixes, and its value. */
    async points(metric: string) {
      const { resourceMetrics } = await reader.collect()
      const found = resourceMetrics.scopeMetrics
        .flatMap(({ metrics }) => metrics)
        .find(({ descriptor }) => descriptor.name === metric)
      return (found?.dataPoints ?? []).map(({ attributes, value }) => [
        Object.fromEntries(Object.entries(attributes).map(([key, text]) => [key.split('.').at(-1), text])),
        value,
      ])
    },
  }
}

it('counts calls by how they ended, changes of state, and durations in seconds', async () => {
  const { telemetry, points } = observed()
  const clock = new VirtualClock()
  const circuit = circuitBreaker({ name: 'inventory', trip: { failures: 1 }, clock })
  telemetry.add(circuit)

  await circuit.execute(() => clock.advance(250))
  for (let call = 1; call <= 3; call++) await errorOf(circuit.execute(fails))

  expect(await points('msx.circuit_breaker.calls')).toEqual([
    [{ name: 'inventory', outcome: 'success' }, 1],
    [{ name: 'inventory', outcome: 'failure' }, 1],
    [{ name: 'inventory', outcome: 'rejected' }, 2],
  ])
  expect(await points('msx.circuit_breaker.transitions')).toEqual([[{ name: 'inventory', state: 'open' }, 1]])
  expect(await points('msx.circuit_breaker.call.duration')).toMatchObject([
    [{ name: 'inventory' }, { count: 2, sum: 0.25 }],
  ])
})

it('shows the state a call would meet, without a call', async () => {
  const { telemetry, points } = observed()
  const clock = new VirtualClock()
  const circuit = circuitBreaker({ name: 'inventory', trip: { failures: 1 }, openDuration: 100, clock })
  telemetry.add(circuit)
  const shown = async () => (await points('msx.circuit_breaker.state')).filter(([, value]) => value !== 0)

  expect(await shown()).toEqual([[{ name: 'inventory', state: 'closed' }, 1]])
  await errorOf(circuit.execute(fails))
  expect(await shown()).toEqual([[{ name: 'inventory', state: 'open' }, 1]])
  clock.advance(100)
  expect(await shown()).toEqual([[{ name: 'inventory', state: 'half-open' }, 1]])
})

it('tells of changes of state and rejections in the span of the call that meets them', async () => {
  const { telemetry, tracer, spans } = observed()
  const circuit = circuitBreaker({ name: 'inventory', trip: { failures: 1 } })
  telemetry.add(circuit)

  await tracer.startActiveSpan('checkout', async (span) => {
    await errorOf(circuit.execute(async () => Promise.reject(await null)))
    await errorOf(circuit.execute(fails))
    span.end()
  })

  expect(spans().map(({ name }) => name)).toEqual(['checkout'])
  expect(spans()[0]?.events.map(({ name, attributes }) => [name, attributes])).toEqual([
    [
      'msx.circuit_breaker.transition',
      {
        'msx.circuit_breaker.name': 'inventory',
        'msx.circuit_breaker.previous_state': 'closed',
        'msx.circuit_breaker.state': 'open',
        'msx.circuit_breaker.reason': 'failures',
      },
    ],
    ['msx.circuit_breaker.reject', { 'msx.circuit_breaker.name': 'inventory' }],
  ])
})

it('makes a span of a change of state that no span is active for, none of a rejection', async () => {
  const { telemetry, spans } = observed()
  const circuit = circuitBreaker({ name: 'inventory', trip: { failures: 1 } })
  telemetry.add(circuit)

  for (let call = 1; call <= 3; call++) await errorOf(circuit.execute(fails))

  expect(spans().map(({ name }) => name)).toEqual(['msx.circuit_breaker.transition'])
})

it('shows bulkheads and throttles, and counts what they turn away', async () => {
  const { telemetry, tracer, spans, points } = observed()
  const slots = bulkhead({ name: 'reports', concurrency: 1, queue: 1 })
  const throttle = adaptiveThrottle({ name: 'search', random: () => 0 })
  telemetry.add(slots)
  telemetry.add(throttle)

  const pending = deferred()
  const calls = [slots.execute(() => pending.promise), slots.execute(() => 1)]
  await tracer.startActiveSpan('report', async (span) => {
    await errorOf(slots.execute(() => 1))
    span.end()
  })
  for (let call = 1; call <= 2; call++) await errorOf(throttle.execute(fails))

  expect(await points('msx.bulkhead.concurrency')).toEqual([[{ name: 'reports' }, 1]])
  expect(await points('msx.bulkhead.in_flight')).toEqual([[{ name: 'reports' }, 1]])
  expect(await points('msx.bulkhead.queued')).toEqual([[{ name: 'reports' }, 1]])
  expect(await points('msx.bulkhead.rejected')).toEqual([[{ name: 'reports' }, 1]])
  expect(await points('msx.throttle.rejected')).toEqual([[{ name: 'search' }, 1]])
  expect(await points('msx.throttle.rejection_rate')).toEqual([[{ name: 'search' }, 2 / 3]])
  expect(spans()[0]?.events.map(({ name }) => name)).toEqual(['msx.bulkhead.reject'])
  pending.resolve()
  await Promise.all(calls)
})

it('reports on each circuit of a registry, and stops when told', async () => {
  const { telemetry, points } = observed()
  const circuits = circuitRegistry((name) => circuitBreaker({ name }))
  const remove = telemetry.add(circuits)

  await circuits.get('a').execute(() => 1)
  expect(await points('msx.circuit_breaker.state')).toEqual([[{ name: 'a', state: 'closed' }, 1]])
  remove()
  await circuits.get('a').execute(() => 1)

  expect(await points('msx.circuit_breaker.calls')).toEqual([[{ name: 'a', outcome: 'success' }, 1]])
  expect(await points('msx.circuit_breaker.state')).toEqual([[{ name: 'a', state: 'closed' }, 0]])
})

it('has no more than a thousand names', async () => {
  const { telemetry, points } = observed()
  for (let i = 0; i < 1_010; i++) telemetry.add(circuitBreaker({ name: `host-${i}` }))

  const shown = await points('msx.circuit_breaker.state')
  expect(shown).toHaveLength(1_001)
  expect(shown).toContainEqual([{ name: 'other', state: 'closed' }, 10])
})

it('uses what is registered globally', async () => {
  const reader = new PullReader()
  metrics.setGlobalMeterProvider(new MeterProvider({ readers: [reader] }))
  const exporter = new InMemorySpanExporter()
  trace.setGlobalTracerProvider(new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] }))
  const circuit = circuitBreaker({ trip: { failures: 1 } })

  openTelemetry().add(circuit)
  await errorOf(circuit.execute(fails))

  const { resourceMetrics } = await reader.collect()
  expect(resourceMetrics.scopeMetrics.map(({ scope }) => scope.name)).toEqual(['@msx/circuit-breaker'])
  expect(exporter.getFinishedSpans()).toHaveLength(1)
  metrics.disable()
  trace.disable()
})

it('has the metrics that the README lists', async () => {
  const { readFile } = await import('node:fs/promises')
  const readme = await readFile(new URL('../README.md', import.meta.url), 'utf8')
  const documented = [...readme.matchAll(/^\| `[a-z_]+` +\| `(msx\.[a-z_.]+)`/gm)].map(([, name]) => name)
  const names: string[] = []
  const meter = new MeterProvider().getMeter('test')
  const noted = new Proxy(meter, {
    get: (_, key) => (name: string, options: object) => {
      names.push(name)
      return (meter[key as 'createCounter'] as (name: string, options: object) => unknown).call(meter, name, options)
    },
  })

  openTelemetry({ meter: noted })

  expect(documented.sort()).toEqual(names.sort())
})

it('refuses wrong options, and what has no numbers', () => {
  expect(() => openTelemetry(null as never)).toThrow('openTelemetry options must be an object, got null')
  expect(() => openTelemetry().add({} as never)).toThrow('thing must be a circuit')
})
