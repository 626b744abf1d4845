/// <reference lib="esnext.disposable" preserve="true" />
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { type CircuitBreaker, circuitBreaker } from '@msx/circuit-breaker'
import type { Agent, Dispatcher } from 'undici'
import { clientAddress, type TrustConfig, trustsPeer } from './address.js'
import { authenticate } from './authenticate.js'
import type { Verify } from './claims.js'
import { answerClientError } from './client-error.js'
import { after, type Clock, systemClock } from './clock.js'
import { type GatewayConfig, type RateLimitPolicy, type RouteConfig, routeId, withDefaults } from './config.js'
import { checkConfig } from './config-check.js'
import { contextOf } from './context.js'
import { cors } from './cors.js'
import { ProxyError } from './errors.js'
import { Exchange } from './exchange.js'
import { lowerCaseRules } from './headers.js'
import { checkOption, duration } from './internal/checks.js'
import { gcra } from './limit/gcra.js'
import type { RateLimiter } from './limit/limiter.js'
import { createObserver, type PrometheusClient } from './metrics.js'
import { compose, type Middleware } from './middleware.js'
import { capture, parsePattern } from './pattern.js'
import { problem } from './problem.js'
import { createAgent, createForwarding, createVia, withQuery } from './proxy.js'
import { isPolicyName, rateLimit } from './rate-limit.js'
import { refuse } from './refusal.js'
import { assignRequestId } from './request-id.js'
import { type AccessLogEntry, logWhenOver } from './request-log.js'
import { compileRewrite } from './rewrite.js'
import { createRouter, type Router } from './router.js'
import { inspect, isConnectionRefused, type Target } from './target.js'
import type { Telemetry } from './telemetry.js'
import { resolveTimeouts } from './timeouts.js'
import type { Finder } from './upstream.js'

/** What a gateway works with; the config refers to it by name. */
export interface GatewayDeps<R = never> {
  /** Finds the services that routes name as their upstream. */
  readonly discovery?: Finder | undefined
  /** An undici 7 dispatcher. Default: an Agent of the gateway's own. */
  readonly dispatcher?: Dispatcher | undefined
  readonly verifiers?: Readonly<Record<string, Verify>> | undefined
  readonly limiters?: Readonly<Record<string, RateLimiter>> | undefined
  /** What `transcode()` of `@msx/gateway-kit/grpc` makes, or any middleware that answers for a route. */
  readonly transcoders?: Readonly<Record<string, Middleware>> | undefined
  /** Counts and times every request; see `metrics`. */
  readonly metrics?: { readonly client: PrometheusClient<R>; readonly registry: R } | undefined
  /** Traces and times every request: `openTelemetry()` of `@msx/gateway-kit/opentelemetry`. */
  readonly telemetry?: Telemetry | undefined
  /** Gets one entry per request; see `requestLog`. */
  readonly log?: ((entry: AccessLogEntry) => void) | undefined
  readonly clock?: Clock | undefined
}

/** What routes name, and what may change with them. */
export type NamedDeps = Pick<GatewayDeps, 'discovery' | 'verifiers' | 'limiters' | 'transcoders'>

export interface Gateway extends AsyncDisposable {
  /** For a server of your own. Every request ends here: what no route takes is a 404. */
  readonly handler: Middleware
  /**
   * Puts another config in the place of this one, as a whole or not at all. Breakers and limiters of routes whose id
   * and settings stay are kept; requests under way finish by the old config. `changed` puts other verifiers, limiters,
   * transcoders or discovery in the place of the ones there were.
   */
  reload(config: GatewayConfig, changed?: NamedDeps): void
  /** Starts a server. Default port and host: the config's `listen`, else any free port on all interfaces. */
  listen(port?: number, host?: string): Promise<Server>
  /** Takes no more, lets requests under way finish for `timeout` ms (default 10_000), then cuts them. */
  close(options?: { readonly timeout?: number | undefined }): Promise<void>
}

interface Route {
  readonly id: string
  readonly path: string
  readonly host: string | undefined
  readonly methods: readonly string[] | undefined
  readonly guards: Middleware
  /** Whether the route answers preflight requests. */
  readonly cors: boolean
  forward(req: IncomingMessage, res: ServerResponse, target: Target): void
}

interface Table {
  readonly router: Router<Route>
  readonly trust: TrustConfig
}

/** What a route keeps over a reload, and the settings it was made from. */
interface Kept<T> {
  readonly thing: T
  readonly settings: object
}

/**
 * A gateway from one config: it checks each request, finds its route, limits, authenticates, and forwards.
 *
 * @throws {GatewayConfigError} with everything that is wrong in the config, each with its path.
 *
 * @example
 * const gateway = createGateway({ routes: [{ path: '/api/users/**', upstream: 'http://127.0.0.1:3001' }] })
 * await gateway.listen(8080)
 */
export function createGateway<R = never>(config: GatewayConfig, given: GatewayDeps<R> = {}): Gateway {
  let deps = given
  const clock = deps.clock ?? systemClock
  const owned: Agent | undefined = deps.dispatcher === undefined ? createAgent() : undefined
  const dispatcher: Dispatcher = deps.dispatcher ?? owned!
  const via = createVia()
  const observe = deps.metrics === undefined ? undefined : createObserver(deps.metrics)
  const servers = new Set<Server>()
  const underWay = new Set<ServerResponse>()
  let breakers = new Map<string, Kept<CircuitBreaker>>()
  let limiters = new Map<string, Kept<RateLimiter>>()
  let current = config
  let table = build(config)
  let closing: Promise<void> | undefined
  let onIdle: (() => void) | undefined

  function build(next: GatewayConfig): Table {
    checkConfig(next, {
      verifiers: deps.verifiers ?? {},
      limiters: deps.limiters ?? {},
      transcoders: deps.transcoders ?? {},
      discovery: deps.discovery !== undefined,
    })
    const nextBreakers = new Map<string, Kept<CircuitBreaker>>()
    const nextLimiters = new Map<string, Kept<RateLimiter>>()
    const trust = next.trust ?? false
    const routes = next.routes.map((route) =>
      createRoute(withDefaults(route, next.defaults), trust, nextBreakers, nextLimiters),
    )

    breakers = nextBreakers
    limiters = nextLimiters
    return { router: createRouter(routes), trust }
  }

  function createRoute(
    route: RouteConfig,
    trust: TrustConfig,
    nextBreakers: Map<string, Kept<CircuitBreaker>>,
    nextLimiters: Map<string, Kept<RateLimiter>>,
  ): Route {
    const id = routeId(route)
    const breaker = breakerOf(route, id, nextBreakers)
    const forwarding =
      route.grpc === undefined
        ? createForwarding(
            route.upstream,
            { ...route, breaker, trust, discovery: deps.discovery, clock },
            dispatcher,
            via,
          )
        : undefined
    const transcoder = route.grpc === undefined ? undefined : deps.transcoders![route.grpc]!
    const pattern = parsePattern(route.path)
    const rewrite = route.rewrite === undefined ? undefined : compileRewrite(route.rewrite, pattern)

    return {
      id,
      path: route.path,
      host: route.host,
      methods: route.methods,
      guards: compose(...guardsOf(route, id, nextLimiters)),
      cors: route.cors !== undefined && route.cors !== false,
      forward(req, res, target) {
        const path = rewrite === undefined ? target.path : rewrite(target.path, () => capture(pattern, target.path))
        const rewritten = withQuery(path, target)
        if (forwarding === undefined) transcodeWith(transcoder!, req, res, route, rewritten, breaker)
        else new Exchange(req, res, forwarding, rewritten).run()
      },
    }
  }

  function breakerOf(
    { breaker }: RouteConfig,
    id: string,
    next: Map<string, Kept<CircuitBreaker>>,
  ): CircuitBreaker | undefined {
    if (breaker === undefined || breaker === false) return undefined
    if ('tryAcquire' in breaker) return breaker

    const known = breakers.get(id)
    const kept = same(known?.settings, breaker)
      ? known!
      : { thing: circuitBreaker({ name: id, clock, ...breaker }), settings: breaker }
    next.set(id, kept)
    return kept.thing
  }

  function guardsOf(route: RouteConfig, id: string, next: Map<string, Kept<RateLimiter>>): Middleware[] {
    const guards: Middleware[] = []
    const { auth, rateLimit: limit } = route
    if (auth !== undefined && auth !== false) {
      const { verifier, ...rest } = typeof auth === 'string' ? { verifier: auth } : auth
      guards.push(authenticate({ ...rest, verify: deps.verifiers![verifier]! }))
    }
    if (limit !== undefined && limit !== false) {
      const policy = typeof limit === 'string' ? { limiter: limit } : limit
      const guard = rateLimit({
        limiter: limiterOf(policy, id, next),
        key: policy.key,
        cost: policy.cost,
        // A limiter's name tells its quota from that of another one on the same answer.
        name: 'limiter' in policy && isPolicyName(policy.limiter) ? policy.limiter : undefined,
      })
      if (policy.key === undefined) guards.unshift(guard)
      else guards.push(guard)
    }
    // Before all others: a page must be able to read a refusal, and a preflight comes without a token.
    if (route.cors) guards.unshift(cors({ methods: route.methods, ...route.cors }))

    return guards
  }

  function limiterOf(
    policy: Exclude<RateLimitPolicy, string>,
    id: string,
    next: Map<string, Kept<RateLimiter>>,
  ): RateLimiter {
    if ('limiter' in policy) return deps.limiters![policy.limiter]!

    const { limit, window, burst } = policy
    const settings = { limit, window, burst }
    const known = limiters.get(id)
    const kept = same(known?.settings, settings) ? known! : { thing: gcra({ ...settings, clock }), settings }
    next.set(id, kept)
    return kept.thing
  }

  const answer: Middleware = function gateway(req, res) {
    if (isConnectionRefused(req)) return

    track(res)
    const { router, trust } = table
    const context = contextOf(req)
    context.address = clientAddress(req, trust)
    assignRequestId(req, res, trustsPeer(req, trust))
    observe?.(req, res)
    if (deps.log !== undefined) logWhenOver(req, res, deps.log)

    if (closing !== undefined) res.setHeader('connection', 'close')
    const target = inspect(req)
    if ('status' in target) {
      refuse(res, target)
      return
    }

    const match = router.match(preflightOf(req, router, target) ?? req.method!, req.headers.host, target.path)
    if (match.kind === 'none') {
      problem(res, 404, { detail: 'Nothing is served under this path.' })
      return
    }
    if (match.kind === 'method') {
      res.setHeader('allow', match.allow.join(', '))
      problem(res, 405, { detail: `This path does not take ${req.method} requests.` })
      return
    }

    const { route } = match
    context.route = route.path
    route.guards(req, res, (error) => {
      if (error === undefined) forward(route, req, res, target)
      else fail(res, error)
    })
  }

  const { telemetry } = given
  const handler: Middleware =
    telemetry === undefined
      ? answer
      : function traced(req, res, next) {
          telemetry.trace(req, res, () => answer(req, res, next))
        }

  function track(res: ServerResponse): void {
    underWay.add(res)
    res.once('close', () => {
      underWay.delete(res)
      if (underWay.size === 0) onIdle?.()
    })
  }

  async function shutDown(timeout: number): Promise<void> {
    const stopped = [...servers].map((server) => new Promise<void>((resolve) => server.close(() => resolve())))
    for (const server of servers) server.closeIdleConnections()
    await idle(timeout)

    for (const res of underWay) res.destroy()
    for (const server of servers) server.closeAllConnections()
    await Promise.all(stopped)
    await owned?.destroy()
  }

  /** Resolves when nothing is under way any more, or when the time is up. */
  function idle(timeout: number): Promise<void> {
    if (underWay.size === 0) return Promise.resolve()

    return new Promise((resolve) => {
      const cancel = after(clock, timeout, resolve)
      onIdle = () => {
        cancel()
        resolve()
      }
    })
  }

  return {
    handler,
    reload(next, changed = {}) {
      const before = deps
      deps = { ...deps, ...changed }
      try {
        table = build(next)
      } catch (error) {
        deps = before
        throw error
      }
      current = next
    },
    async listen(port = current.listen?.port ?? 0, host = current.listen?.host) {
      const server = createServer((req, res) => handler(req, res, () => problem(res, 404)))
      // Node hands these to nobody else, and would hang up without a word.
      server.on('connect', (_req, socket) => socket.end(connectRefusal))
      server.on('clientError', answerClientError)
      servers.add(server)
      await new Promise<void>((resolve, reject) => {
        server.once('error', reject)
        server.listen(port, host, () => {
          server.off('error', reject)
          resolve()
        })
      })
      return server
    },
    close,
    [Symbol.asyncDispose]: () => close(),
  }

  function close({ timeout = 10_000 }: { readonly timeout?: number | undefined } = {}): Promise<void> {
    checkOption('close', 'timeout', timeout, duration)
    closing ??= shutDown(timeout)
    return closing
  }
}

const connectRefusal =
  'HTTP/1.1 405 Method Not Allowed\r\nAllow: DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT\r\nConnection: close\r\nContent-Length: 0\r\n\r\n'

function forward(route: Route, req: IncomingMessage, res: ServerResponse, target: Target): void {
  try {
    route.forward(req, res, target)
  } catch (error) {
    fail(res, error)
  }
}

/** The method that a page asks leave for, where its route answers that (the Fetch standard's CORS-preflight). */
function preflightOf(req: IncomingMessage, router: Router<Route>, target: Target): string | undefined {
  const asked = req.headers['access-control-request-method']
  if (req.method !== 'OPTIONS' || asked === undefined || req.headers.origin === undefined) return undefined

  const match = router.match(asked, req.headers.host, target.path)
  return match.kind === 'found' && match.route.cors ? asked : undefined
}

/** Hands a request to a transcoder, with what the route says about the call. */
function transcodeWith(
  transcoder: Middleware,
  req: IncomingMessage,
  res: ServerResponse,
  route: RouteConfig,
  target: string,
  breaker: CircuitBreaker | undefined,
): void {
  contextOf(req).call = {
    target,
    upstream: route.upstream,
    timeouts: resolveTimeouts(route.timeout),
    maxBody: route.maxBody,
    breaker,
    headers: lowerCaseRules(route.headers?.response),
  }
  transcoder(req, res, (error) => {
    if (error === undefined) problem(res, 404, { detail: 'Nothing is served under this path.' })
    else fail(res, error)
  })
}

/** A mistake of the program's: a limiter, a key or a rewrite that threw. The client learns nothing of it. */
function fail(res: ServerResponse, error: unknown): void {
  contextOf(res.req).error = new ProxyError('internal', 'request', { cause: error })
  problem(res, 500, { detail: 'The request could not be handled.' })
}

/** Whether two settings read the same and hold the same functions. */
function same(a: unknown, b: unknown): boolean {
  if (Object.is(a, b)) return true
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return false

  const names = new Set([...Object.keys(a), ...Object.keys(b)])
  return [...names].every((name) => same((a as Record<string, unknown>)[name], (b as Record<string, unknown>)[name]))
}
