import { once } from 'node:events'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Discovery } from '@msx/discovery'
import { serviceFetch } from '@msx/discovery/undici'
import { compose, createGateway, type Middleware, problem, rateLimit, requestId } from '@msx/gateway-kit'
import { transcode } from '@msx/gateway-kit/grpc'
import { jwtVerifier, remoteJwks } from '@msx/gateway-kit/jwt'
import { paymentProto } from '@shop/contracts'
import { type Instruments, type Log, type Service, urlHost, watchRequests } from '@shop/platform'
import * as client from 'prom-client'
import { type Limiters, localLimiters } from './limiters.js'
import { createOperations } from './operations/operations.js'
import { routeTable, upstreams } from './routes.js'

export interface ApiGatewayDeps {
  readonly discovery: Discovery
  readonly log: Log
  readonly instruments: Instruments
  /** Of the link that lets a browser into the operations, once. Default: there is no such link. */
  readonly operationsCode?: string | undefined
  /** Default `127.0.0.1`. */
  readonly host?: string | undefined
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
  deps.instruments.edges.measure(registry)
  const limiters = deps.limiters ?? localLimiters
  const requests = limiters({ name: 'requests', limit: deps.rateLimit, window: 1_000 })
  const signIns = limiters({ name: 'sign-in', limit: deps.signInLimit, window: 60_000 })

  const { instruments, host = '127.0.0.1' } = deps
  const operations = createOperations({
    name: 'api-gateway',
    services: behind,
    discovery: deps.discovery,
    instruments,
    code: deps.operationsCode,
    log: deps.log,
  })

  // The customer goes along as x-user-id, which is all that payment-service has to know of the gateway.
  const payments = transcode({
    proto: paymentProto,
    service: 'PaymentService',
    discovery: deps.discovery,
    rules: { ProcessPayment: 'POST /api/payments' },
    statuses: { FAILED_PRECONDITION: 409, INVALID_ARGUMENT: 422 },
  })

  const gateway = createGateway(routeTable(instruments.edges), {
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
    transcoders: { payments },
    metrics: { client, registry },
    log: (entry) => deps.log[entry.status >= 500 ? 'warn' : 'info'](entry, 'request'),
  })
  const handle = compose(
    requestId(),
    health(deps.discovery, registry),
    operations.middleware,
    watchRequests(instruments, nameOf),
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
      server.listen(deps.port ?? 0, host)
      await once(server, 'listening')
      return { url: `http://${urlHost(host)}:${(server.address() as AddressInfo).port}` }
    },

    async stop({ abruptly = false } = {}) {
      const closed = server?.listening ? once(server, 'close') : undefined
      operations.close()
      server?.close()
      if (abruptly) server?.closeAllConnections()
      else server?.closeIdleConnections()
      await gateway.close({ timeout: abruptly ? 0 : 3_000 })
      await payments.close()
      server?.closeAllConnections()
      await closed
    },
  }
}

/** The services that have something to show to an operator. */
const behind = [...upstreams, 'payment-service', 'notification-service', 'analytics-service']

/** Ids are no part of a name, or each order would have a name of its own. */
function nameOf({ method = 'GET', url = '/' }: IncomingMessage): string {
  const path = url.split('?', 1)[0] ?? '/'
  return `${method} ${path.replace(/^(\/api\/[a-z]+)\/[^/]+/, '$1/:id')}`
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
