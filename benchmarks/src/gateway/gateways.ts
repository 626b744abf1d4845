import { createPublicKey, generateKeyPairSync, type KeyObject } from 'node:crypto'
import { createWriteStream, type WriteStream } from 'node:fs'
import { createServer, Agent as HttpAgent, type RequestListener } from 'node:http'
import { connect, createServer as createNetServer, type Server as NetServer } from 'node:net'
import type { Gateway } from '@msx/gateway-kit'
import type { Dispatcher } from 'undici'
import { AUDIENCE, ISSUER } from './work.js'

/** A gateway that listens, and the token that its requests need. */
export interface Running {
  readonly port: number
  readonly token?: string | undefined
}

export const OURS = '@msx/gateway-kit, proxy()'
export const OUR_CHAIN = '@msx/gateway-kit, full chain'
export const BARE = 'http + undici dispatch'
export const FASTIFY = '@fastify/http-proxy'
/** It is sent what the full chain is sent: the token goes through it, unread. */
export const FASTIFY_TOO = '@fastify/http-proxy, the same requests'
export const EXPRESS = 'express + http-proxy-middleware, full chain'
export const RELAY = 'bytes passed on'

/** Every way of forwarding that runs in Node. Each runs alone in a process of its own, with nothing loaded but what it needs. */
export const GATEWAYS: Readonly<Record<string, (upstream: string) => Promise<Running>>> = {
  [OURS]: async (upstream) => {
    const { proxy } = await import('@msx/gateway-kit')
    const forward = proxy(upstream)
    return { port: await listening(createServer((req, res) => forward(req, res, () => res.writeHead(404).end()))) }
  },
  [OUR_CHAIN]: (upstream) => ourGateway(upstream, CHAIN),
  [BARE]: async (upstream) => ({ port: await listening(createServer(await bareLoop(upstream))) }),
  [FASTIFY]: async (upstream) => ({ port: await fastifyProxy(upstream) }),
  [FASTIFY_TOO]: async (upstream) => ({ port: await fastifyProxy(upstream), token: (await signedToken()).token }),
  [EXPRESS]: expressChain,
  [RELAY]: async (upstream) => ({ port: await listening(relay(upstream)) }),
}

async function fastifyProxy(upstream: string): Promise<number> {
  const { default: fastify } = await import('fastify')
  const { default: httpProxy } = await import('@fastify/http-proxy')
  const app = fastify({ logger: false })
  await app.register(httpProxy, { upstream })
  await app.listen({ port: 0, host: '127.0.0.1' })

  return (app.server.address() as { port: number }).port
}

/** What the full chain has beyond a route. */
export const CHAIN = ['breaker', 'limit', 'metrics', 'log', 'token'] as const

export type Part = (typeof CHAIN)[number]

/** The gateway with one part more each time, until it is the full chain. */
export const PARTS: Readonly<Record<string, (upstream: string) => Promise<Running>>> = Object.fromEntries([
  ['createGateway, a route', (upstream: string) => ourGateway(upstream, [])],
  ...CHAIN.map((part, index) => [`and ${part}`, (upstream: string) => ourGateway(upstream, CHAIN.slice(0, index + 1))]),
])

async function ourGateway(upstream: string, parts: readonly Part[]): Promise<Running> {
  const { gateway, token } = await assembled(upstream, parts)
  const server = await gateway.listen(0, '127.0.0.1')
  return { port: (server.address() as { port: number }).port, token }
}

/** A gateway with one route and these parts, and the token that it wants. */
export async function assembled(
  upstream: string,
  parts: readonly Part[],
  dispatcher?: Dispatcher,
): Promise<{ readonly gateway: Gateway; readonly token: string | undefined }> {
  const { createGateway } = await import('@msx/gateway-kit')
  const { jwtVerifier } = await import('@msx/gateway-kit/jwt')
  const prometheus = await import('prom-client')
  const { publicKey, token } = await signedToken()
  const has = (part: Part): boolean => parts.includes(part)
  const gateway = createGateway(
    {
      routes: [
        {
          path: '/api/products/:id',
          upstream,
          auth: has('token') && 'token',
          rateLimit: has('limit') && { limit: 1_000_000, window: 1_000 },
          breaker: has('breaker') && {},
        },
      ],
    },
    {
      dispatcher,
      verifiers: {
        token: jwtVerifier({
          issuer: ISSUER,
          audience: AUDIENCE,
          algorithms: ['RS256'],
          jwks: () => Promise.resolve(publicKey),
        }),
      },
      metrics: has('metrics') ? { client: prometheus, registry: new prometheus.Registry() } : undefined,
      log: has('log') ? logStream() : undefined,
    },
  )
  return { gateway, token: has('token') ? token : undefined }
}

/**
 * The same with what Express has: there is no breaker for a proxy that streams, so it goes without. Connections to the
 * upstream are kept open, which http-proxy-middleware does only when it is given an agent.
 */
async function expressChain(upstream: string): Promise<Running> {
  const { default: express } = await import('express')
  const { expressjwt } = await import('express-jwt')
  const { rateLimit } = await import('express-rate-limit')
  const { createProxyMiddleware } = await import('http-proxy-middleware')
  const { default: morgan } = await import('morgan')
  const prometheus = await import('prom-client')
  const { publicKey, token } = await signedToken()
  const registry = new prometheus.Registry()
  const labels = { labelNames: ['method', 'route', 'status'], registers: [registry] }
  const total = new prometheus.Counter({ name: 'http_requests_total', help: 'Requests.', ...labels })
  const duration = new prometheus.Histogram({ name: 'http_request_duration_seconds', help: 'Seconds.', ...labels })

  const app = express()
  app.disable('x-powered-by')
  app.use(morgan('combined', { stream: logStream() }))
  app.use((req, res, next) => {
    const stop = duration.startTimer()
    res.on('finish', () => {
      const row = { method: req.method, route: '/api/products/:id', status: String(res.statusCode) }
      total.inc(row)
      stop(row)
    })
    next()
  })
  app.use(rateLimit({ windowMs: 1_000, limit: 1_000_000, standardHeaders: 'draft-8', legacyHeaders: false }))
  app.get(
    '/api/products/:id',
    expressjwt({
      secret: publicKey.export({ type: 'spki', format: 'pem' }),
      algorithms: ['RS256'],
      issuer: ISSUER,
      audience: AUDIENCE,
    }),
    createProxyMiddleware({
      target: upstream,
      changeOrigin: true,
      xfwd: true,
      agent: new HttpAgent({ keepAlive: true }),
    }),
  )
  return { port: await listening(createServer(app)), token }
}

/** The least that forwards at all: no checks, no header rules, no errors beyond cutting the connection. */
async function bareLoop(origin: string): Promise<RequestListener> {
  const { Agent } = await import('undici')
  const agent = new Agent()

  return (req, res) => {
    const handler: Dispatcher.DispatchHandler = {
      onRequestStart: () => {},
      onResponseStart: (controller, status) => {
        res.writeHead(status, (controller.rawHeaders as Buffer[]).map(String))
      },
      onResponseData: (controller, chunk) => {
        if (!res.write(chunk)) {
          controller.pause()
          res.once('drain', () => controller.resume())
        }
      },
      onResponseEnd: () => void res.end(),
      onResponseError: () => void res.destroy(),
    }
    agent.dispatch(
      { origin, path: req.url!, method: req.method as Dispatcher.HttpMethod, headers: req.headers },
      handler,
    )
  }
}

/** Knows nothing of HTTP: what a program between two sockets costs that does nothing. */
function relay(upstream: string): NetServer {
  const port = Number(new URL(upstream).port)

  return createNetServer({ noDelay: true }, (client) => {
    const there = connect({ port, host: '127.0.0.1', noDelay: true })
    client
      .on('data', (chunk) => there.write(chunk))
      .on('close', () => there.destroy())
      .on('error', () => {})
    there
      .on('data', (chunk) => client.write(chunk))
      .on('close', () => client.destroy())
      .on('error', () => {})
  })
}

async function signedToken(): Promise<{ publicKey: KeyObject; token: string }> {
  const { SignJWT } = await import('jose')
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2_048 })
  const token = await new SignJWT({ sub: 'ada', roles: ['customer'] })
    .setProtectedHeader({ alg: 'RS256', kid: 'one' })
    .setIssuer(ISSUER)
    .setAudience(AUDIENCE)
    .setExpirationTime('1h')
    .sign(privateKey)

  return { publicKey: createPublicKey(privateKey), token }
}

const logStream = (): WriteStream => createWriteStream('/dev/null', { flags: 'a' })

function listening(server: NetServer): Promise<number> {
  return new Promise((resolve) => {
    server.listen(0, '127.0.0.1', () => resolve((server.address() as { port: number }).port))
  })
}
