import { once } from 'node:events'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Discovery } from '@msx/discovery'
import { serviceFetch } from '@msx/discovery/undici'
import {
  type Clock,
  compose,
  createGateway,
  type GatewayLimits,
  problem,
  rateLimit,
  requestId,
  type TrustConfig,
} from '@msx/gateway-kit'
import { transcode } from '@msx/gateway-kit/grpc'
import { jwtVerifier, remoteJwks } from '@msx/gateway-kit/jwt'
import { tracing } from '@msx/gateway-kit/opentelemetry'
import { paymentProto } from '@shop/contracts'
import {
  disturbRequests,
  type Instruments,
  type Log,
  propagator,
  refuseMalformed,
  type Service,
  urlHost,
} from '@shop/platform'
import * as client from 'prom-client'
import { answerHealth, ownHealth } from './health.js'
import { type Limiters, localLimiters } from './limiters.js'
import type { OperationsLink } from './operations/link.js'
import { createOperations } from './operations/operations.js'
import { routeTable, upstreams } from './routes.js'

export interface ApiGatewayDeps {
  readonly discovery: Discovery
  readonly log: Log
  readonly instruments: Instruments
  /** Lets a browser into the operations, once. Default: there is no such link. */
  readonly operationsLink?: OperationsLink | undefined
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
  /**
   * Beyond what load it turns requests away at once, instead of answering all of them late: health and operations never,
   * orders at half of it. Default: never.
   */
  readonly limits?: Pick<GatewayLimits, 'inFlight' | 'utilisation'> | undefined
  /** The proxies in front whose word on a client's address is taken. Default: nobody's. */
  readonly trust?: TrustConfig | undefined
  /** By which wrong guesses at the operations' token are forgotten. Default: the system's. */
  readonly clock?: Clock | undefined
}

/** The shop's one public door: checks who comes and how often, and forwards to the services. */
export function createApiGateway(deps: ApiGatewayDeps): Service {
  const registry = new client.Registry()
  deps.instruments.edges.measure(registry)
  const limiters = deps.limiters ?? localLimiters
  const requests = limiters({ name: 'requests', limit: deps.rateLimit, window: 1_000 })
  const signIns = limiters({ name: 'sign-in', limit: deps.signInLimit, window: 60_000 })

  const { instruments, host = '127.0.0.1', trust = false } = deps
  const own = ownHealth(deps.discovery, registry)
  const operations = createOperations({
    name: 'api-gateway',
    own,
    services: behind,
    discovery: deps.discovery,
    instruments,
    link: deps.operationsLink,
    trust,
    clock: deps.clock,
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

  const table = { ...routeTable(instruments.edges), trust, limits: deps.limits }
  const gateway = createGateway(table, {
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
    // The log writes the time itself.
    log: ({ time: _, ...entry }) => deps.log[entry.status >= 500 ? 'warn' : 'info'](entry, 'request'),
  })
  const handle = compose(
    requestId(),
    answerHealth(own),
    operations.middleware,
    // Around all that may refuse or repeat a request: what became of it is seen on its span and those of its attempts.
    tracing({ tracer: instruments.spans.tracer, propagator }),
    disturbRequests(instruments.faults),
    // The gateway's own default, where it is the connection that tells; it folds the addresses of one IPv6 network.
    rateLimit({ limiter: requests, trust }),
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
      refuseMalformed(server)
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
