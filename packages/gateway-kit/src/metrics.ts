import type { IncomingMessage, ServerResponse } from 'node:http'
import { contextOf, durationOf, type RequestContext, whenOver } from './context.js'
import { isRecord } from './internal/checks.js'
import type { Middleware } from './middleware.js'
import { statusOf } from './request-log.js'
import { createTallies } from './tallies.js'

/** What is used of prom-client 15, or of its successor @prometheus-io/client. */
export interface PrometheusClient<R> {
  readonly Counter: new (config: {
    name: string
    help: string
    labelNames: string[]
    registers: R[]
  }) => { inc(labels: Record<string, string | number>, value?: number): void }
  readonly Histogram: new (config: {
    name: string
    help: string
    labelNames: string[]
    registers: R[]
    buckets?: number[]
  }) => { observe(labels: Record<string, string | number>, value: number): void }
}

export interface MetricsOptions<R> {
  readonly client: PrometheusClient<R>
  readonly registry: R
  /** The pattern a request is counted under. Default: the gateway's route, or Express's. Never the path: it has no bounds. */
  readonly route?: ((req: IncomingMessage) => string) | undefined
  /** Upper bounds in seconds. Default 0.005 to 10. */
  readonly buckets?: readonly number[] | undefined
}

const methods = new Set(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'])
const defaultBuckets = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]

/**
 * Counts requests in `http_requests_total` and times them in `http_request_duration_seconds`, both by `method`,
 * `route` (the pattern) and `status`.
 */
export function metrics<R>(options: MetricsOptions<R>): Middleware {
  const observe = createObserver(options)

  return function measureRequest(req, res, next) {
    whenOver(req, res, observe)
    next()
  }
}

export function createObserver<R>({
  client,
  registry,
  route = routeOf,
  buckets = defaultBuckets,
}: MetricsOptions<R>): (req: IncomingMessage, res: ServerResponse, context: RequestContext) => void {
  if (!isRecord(client) && typeof client !== 'function') {
    throw new TypeError('metrics: client must be prom-client or @prometheus-io/client')
  }
  if (registry === undefined) throw new TypeError('metrics: registry must be a registry of that client')

  const count = createTallies(client, registry, buckets)

  return (req, res, context) => {
    const method = methods.has(req.method!) ? req.method! : 'OTHER'
    count(method, route(req), statusOf(res), durationOf(context) / 1_000)
  }
}

function routeOf(req: IncomingMessage): string {
  const { route } = req as { route?: { path?: unknown } }

  return contextOf(req).route ?? (typeof route?.path === 'string' ? route.path : 'unmatched')
}
