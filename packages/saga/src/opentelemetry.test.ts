import { context, SpanStatusCode, trace } from '@opentelemetry/api'
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
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { createSagaEngine, memoryStore, type SagaEngine, StepRejectedError, saga } from './index.js'
import { openTelemetry } from './opentelemetry.js'

const exporter = new InMemorySpanExporter()
const provider = new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] })
const tracer = provider.getTracer('tests')

beforeAll(() => {
  context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable())
})
afterEach(() => exporter.reset())
afterAll(() => context.disable())

const spans = (name: string): ReadableSpan[] => exporter.getFinishedSpans().filter((span) => span.name === name)
const one = (name: string): ReadableSpan => {
  const found = spans(name)
  expect(found, name).toHaveLength(1)
  return found[0] as ReadableSpan
}

test('one trace holds a saga, its steps, its compensations and what they call, across processes', async () => {
  const store = memoryStore()
  const order = saga<null>('order')
    .step('a', () => tracer.startSpan('call').end(), { compensate: () => undefined })
    .sleep('pause', 20)
    .step('b', () => Promise.reject(new StepRejectedError('no')))
    .returns(() => null)
  const [first, second] = [1, 2].map(() =>
    createSagaEngine({ store, sagas: [order], telemetry: openTelemetry({ tracer }) }),
  ) as [SagaEngine, SagaEngine]
  await first.run()

  const { id } = await tracer.startActiveSpan('request', async (request) => {
    const handle = await first.start(order, null)
    request.end()
    return handle
  })
  while ((await first.get(id))?.status !== 'waiting') await new Promise(setImmediate)
  await first.close()
  await second.run()
  await second.settled(id)
  await second.close()

  const start = one('start order')
  const runs = spans('saga order')
  expect(start.parentSpanContext?.spanId).toBe(one('request').spanContext().spanId)
  expect(runs).toHaveLength(2)
  expect(runs.map(({ attributes }) => attributes['msx.saga.status'])).toEqual(['waiting', 'compensated'])
  for (const run of runs) {
    expect(run.parentSpanContext?.spanId).toBe(start.spanContext().spanId)
    expect(run.links.map(({ context }) => context.spanId)).toEqual([start.spanContext().spanId])
  }
  expect(one('step a').parentSpanContext?.spanId).toBe(runs[0]?.spanContext().spanId)
  expect(one('call').parentSpanContext?.spanId).toBe(one('step a').spanContext().spanId)
  expect(one('undo a').parentSpanContext?.spanId).toBe(runs[1]?.spanContext().spanId)
  expect(one('step b').status.code).toBe(SpanStatusCode.ERROR)
  expect(one('step b').attributes['error.type']).toBe('MSX_SAGA_STEP_REJECTED')
  expect(new Set(exporter.getFinishedSpans().map((span) => span.spanContext().traceId)).size).toBe(1)
})

test('a child belongs to the trace of its parent, and a row that says nonsense begins a new one', async () => {
  const small = saga<null>('small')
    .step('x', () => 1)
    .returns(() => null)
  const order = saga<null>('order')
    .child('small', small, () => null)
    .returns(() => null)
  const store = memoryStore()
  const engine = createSagaEngine({ store, sagas: [order], telemetry: openTelemetry({ tracer }) })
  await engine.run()
  await (await engine.start(order, null)).result()
  const own = openTelemetry({ tracer }).run({ sagaId: 'x', name: 'odd', version: 1 }, 'nonsense')
  own.end('completed')
  await engine.close()

  expect(one('step x').spanContext().traceId).toBe(one('start order').spanContext().traceId)
  expect(one('saga odd').parentSpanContext).toBeUndefined()
})

test('keeps the context as the given propagator writes it', () => {
  const telemetry = openTelemetry({ tracer, propagator: new W3CTraceContextPropagator() })
  const own = openTelemetry({ tracer })
  const saga = { sagaId: 'x', name: 'order', version: 1 }

  const started = telemetry.start(saga)
  started.end()
  own.run(saga, started.carrier).end('completed')
  const { carrier } = own.start(saga)
  telemetry.run(saga, carrier).end('completed')

  const [first, second] = spans('saga order')
  expect(first?.parentSpanContext?.spanId).toBe(spans('start order')[0]?.spanContext().spanId)
  expect(JSON.parse(carrier as string).traceparent).toContain(second?.parentSpanContext?.spanId)
})

test('measures attempts and stays, with labels that are few', async () => {
  const metrics = new InMemoryMetricExporter(AggregationTemporality.CUMULATIVE)
  const reader = new PeriodicExportingMetricReader({ exporter: metrics })
  const meter = new MeterProvider({ readers: [reader] }).getMeter('tests')
  const order = saga<null>('order')
    .step('a', () => 1, { compensate: () => undefined })
    .step('b', () => Promise.reject(new StepRejectedError('no')))
    .returns(() => null)
  const engine = createSagaEngine({ store: memoryStore(), sagas: [order], telemetry: openTelemetry({ tracer, meter }) })
  await engine.run()
  await engine.settled((await engine.start(order, null)).id)
  await engine.close()
  await reader.forceFlush()

  const told = new Map(
    metrics
      .getMetrics()
      .flatMap(({ scopeMetrics }) =>
        scopeMetrics.flatMap((scope) =>
          scope.metrics.map(
            (metric) => [metric.descriptor.name, metric.dataPoints.map((point) => point.attributes)] as const,
          ),
        ),
      ),
  )
  expect(told.get('msx.saga.runs')).toEqual([{ 'msx.saga.name': 'order', 'msx.saga.status': 'compensated' }])
  const labels = (step: string, direction: string) => ({
    'msx.saga.name': 'order',
    'msx.saga.step': step,
    'msx.saga.direction': direction,
  })
  expect(told.get('msx.saga.step.duration')).toEqual([
    labels('a', 'forward'),
    { ...labels('b', 'forward'), 'error.type': 'MSX_SAGA_STEP_REJECTED' },
    labels('a', 'backward'),
  ])
})

test('takes what the application registered, and refuses what is none', () => {
  expect(() => openTelemetry().start({ sagaId: 'x', name: 'order', version: 1 }).end()).not.toThrow()
  expect(() => openTelemetry({ tracer: {} as never })).toThrow('tracer.startSpan must be a function')
  expect(() => openTelemetry(null as never)).toThrow('options must be an object')
  expect(trace.getActiveSpan()).toBeUndefined()
})
