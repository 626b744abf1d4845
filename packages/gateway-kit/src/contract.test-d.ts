import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import * as client from 'prom-client'
import { expectTypeOf, test } from 'vitest'
import * as fastify from './fastify.js'
import * as fetching from './fetch.js'
import { transcode } from './grpc.js'
import {
  authenticate,
  authOf,
  type Clock,
  clientAddress,
  compose,
  cors,
  createGateway,
  type Decision,
  type Gateway,
  type GatewayConfig,
  type GatewayDeps,
  gcra,
  type Middleware,
  metrics,
  type ProxyError,
  problem,
  proxy,
  type RateLimiter,
  type RouteConfig,
  rateLimit,
  requestId,
  requestLog,
  shed,
  slidingWindow,
  type Verify,
} from './index.js'
import { type JwksSource, jwtVerifier, remoteJwks } from './jwt.js'
import { toKong } from './kong.js'
import { openTelemetry, tracing } from './opentelemetry.js'
import { redisLimiter } from './redis.js'

const req = {} as IncomingMessage
const res = {} as ServerResponse

test('a middleware is that of Express, Connect and plain http', () => {
  expectTypeOf<Middleware>().toEqualTypeOf<
    (req: IncomingMessage, res: ServerResponse, next: (error?: unknown) => void) => void
  >()
})

test('a gateway is made from a config and what it names', () => {
  const registry = new client.Registry()
  const clock: Clock = { now: () => 0, after: () => () => {} }
  const make = () =>
    createGateway(
      { routes: [] },
      {
        verifiers: { a: async (token: string, from: IncomingMessage) => ({ sub: token + from.url }) },
        limiters: { a: gcra({ limit: 1, window: 1 }) },
        transcoders: { a: (_req, _res, next) => next() },
        metrics: { client, registry },
        telemetry: openTelemetry(),
        log: process.stdout,
        clock,
      },
    )

  expectTypeOf(make).returns.toEqualTypeOf<Gateway>()
  expectTypeOf<keyof GatewayDeps>().toEqualTypeOf<
    'discovery' | 'dispatcher' | 'verifiers' | 'limiters' | 'transcoders' | 'metrics' | 'telemetry' | 'log' | 'clock'
  >()
  expectTypeOf<Gateway['handler']>().toEqualTypeOf<Middleware>()
  expectTypeOf<Gateway['upgrade']>().toEqualTypeOf<(req: IncomingMessage, socket: Duplex, head: Buffer) => void>()
  expectTypeOf<Gateway['reload']>().toBeCallableWith({ routes: [] })
  expectTypeOf<Gateway['listen']>().toEqualTypeOf<(port?: number, host?: string) => Promise<Server>>()
  expectTypeOf<Gateway['close']>().toBeCallableWith({ timeout: 1 })
  expectTypeOf<Gateway['close']>().returns.toEqualTypeOf<Promise<void>>()
  expectTypeOf<Gateway>().toExtend<AsyncDisposable>()
})

test('a config has these parts, and a route these', () => {
  const config = {
    routes: [
      {
        id: 'users',
        path: '/users/:id/**',
        host: '*.shop.example',
        methods: ['GET'],
        upstream: 'users',
        rewrite: '/:id/**',
        auth: { verifier: 'users', scopes: ['a'] },
        rateLimit: { limit: 1, window: 1, burst: 1 },
        timeout: { connect: 1, headers: 1, idle: false, total: 1 },
        retry: { attempts: 2 },
        breaker: { trip: { failures: 1 } },
        maxBody: 1,
        headers: { request: { a: 'b' }, response: { b: null } },
        websocket: true,
        grpc: 'payments',
        priority: 1,
      },
      {
        path: '/',
        upstream: 'http://a',
        rewrite: (path: string) => path,
        auth: false,
        rateLimit: 'all',
        retry: false,
        breaker: false,
      },
    ],
    listen: { port: 1, host: 'a', tls: { cert: '', key: '', sni: { b: { cert: '', key: '' } } }, http2: true },
    upstreams: { users: { targets: [{ url: 'http://a', weight: 1 }] } },
    trust: ['10.0.0.0/8'],
    defaults: { auth: 'users' },
    limits: { inFlight: 1 },
  } as const

  expectTypeOf(config).toExtend<GatewayConfig>()
  expectTypeOf<(typeof config)['routes'][number]>().toExtend<RouteConfig>()
})

test('the parts are middleware of their own', () => {
  const verify: Verify = () => ({ sub: 'a' })
  const limiter = slidingWindow({ limit: 1, window: 1 })
  const parts = [
    proxy('http://a'),
    proxy('http://a', { timeout: { total: 1 }, retry: {}, maxBody: 1, preserveHost: true, trust: { hops: 1 } }),
    authenticate({ verify }),
    rateLimit({ limiter, key: (from) => from.url ?? '', cost: 2 }),
    requestLog(),
    requestLog({ log: (entry) => entry.status }),
    metrics({ client, registry: new client.Registry() }),
    shed(),
    requestId(),
    cors({ origins: '*' }),
    tracing(),
    compose(),
  ]

  expectTypeOf(parts).toEqualTypeOf<Middleware[]>()
  expectTypeOf(authOf(req)?.sub).toEqualTypeOf<string | undefined>()
  expectTypeOf(clientAddress(req, false)).toBeString()
  expectTypeOf(problem).toBeCallableWith(res, 404, { detail: 'a' })
  expectTypeOf(problem).returns.toBeVoid()
})

test('a limiter decides at once or later', () => {
  expectTypeOf<RateLimiter['take']>().toEqualTypeOf<(key: string, cost?: number) => Decision | Promise<Decision>>()
  expectTypeOf<
    Pick<Decision, 'allowed' | 'limit' | 'remaining' | 'resetAfter' | 'retryAfter'>
  >().branded.toEqualTypeOf<{
    readonly allowed: boolean
    readonly limit: number
    readonly remaining: number
    readonly resetAfter: number
    readonly retryAfter: number
  }>()
  expectTypeOf(gcra({ limit: 1, window: 1, burst: 2 })).toExtend<RateLimiter>()

  const call = { call: async (_command: string, ..._args: (string | number)[]): Promise<unknown> => [] }
  const send = { sendCommand: async (_args: string[]): Promise<unknown> => [] }
  const make = () => [
    redisLimiter({ client: call, limit: 1, window: 1, onError: 'allow' }),
    redisLimiter({ client: send, algorithm: 'sliding-window', limit: 1, window: 1, deadline: 1, onError: 'deny' }),
    redisLimiter({ client: call, algorithm: 'gcra', limit: 1, window: 1, burst: 1, onError: 'local' }),
  ]
  expectTypeOf<ReturnType<typeof make>[number]>().toExtend<RateLimiter>()
})

test('an error says what, when, and with which status', () => {
  expectTypeOf<ProxyError>().toExtend<Error>()
  expectTypeOf<ProxyError['code']>().toExtend<`MSX_PROXY_${string}`>()
  expectTypeOf<ProxyError['kind']>().toExtend<string>()
  expectTypeOf<ProxyError['phase']>().toEqualTypeOf<'request' | 'response'>()
  expectTypeOf<ProxyError['status']>().toBeNumber()
})

test('the entry points have what their pages say', () => {
  const jwks: JwksSource = remoteJwks('http://a')
  const make = () => [
    jwtVerifier({ issuer: 'a', audience: 'b', algorithms: ['ES256'], jwks, cache: { max: 1 } }),
    jwtVerifier({ issuer: 'a', audience: ['b'], algorithms: ['ES256'], jwks: 'http://a', cache: false }),
  ]

  expectTypeOf<ReturnType<typeof make>>().toExtend<Verify[]>()
  expectTypeOf(transcode).toBeCallableWith({ proto: 'a.proto', service: 'A', address: 'a:1' })
  expectTypeOf<ReturnType<typeof transcode>>().toExtend<Middleware>()
  expectTypeOf(toKong).toBeCallableWith({ routes: [] })
  expectTypeOf(fetching.toFetch(compose())).toBeCallableWith(new Request('http://a'))
  expectTypeOf(fastify.toFastify).toBeCallableWith(compose())
})
