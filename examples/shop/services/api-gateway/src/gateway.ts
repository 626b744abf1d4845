import { once } from 'node:events'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Discovery } from '@msx/discovery'
import { serviceFetch } from '@msx/discovery/undici'
import { compose, createGateway, type Middleware, problem, rateLimit, requestId } from '@msx/gateway-kit'
import { jwtVerifier, remoteJwks } from '@msx/gateway-kit/jwt'
import type { Log, Service } from '@shop/platform'
import * as client from 'prom-client'
import { type Limiters, localLimiters } from './limiters.js'
import { routeTable, upstreams } from './routes.js'

export interface ApiGatewayDeps {
  readonly discovery: Discovery
  readonly log: Log
  /** Default: any free port. */
  readonly port?: number | undefined
  /** Requests per second and address. */
  readonly rateLimit: number
  /** Sign-ins per minute and address. */
  readonly signInLimit: number
  /** Who counts. Default: this process, for itself. */
  readonly limiters?: Limiters | undefined
}

/** The shop's one public door: checks who comes and how often, and forwards to the services. */
export function createApiGateway(deps: ApiGatewayDeps): Service {
  const registry = new client.Registry()
  client.collectDefaultMetrics({ register: registry })
  const limiters = deps.limiters ?? localLimiters
  const requests = limiters({ name: 'requests', limit: deps.rateLimit, window: 1_000 })
  const signIns = limiters({ name: 'sign-in', limit: deps.signInLimit, window: 60_000 })

  const gateway = createGateway(routeTable(), {
    discovery: deps.discovery,
    verifiers: {
      customer: jwtVerifier({
        issuer: 'shop',
        audience: 'shop',
        algorithms: ['ES256'],
        // Both clocks are this machine's: nothing to tolerate.
        clockTolerance: 0,
        jwks: remoteJwks('http://user-service/.well-known/jwks.json', {
          fetch: serviceFetch(deps.discovery) as typeof fetch,
        }),
      }),
    },
    limiters: { 'sign-in': signIns },
    metrics: { client, registry },
    log: (entry) => deps.log[entry.status >= 500 ? 'warn' : 'info'](entry, 'request'),
  })
  const handle = compose(
    requestId(),
    health(deps.discovery, registry),
    rateLimit({ limiter: requests }),
    gateway.handler,
  )

  let server: Server | undefined

  return {
    name: 'api-gateway',

    async start() {
      server = createServer((req, res) => {
        handle(req, res, (error) => {
          if (error !== undefined) deps.log.error({ err: error }, 'request failed')
          if (!res.headersSent) problem(res, error === undefined ? 404 : 500)
        })
      })
      server.listen(deps.port ?? 0, '127.0.0.1')
      await once(server, 'listening')
      return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` }
    },

    async stop() {
      const closed = server?.listening ? once(server, 'close') : undefined
      server?.close()
      server?.closeIdleConnections()
      await gateway.close({ timeout: 3_000 })
      server?.closeAllConnections()
      await closed
    },
  }
}

/** What a person or a machine asks to see whether the shop is well. Not limited and not logged. */
function health(discovery: Discovery, registry: client.Registry): Middleware {
  return function answerHealth(req, res, next) {
    if (req.method !== 'GET') return next()

    switch (req.url) {
      case '/health/live':
        return json(res, 200, { status: 'ok', service: 'api-gateway' })
      case '/health/ready':
        return ready(discovery, res)
      case '/metrics':
        return void registry.metrics().then(
          (text) => res.writeHead(200, { 'content-type': registry.contentType }).end(text),
          () => problem(res, 500),
        )
      default:
        return next()
    }
  }
}

/** Ready is who knows where to send what comes. That the services behind are well is for their own health to say. */
function ready(discovery: Discovery, res: ServerResponse): void {
  const instances = Object.fromEntries(
    upstreams.map((name) => [name, discovery.service(name).snapshot.endpoints.length]),
  )
  const ok = Object.values(instances).every((count) => count > 0)
  json(res, ok ? 200 : 503, { status: ok ? 'ok' : 'unavailable', service: 'api-gateway', instances })
}

function json(res: ServerResponse<IncomingMessage>, status: number, body: object): void {
  res.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
}
