import { once } from 'node:events'
import { request } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { circuitBreaker } from '@msx/circuit-breaker'
import { context, propagation, SpanKind, SpanStatusCode, trace } from '@opentelemetry/api'
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks'
import { W3CTraceContextPropagator } from '@opentelemetry/core'
import {
  AggregationTemporality,
  InMemoryMetricExporter,
  MeterProvider,
  PeriodicExportingMetricReader,
} from '@opentelemetry/sdk-metrics'
import { BasicTracerProvider, InMemorySpanExporter, SimpleSpanProcessor } from '@opentelemetry/sdk-trace-base'
import { afterAll, afterEach, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { createGateway } from './gateway.js'
import { proto, startOrders } from './grpc/testing/server.js'
import { transcode } from './grpc.js'
import { type Echoed, echo, serve, signalled, startUpstream } from './internal/test-servers.js'
import { compose } from './middleware.js'
import { openTelemetry, tracing } from './opentelemetry.js'

const exporter = new InMemorySpanExporter()
const provider = new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] })
const tracer = provider.getTracer('tests')

beforeAll(() => void context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable()))
afterEach(() => exporter.reset())
afterAll(() => context.disable())

const traceId = '0af7651916cd43dd8448eb211c80319c'
const traceparent = `00-${traceId}-b7ad6b7169203331-01`

/** A gateway before a server of gRPC that handles calls like this. */
async function startTranscoded(methods: object, options = {}): Promise<{ url: string; address: string }> {
  const { address } = await startOrders(methods as never)
  const orders = transcode({ proto, service: 'Orders', address, ...options })
  const gateway = createGateway(
    { routes: [{ path: '/v1/**', upstream: 'orders', grpc: 'orders' }] },
    { telemetry: openTelemetry({ tracer }), transcoders: { orders } },
  )
  onTestFinished(async () => {
    await gateway.close({ timeout: 0 })
    await orders.close()
  })
  return { url: (await serve(gateway.handler)).url, address }
}

async function start(upstream: string, deps = {}): Promise<string> {
  const gateway = createGateway(
    { routes: [{ path: '/users/:id', upstream }], trust: ['127.0.0.1'] },
    { telemetry: openTelemetry({ tracer }), ...deps },
  )
  onTestFinished(() => gateway.close({ timeout: 0 }))

  return (await serve(gateway.handler)).url
}

const finished = (kind: SpanKind) => exporter.getFinishedSpans().filter((span) => span.kind === kind)

/** That of the request; those of its attempts are there by then. */
async function onlySpan() {
  await expect.poll(() => finished(SpanKind.SERVER).length).toBe(1)
  return finished(SpanKind.SERVER)[0]!
}

const attempts = () => finished(SpanKind.CLIENT)
const idOf = (span: { spanContext(): { spanId: string } } | undefined) => span?.spanContext().spanId

describe('a span', () => {
  test('continues the trace of the request, and is the parent of the attempt, which is that of what the upstream does', async () => {
    const upstream = await startUpstream(echo)
    const url = await start(upstream.url)

    const response = await fetch(`${url}/users/7?token=secret`, {
      headers: { traceparent, tracestate: 'a=1', 'x-forwarded-for': '203.0.113.9', 'user-agent': 'tests' },
    })
    const { headers } = (await response.json()) as Echoed
    const span = await onlySpan()

    const [attempt] = attempts()
    expect(headers['traceparent']).toBe(`00-${traceId}-${idOf(attempt)}-01`)
    expect(headers['tracestate']).toBe('a=1')
    expect(attempt?.parentSpanContext?.spanId).toBe(idOf(span))
    expect(attempt?.name).toBe('GET')
    expect(attempt?.attributes).toEqual({
      'http.request.method': 'GET',
      'url.full': `${upstream.url}/users/7`,
      'server.address': '127.0.0.1',
      'server.port': Number(new URL(upstream.url).port),
      'network.protocol.version': '1.1',
      'http.response.status_code': 200,
    })
    expect(attempt?.status.code).toBe(SpanStatusCode.UNSET)
    expect(span.name).toBe('GET /users/:id')
    expect(span.kind).toBe(SpanKind.SERVER)
    expect(span.parentSpanContext?.spanId).toBe('b7ad6b7169203331')
    expect(span.attributes).toEqual({
      'http.request.method': 'GET',
      'url.path': '/users/7',
      'url.scheme': 'http',
      'server.address': '127.0.0.1',
      'server.port': Number(new URL(url).port),
      'network.peer.address': '127.0.0.1',
      'network.protocol.version': '1.1',
      'user_agent.original': 'tests',
      'http.route': '/users/:id',
      'http.response.status_code': 200,
      'client.address': '203.0.113.9',
      'msx.gateway.upstream': upstream.url,
      'msx.gateway.attempts': 1,
    })
    expect(span.status.code).toBe(SpanStatusCode.UNSET)
  })

  test.each([
    ['none', {}],
    ['one that is no trace', { traceparent: '00-0-0-0', tracestate: 'a=1' }],
    ['all zeros', { traceparent: `00-${'0'.repeat(32)}-b7ad6b7169203331-01`, tracestate: 'a=1' }],
    ['version ff', { traceparent: `ff-${traceId}-b7ad6b7169203331-01`, tracestate: 'a=1' }],
    ['two of them', { traceparent: `${traceparent}, ${traceparent}`, tracestate: 'a=1' }],
  ] as [string, Record<string, string>][])(
    'with %s begins a trace, and forgets the state of the other',
    async (_, sent) => {
      const upstream = await startUpstream(echo)
      const url = await start(upstream.url)

      const { headers } = (await (await fetch(`${url}/users/7`, { headers: sent })).json()) as Echoed
      const span = await onlySpan()

      expect(headers['traceparent']).toBe(`00-${span.spanContext().traceId}-${idOf(attempts()[0])}-01`)
      expect(headers['tracestate']).toBeUndefined()
      expect(span.spanContext().traceId).not.toBe(traceId)
      expect(span.parentSpanContext).toBeUndefined()
    },
  )

  test('of a failure says why, by its code', async () => {
    const url = await start('http://127.0.0.1:1')

    await fetch(`${url}/users/7`)
    const span = await onlySpan()

    expect(span.status.code).toBe(SpanStatusCode.ERROR)
    expect(span.attributes).toMatchObject({ 'http.response.status_code': 502, 'error.type': 'MSX_PROXY_CONNECT' })
  })

  test('of what no route takes has no path in its name', async () => {
    const url = await start('http://127.0.0.1:1')

    await fetch(`${url}/secret/path`)
    const span = await onlySpan()

    expect(span.name).toBe('GET')
    expect(span.attributes['http.route']).toBeUndefined()
    expect(span.status.code).toBe(SpanStatusCode.UNSET)
  })

  test('of a client that left has no status, and blames nobody', async () => {
    const asked = signalled()
    const upstream = await startUpstream(() => asked.fire())
    const url = await start(upstream.url)

    const outgoing = request(`${url}/users/7`)
    outgoing.on('error', () => {}).end()
    await asked.promise
    outgoing.destroy()
    const span = await onlySpan()

    for (const one of [span, attempts()[0]]) {
      expect(one?.attributes['http.response.status_code']).toBeUndefined()
      expect(one?.attributes['error.type']).toBe('MSX_PROXY_CLIENT_GONE')
      expect(one?.status.code).toBe(SpanStatusCode.UNSET)
    }
  })

  test('ends although the client had left before it began', async () => {
    const waiting = signalled()
    const slow = compose((_req, res, next) => {
      res.once('close', () => next())
      waiting.fire()
    }, tracing({ tracer }))
    const { url } = await serve(slow)

    const outgoing = request(url)
    outgoing.on('error', () => {}).end()
    await waiting.promise
    outgoing.destroy()

    expect((await onlySpan()).attributes['error.type']).toBe('MSX_PROXY_CLIENT_GONE')
  })

  test('is active for what comes after, and travels by the propagator that is registered', async () => {
    propagation.setGlobalPropagator(new W3CTraceContextPropagator())
    onTestFinished(() => propagation.disable())
    const { url } = await serve((req, res) =>
      tracing({ tracer })(req, res, () =>
        res.end(`${trace.getActiveSpan()?.spanContext().spanId} ${req.headers['traceparent']}`),
      ),
    )

    const [active, handedOn] = (await (await fetch(url)).text()).split(' ')
    const span = await onlySpan()

    expect(active).toBe(span.spanContext().spanId)
    expect(handedOn).toContain(span.spanContext().spanId)
  })

  test('has one of its own below it for each attempt, which says how that went', async () => {
    let asked = 0
    const upstream = await startUpstream((_req, res) => {
      asked += 1
      if (asked === 1) res.destroy()
      else if (asked === 2) res.writeHead(503).end()
      else res.writeHead(404).end()
    })
    const gateway = createGateway(
      { routes: [{ path: '/users/:id', upstream: upstream.url, retry: { attempts: 3, backoff: () => 0 } }] },
      { telemetry: openTelemetry({ tracer }) },
    )
    onTestFinished(() => gateway.close({ timeout: 0 }))

    await fetch(`${(await serve(gateway.handler)).url}/users/7`)
    const span = await onlySpan()

    expect(attempts().map(({ attributes }) => attributes['http.request.resend_count'])).toEqual([undefined, 1, 2])
    expect(attempts().map(({ attributes }) => attributes['error.type'])).toEqual(['MSX_PROXY_RESET', '503', '404'])
    expect(attempts().map(({ attributes }) => attributes['http.response.status_code'])).toEqual([undefined, 503, 404])
    expect(attempts().map(({ status }) => status.code)).toEqual(Array(3).fill(SpanStatusCode.ERROR))
    expect(attempts().map(({ parentSpanContext }) => parentSpanContext?.spanId)).toEqual(Array(3).fill(idOf(span)))
    expect(span.attributes).toMatchObject({ 'http.response.status_code': 404, 'msx.gateway.attempts': 3 })
  })

  test('has none below it for what a breaker did not let out', async () => {
    const breaker = circuitBreaker()
    breaker.isolate()
    const gateway = createGateway(
      { routes: [{ path: '/users/:id', upstream: 'http://127.0.0.1:1', breaker }] },
      { telemetry: openTelemetry({ tracer }) },
    )
    onTestFinished(() => gateway.close({ timeout: 0 }))

    await fetch(`${(await serve(gateway.handler)).url}/users/7`)
    await onlySpan()

    expect(attempts()).toEqual([])
  })

  test('of a WebSocket has one below it that ends when the bytes begin to go through', async () => {
    const upstream = await serve(() => {})
    upstream.server.on('upgrade', (_req, socket) => {
      socket.on('error', () => {})
      socket.write('HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n')
      socket.on('end', () => socket.end())
    })
    const gateway = createGateway(
      { routes: [{ path: '/chat', upstream: upstream.url, websocket: true }] },
      { telemetry: openTelemetry({ tracer }) },
    )
    onTestFinished(() => gateway.close({ timeout: 0 }))
    const server = await gateway.listen(0, '127.0.0.1')

    const opening = request({
      port: (server.address() as AddressInfo).port,
      path: '/chat',
      headers: { connection: 'upgrade', upgrade: 'websocket', 'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==' },
    })
    const [, socket] = (await once(opening.end(), 'upgrade')) as [unknown, Socket]

    expect(attempts().map(({ attributes }) => attributes['http.response.status_code'])).toEqual([101])
    socket.destroy()
    await onlySpan()
  })

  test('is the parent of a gRPC call, too', async () => {
    const seen = signalled<unknown>()
    const { url, address } = await startTranscoded({
      GetOrder: (call: { metadata: { get(name: string): unknown[] } }, reply: (e: null, v: object) => void) => {
        seen.fire(call.metadata.get('traceparent')[0])
        reply(null, {})
      },
    })

    await fetch(`${url}/v1/orders/o1`, { headers: { traceparent } })
    const span = await onlySpan()

    const [call] = attempts()
    expect(await seen.promise).toBe(`00-${traceId}-${idOf(call)}-01`)
    expect(call?.parentSpanContext?.spanId).toBe(idOf(span))
    expect(call?.name).toMatch(/Orders\/GetOrder$/)
    expect(call?.attributes).toMatchObject({
      'rpc.system': 'grpc',
      'rpc.method': 'GetOrder',
      'rpc.grpc.status_code': 0,
      'server.address': '127.0.0.1',
      'server.port': Number(address.split(':')[1]),
    })
  })

  test('of a gRPC call that is repeated has one below it for each call', async () => {
    let calls = 0
    const { url } = await startTranscoded(
      {
        GetOrder: (_call: unknown, reply: (e: object | null, v?: object) => void) =>
          calls++ === 0 ? reply({ code: 14, details: 'not yet' }) : reply(null, {}),
      },
      { retry: { backoff: () => 0 } },
    )

    await fetch(`${url}/v1/orders/o1`)
    await onlySpan()

    expect(attempts().map(({ attributes }) => attributes['rpc.grpc.status_code'])).toEqual([14, 0])
  })

  test('of a gRPC call that was refused says by which status', async () => {
    const { url } = await startTranscoded({
      GetOrder: (_call: unknown, reply: (e: object) => void) => reply({ code: 5, details: 'no such order' }),
    })

    await fetch(`${url}/v1/orders/o1`)
    await onlySpan()

    expect(attempts()[0]?.attributes).toMatchObject({ 'rpc.grpc.status_code': 5, 'error.type': 'NOT_FOUND' })
    expect(attempts()[0]?.status.code).toBe(SpanStatusCode.ERROR)
  })
})

test('durations are by method, route and status, whatever is asked', async () => {
  const metricsOut = new InMemoryMetricExporter(AggregationTemporality.CUMULATIVE)
  const reader = new PeriodicExportingMetricReader({ exporter: metricsOut, exportIntervalMillis: 1e9 })
  const meter = new MeterProvider({ readers: [reader] }).getMeter('tests')
  const upstream = await startUpstream(echo)
  const url = await start(upstream.url, { telemetry: openTelemetry({ tracer, meter }) })

  for (let index = 0; index < 5; index += 1) await fetch(`${url}/users/${index}?q=${index}`)
  await fetch(`${url}/nowhere/${Math.random()}`, { method: 'PROPFIND' })
  await expect.poll(() => finished(SpanKind.SERVER).length).toBe(6)
  await reader.forceFlush()
  const points = metricsOut.getMetrics()[0]!.scopeMetrics[0]!.metrics[0]!.dataPoints

  expect(points.map(({ attributes, value }) => [attributes, (value as { count: number }).count])).toEqual([
    [
      {
        'http.request.method': 'GET',
        'url.scheme': 'http',
        'http.route': '/users/:id',
        'http.response.status_code': 200,
      },
      5,
    ],
    [{ 'http.request.method': '_OTHER', 'url.scheme': 'http', 'http.response.status_code': 404 }, 1],
  ])
})

test.each([[{ tracer: {} }], [{ meter: {} }], [{ propagator: { inject() {} } }]])('refuses %j', (options) => {
  expect(() => tracing(options as never)).toThrow(TypeError)
})
