import { createServer } from 'node:http'
import { createDiscovery, fixed } from '@msx/discovery'
import * as client from 'prom-client'
import { expectTypeOf, test } from 'vitest'
import {
  type Claims,
  compose,
  createGateway,
  type Gateway,
  type GatewayConfig,
  gcra,
  type Middleware,
  type RateLimiter,
  type RouteConfig,
} from './index.js'
import { jwtVerifier, remoteJwks } from './jwt.js'

const route: RouteConfig = { path: '/a', upstream: 'http://127.0.0.1:1' }

test('a config says only what exists', () => {
  expectTypeOf({ routes: [route] }).toExtend<GatewayConfig>()

  // @ts-expect-error a route without an upstream
  ;({ path: '/a' }) satisfies RouteConfig
  // @ts-expect-error a protocol that is not there
  ;({ ...route, webtransport: true }) satisfies RouteConfig
  // @ts-expect-error authentication is asked from a verifier by its name
  ;({ ...route, auth: true }) satisfies RouteConfig
  // @ts-expect-error a limit without a window
  ;({ ...route, rateLimit: { limit: 1 } }) satisfies RouteConfig
})

test('deps take what the sister packages, prom-client and jose make', () => {
  const discovery = createDiscovery({ source: fixed({ users: ['http://127.0.0.1:1'] }) })
  const verify = jwtVerifier({
    issuer: 'i',
    audience: 'a',
    algorithms: ['ES256'],
    jwks: remoteJwks('http://users/keys', { fetch: globalThis.fetch }),
  })
  const make = () =>
    createGateway(
      { routes: [route] },
      {
        discovery,
        verifiers: { verify },
        limiters: { all: gcra({ limit: 1, window: 1 }) },
        metrics: { client, registry: new client.Registry() },
        log: ({ status, error }) => {
          expectTypeOf(status).toEqualTypeOf<number>()
          expectTypeOf(error?.code).toEqualTypeOf<string | undefined>()
        },
      },
    )

  expectTypeOf(make).returns.toEqualTypeOf<Gateway>()
  expectTypeOf(verify).returns.toEqualTypeOf<Claims | Promise<Claims>>()
})

test('algorithms must be said', () => {
  // @ts-expect-error there is no default
  const make = () => jwtVerifier({ issuer: 'i', audience: 'a', jwks: 'http://a' })

  expectTypeOf(make).toBeFunction()
})

test('a middleware fits a plain server, and a limiter may answer later', () => {
  const middleware: Middleware = compose()

  expectTypeOf(createServer).toBeCallableWith((req, res) => middleware(req, res, () => {}))
  expectTypeOf<RateLimiter>().toExtend<{ take(key: string): unknown }>()
})
