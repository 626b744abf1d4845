/// <reference lib="esnext.disposable" preserve="true" />
import { type IncomingMessage, type Server, ServerResponse } from 'node:http'
import type { Http2ServerRequest } from 'node:http2'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { type CircuitBreaker, circuitBreaker } from '@msx/circuit-breaker'
import { type RetryBudget, retryBudget } from '@msx/retry'
import type { Agent, Dispatcher } from 'undici'
import { clientAddress, type TrustConfig, trustsPeer } from './address.js'
import { authenticate } from './authenticate.js'
import type { Verify } from './claims.js'
import { after, type Clock, systemClock } from './clock.js'
import {
  type GatewayConfig,
  type GatewayLimits,
  type HealthConfig,
  type RateLimitPolicy,
  type RouteConfig,
  routeId,
  withDefaults,
} from './config.js'
import { checkConfig } from './config-check.js'
import { contextOf, isGone, type RequestContext, setTold, whenOver } from './context.js'
import { cors, isForeignPage } from './cors.js'
import { hasBody } from './ending.js'
import { ProxyError } from './errors.js'
import { Exchange } from './exchange.js'
import { lowerCaseRules } from './headers.js'
import { closeAfter, hostOf, isHttp2 } from './http2.js'
import { InFlight } from './in-flight.js'
import { checkOption, duration } from './internal/checks.js'
import { gcra } from './limit/gcra.js'
import type { RateLimiter } from './limit/limiter.js'
import { type Certificates, createListener, type Listener, readCertificates } from './listener.js'
import { answerOptions, forwardsLeft } from './max-forwards.js'
import { createObserver, type PrometheusClient } from './metrics.js'
import { compose, type Middleware } from './middleware.js'
import { createMisreading, type Misreading, type Protected } from './misreading.js'
import { capture, parsePattern } from './pattern.js'
import { afterAnswers, inTurn } from './pipelining.js'
import { problem } from './problem.js'
import { createAgent, createForwarding, createVia, type Shared, withQuery } from './proxy.js'
import { isPolicyName, rateLimit } from './rate-limit.js'
import { refuse } from './refusal.js'
import { assignRequestId } from './request-id.js'
import { type AccessLog, checkLog, createLogger } from './request-log.js'
import { createRetryPlan, type ProxyRetry, type RetryPlan } from './retrying.js'
import { compileRewrite } from './rewrite.js'
import { allowed, createRouter, type Router } from './router.js'
import { copyOf, same } from './same.js'
import { refuseLoad, Shedder } from './shed.js'
import { inspect, isConnectionRefused, type Target } from './target.js'
import type { Telemetry } from './telemetry.js'
import { resolveTimeouts } from './timeouts.js'
import { opensWebSocket, Tunnel } from './tunnel.js'
import { type Finder, fromTargets, type Upstream } from './upstream.js'

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
  /** Gets one entry per request, or a line of JSON if it is a stream; see `requestLog`. */
  readonly log?: AccessLog | undefined
  readonly clock?: Clock | undefined
}

/** What routes name, and what may change with them. */
export type NamedDeps = Pick<GatewayDeps, 'discovery' | 'verifiers' | 'limiters' | 'transcoders'>

export interface Gateway extends AsyncDisposable {
  /** For a server of your own. Every request ends here: what no route takes is a 404. */
  readonly handler: Middleware
  /**
   * Puts another config in the place of this one, as a whole or not at all. Breakers and limiters of routes whose id
   * and settings stay are kept, retry budgets of routes whose id stays, and connections; requests under way finish by the old config. Certificates are
   * read again. Where it listens and what connections are limited to stays as it was. `changed` puts other verifiers,
   * limiters, transcoders or discovery in the place of the ones there were.
   */
  reload(config: GatewayConfig, changed?: NamedDeps): void
  /**
   * For the `upgrade` event of a server of your own: opens WebSockets on routes with `websocket: true`. What asks for
   * something else is served as if it had not asked, and the connection ends with the answer.
   */
  upgrade(req: IncomingMessage, socket: Duplex, head: Buffer): void
  /** Starts a server. Default port and host: the config's `listen`, else any free port on all interfaces. */
  listen(port?: number, host?: string): Promise<Server>
  /**
   * Says that it is not ready, serves on for `delay` ms (default 0) until whoever balances has noticed, takes no more,
   * lets requests under way finish for `timeout` ms (default 10_000), then cuts them.
   */
  close(options?: { readonly delay?: number | undefined; readonly timeout?: number | undefined }): Promise<void>
}

/** How long the last bytes of the last answers may take to leave, in milliseconds. */
const LAST_BYTES = 500

interface Route extends Protected {
  readonly id: string
  readonly guards: Middleware
  /** Whether the route answers preflight requests. */
  readonly cors: boolean
  readonly priority: number
  forward(req: IncomingMessage, res: ServerResponse, target: Target): void
}

interface Table {
  readonly router: Router<Route>
  readonly mayBeMisread: Misreading<Route> | undefined
  readonly trust: TrustConfig
  readonly shedder: Shedder | undefined
  readonly health: HealthConfig
  readonly certificates: Certificates | undefined
  readonly websockets: boolean
  readonly mostTunnels: number
}

/** What a route keeps over a reload, and the settings it was made from. */
interface Kept<T> {
  readonly thing: T
  readonly settings: object
}

/** All that routes keep, each under the id of its route. */
class Keepsakes {
  readonly breakers = new Map<string, Kept<CircuitBreaker>>()
  readonly limiters = new Map<string, Kept<RateLimiter>>()
  /** Of routes that name none of their own. */
  readonly budgets = new Map<string, RetryBudget>()
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
  const shared: Shared = {
    dispatcher: deps.dispatcher ?? owned!,
    via: createVia(),
    exemplar: { response: undefined },
  }
  const observe = deps.metrics === undefined ? undefined : createObserver(deps.metrics)
  checkOption('createGateway', 'deps.log', deps.log, checkLog)
  const log = deps.log === undefined ? undefined : createLogger(deps.log)
  /** Whatever is in force when it is asked: requests that came before a reload may ask after it. */
  const finder: Finder = { service: (name) => deps.discovery!.service(name) }
  const listeners = new Set<Listener>()
  const tunnels = new Set<Tunnel>()
  const underWay = new InFlight()
  let kept = new Keepsakes()
  let shedder: Kept<Shedder> | undefined
  let current = config
  let table = build(config)
  let closing: Promise<void> | undefined
  let closed = false
  let onIdle: (() => void) | undefined

  function build(next: GatewayConfig): Table {
    checkConfig(next, {
      verifiers: deps.verifiers ?? {},
      limiters: deps.limiters ?? {},
      transcoders: deps.transcoders ?? {},
      discovery: deps.discovery !== undefined,
    })
    const keeps = new Keepsakes()
    const trust = next.trust ?? false
    const configs = next.routes.map((route) => withDefaults(route, next.defaults))
    for (const [index, route] of configs.entries()) warnOfUnused(route, index)
    const named = new Map(
      Object.entries(next.upstreams ?? {}).map(([name, { targets }]) => [name, fromTargets(targets)]),
    )
    const routes = configs.map((route) => createRoute(route, named, trust, keeps))
    const built: Table = {
      router: createRouter(routes),
      mayBeMisread: createMisreading(routes),
      trust,
      shedder: shedderOf(next.limits),
      health: next.health ?? {},
      certificates: next.listen?.tls === undefined ? undefined : readCertificates(next.listen.tls),
      websockets: configs.some(({ websocket }) => websocket === true),
      mostTunnels: next.limits?.webSockets ?? Number.POSITIVE_INFINITY,
    }

    kept = keeps
    return built
  }

  function shedderOf({ inFlight, utilisation = false }: GatewayLimits = {}): Shedder | undefined {
    if (inFlight === undefined && utilisation === false) return undefined

    const settings = { inFlight, utilisation }
    if (!same(shedder?.settings, settings)) shedder = { thing: new Shedder('limits', { ...settings, clock }), settings }
    return shedder!.thing
  }

  function createRoute(
    route: RouteConfig,
    named: ReadonlyMap<string, Upstream>,
    trust: TrustConfig,
    keeps: Keepsakes,
  ): Route {
    const id = routeId(route)
    const breaker = breakerOf(route, id, keeps)
    const retry = retryOf(route, id, keeps)
    const forwarding =
      route.grpc === undefined
        ? createForwarding(
            named.get(route.upstream) ?? route.upstream,
            { ...route, breaker, retry, trust, discovery: finder, clock },
            shared,
          )
        : undefined
    const transcoder = route.grpc === undefined ? undefined : deps.transcoders![route.grpc]!
    const callRetry = route.grpc !== undefined && retry ? createRetryPlan(retry, clock) : false
    const pattern = parsePattern(route.path)
    const rewrite = route.rewrite === undefined ? undefined : compileRewrite(route.rewrite, pattern)

    return {
      id,
      path: route.path,
      host: route.host,
      methods: route.methods,
      auth: route.auth,
      rateLimit: route.rateLimit,
      exactPath: route.exactPath,
      guards: compose(...guardsOf(route, id, keeps)),
      cors: route.cors !== undefined && route.cors !== false,
      priority: route.priority ?? 0,
      forward(req, res, target) {
        const path = rewrite === undefined ? target.path : rewrite(target.path, () => capture(pattern, target.path))
        const rewritten = withQuery(path, target)
        const { upgrade } = contextOf(req)
        if (
          upgrade !== undefined &&
          isHttp2(req) &&
          (forwarding === undefined || route.websocket !== true || !opensWebSocket(req))
        ) {
          // On a stream there is no request that could be served as if it had not asked.
          problem(res, 501, { detail: 'No other protocol is spoken here.' })
          return
        }
        if (forwarding === undefined) transcodeWith(transcoder!, req, res, route, rewritten, breaker, callRetry)
        else if (upgrade !== undefined && route.websocket === true && opensWebSocket(req)) {
          if (route.cors && isForeignPage(req, route.cors, trust))
            problem(res, 403, { detail: 'A page of this origin may not open a WebSocket here.' })
          else if (closed || tunnels.size >= table.mostTunnels) refuseLoad(res)
          else openTunnel(new Tunnel(req, res, upgrade, forwarding, rewritten), req, res)
        } else {
          // Who does not read does not learn that the client is gone; Node reads no more from this socket.
          upgrade?.socket.resume()
          new Exchange(req, res, forwarding, rewritten).run()
        }
      },
    }
  }

  function openTunnel(tunnel: Tunnel, req: IncomingMessage, res: ServerResponse): void {
    tunnels.add(tunnel)
    whenOver(req, res, () => {
      tunnels.delete(tunnel)
      tellIdle()
    })
    void tunnel.run(() => land(contextOf(req)))
  }

  function breakerOf({ breaker }: RouteConfig, id: string, keeps: Keepsakes): CircuitBreaker | undefined {
    if (breaker === undefined || breaker === false) return undefined
    if ('tryAcquire' in breaker) return breaker

    const known = kept.breakers.get(id)
    const mine = same(known?.settings, breaker)
      ? known!
      : { thing: circuitBreaker({ name: id, clock, ...breaker }), settings: copyOf(breaker) }
    keeps.breakers.set(id, mine)
    return mine.thing
  }

  /** A new budget at each reload would allow more, just when a config is changed in an outage. */
  function retryOf({ retry }: RouteConfig, id: string, keeps: Keepsakes): ProxyRetry | false | undefined {
    if (!retry || retry.budget !== undefined) return retry

    const budget = kept.budgets.get(id) ?? retryBudget()
    keeps.budgets.set(id, budget)
    return { ...retry, budget }
  }

  function guardsOf(route: RouteConfig, id: string, keeps: Keepsakes): Middleware[] {
    const guards: Middleware[] = []
    const { auth, rateLimit: limit } = route
    if (auth !== undefined && auth !== false) {
      const { verifier, ...rest } = typeof auth === 'string' ? { verifier: auth } : auth
      guards.push(authenticate({ ...rest, verify: deps.verifiers![verifier]! }))
    }
    if (limit !== undefined && limit !== false) {
      const policy = typeof limit === 'string' ? { limiter: limit } : limit
      const guard = rateLimit({
        limiter: limiterOf(policy, id, keeps),
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

  function limiterOf(policy: Exclude<RateLimitPolicy, string>, id: string, keeps: Keepsakes): RateLimiter {
    if ('limiter' in policy) return deps.limiters![policy.limiter]!

    const { limit, window, burst } = policy
    const settings = { limit, window, burst }
    const known = kept.limiters.get(id)
    const mine = same(known?.settings, settings) ? known! : { thing: gcra({ ...settings, clock }), settings }
    keeps.limiters.set(id, mine)
    return mine.thing
  }

  /** What every request begins with, whatever comes of it. */
  function receive(req: IncomingMessage, res: ServerResponse, context: RequestContext): void {
    context.told = []
    if (context.flight === undefined) {
      context.flight = underWay.add(res)
      whenOver(req, res, untrack)
    } else whenOver(req, res, report)
    context.address = clientAddress(req, table.trust)
    assignRequestId(req, res, trustsPeer(req, table.trust))

    if (closed) closeAfter(res)
  }

  const answer: Middleware = function gateway(req, res) {
    if (isConnectionRefused(req)) return

    const { router, mayBeMisread, shedder, health } = table
    const context = contextOf(req)
    receive(req, res, context)
    const target = inspect(req)
    if ('status' in target) {
      refuse(res, target)
      return
    }

    const isTunnel = context.upgrade !== undefined && isHttp2(req)
    if (!isTunnel && (target.path === health.live || target.path === health.ready)) {
      answerHealth(req, res, target.path !== health.ready || closing === undefined)
      return
    }

    const host = hostOf(req)
    const method = preflightOf(req, router, target) ?? req.method!
    const match = router.match(method, host, target.path)
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
    if (mayBeMisread?.(route, method, host, target.path) === true) {
      problem(res, 400, { detail: 'This spelling of the path may be taken for another path.' })
      return
    }
    // The one that asks is counted already.
    if (shedder !== undefined && !shedder.admits(route.priority, underWay.size - 1)) {
      refuseLoad(res)
      return
    }
    route.guards(req, res, (error) => {
      if (error !== undefined) fail(res, error)
      else if (forwardsLeft(req) === 0) answerOptions(res, methodsUnder(router, host, target.path))
      else forward(route, req, res, target)
    })
  }

  /** Node would say so, too, but nobody would hear of it. */
  const disappoint: Middleware = (req, res) => {
    if (isConnectionRefused(req)) return

    receive(req, res, contextOf(req))
    problem(res, 417, { detail: 'The only expectation that is met here is 100-continue.' })
  }

  const { telemetry } = given
  const served = (middleware: Middleware): Middleware =>
    inTurn(
      telemetry === undefined
        ? middleware
        : function traced(req, res, next) {
            telemetry.trace(req, res, () => middleware(req, res, next))
          },
    )
  const handler = served(answer)
  const refuseExpectation = served(disappoint)

  function untrack(req: IncomingMessage, res: ServerResponse, context: RequestContext): void {
    land(context)
    report(req, res, context)
    tellIdle()
  }

  function report(req: IncomingMessage, res: ServerResponse, context: RequestContext): void {
    observe?.(req, res, context)
    log?.(req, res, context)
  }

  /** What is open for hours is no request any more, and must not be counted as one. */
  function land(context: RequestContext): void {
    if (context.flight === undefined) return

    underWay.remove(context.flight)
    context.flight = undefined
  }

  function tellIdle(): void {
    if (underWay.size === 0 && tunnels.size === 0) onIdle?.()
  }

  async function shutDown(delay: number, timeout: number): Promise<void> {
    if (delay > 0) await new Promise<void>((resolve) => after(clock, delay, resolve))

    closed = true
    const stopped = [...listeners].map((listener) => listener.close())
    for (const tunnel of tunnels) tunnel.leave()
    await idle(timeout)

    underWay.destroyAll()
    for (const tunnel of tunnels) tunnel.cut()
    for (const listener of listeners) listener.closeIdle()
    const cut = setTimeout(() => {
      for (const listener of listeners) listener.destroy()
    }, LAST_BYTES)
    await Promise.all(stopped)
    clearTimeout(cut)
    await owned?.destroy()
    shared.exemplar.response = undefined
  }

  /** Resolves when nothing is under way any more, or when the time is up. */
  function idle(timeout: number): Promise<void> {
    if (underWay.size === 0 && tunnels.size === 0) return Promise.resolve()

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
    upgrade,
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
      for (const listener of listeners) {
        if (table.certificates !== undefined) listener.use(table.certificates)
        listener.takeUpgrades(table.websockets)
      }
    },
    async listen(port = current.listen?.port ?? 0, host = current.listen?.host) {
      if (closing !== undefined) throw new Error('listen: the gateway has been closed')

      const listener = createListener(current.listen ?? {}, table.certificates, current.limits ?? {}, {
        onRequest: (req, res) => handler(req, res, () => problem(res, 404)),
        onExpectation: (req, res) => refuseExpectation(req, res, () => {}),
        onUpgrade: upgrade,
        onConnect: openStream,
      })
      const { server } = listener
      listener.takeUpgrades(table.websockets)
      listeners.add(listener)
      await new Promise<void>((resolve, reject) => {
        const onClose = (): void => reject(new Error('listen: the gateway has been closed'))
        server.once('error', reject).once('close', onClose)
        server.listen(port, host, () => {
          server.off('error', reject).off('close', onClose)
          resolve()
        })
      })
      return server
    },
    close,
    [Symbol.asyncDispose]: () => close(),
  }

  function close({
    delay = 0,
    timeout = 10_000,
  }: {
    readonly delay?: number | undefined
    readonly timeout?: number | undefined
  } = {}): Promise<void> {
    checkOption('close', 'delay', delay, duration)
    checkOption('close', 'timeout', timeout, duration)
    closing ??= shutDown(delay, timeout)
    return closing
  }

  /** The same for a stream of HTTP/2: routed and guarded as the GET that it would be over HTTP/1.1. */
  function openStream(req: IncomingMessage, res: ServerResponse): void {
    contextOf(req).upgrade = { socket: (req as unknown as Http2ServerRequest).stream, head: Buffer.alloc(0) }
    req.method = 'GET'
    handler(req, res, () => problem(res, 404))
  }

  function upgrade(req: IncomingMessage, socket: Duplex, head: Buffer): void {
    socket.on('error', () => socket.destroy())
    afterAnswers(socket, () => answerUpgrade(req, socket, head))
  }

  function answerUpgrade(req: IncomingMessage, socket: Duplex, head: Buffer): void {
    if (isConnectionRefused(req)) {
      socket.destroy()
      return
    }

    const res = new ServerResponse(req)
    // Node reads no further requests from a connection whose socket it has given away.
    res.shouldKeepAlive = false
    res.assignSocket(socket as Socket)
    res.once('finish', () => socket.end(() => socket.destroy()))
    if (hasBody(req)) {
      refuse(res, { status: 400, detail: 'A request for another protocol cannot have a body.' })
      return
    }

    contextOf(req).upgrade = { socket, head }
    handler(req, res, () => problem(res, 404))
  }
}

function answerHealth(req: IncomingMessage, res: ServerResponse, well: boolean): void {
  contextOf(req).route = 'health'
  res.writeHead(well ? 200 : 503, { 'content-type': 'application/json', 'cache-control': 'no-store' })
  res.end(req.method === 'HEAD' ? undefined : JSON.stringify({ status: well ? 'up' : 'closing' }))
}

function forward(route: Route, req: IncomingMessage, res: ServerResponse, target: Target): void {
  // Guards may take their time.
  if (isGone(res)) return

  try {
    route.forward(req, res, target)
  } catch (error) {
    fail(res, error)
  }
}

/** Of its own such a route may not have them; those of the defaults are no mistake, but nobody should count on them. */
function warnOfUnused(route: RouteConfig, index: number): void {
  if (route.grpc === undefined) return

  const warn = (what: string, why: string, say: string): void =>
    process.emitWarning(
      `the gateway's config: defaults.${what} does not hold for routes[${index}], which has grpc: ${why}. Say '${say}' there`,
      'MsxConfigWarning',
    )
  if (route.retry && route.retry.statuses !== undefined)
    warn('retry.statuses', 'what is asked for again is UNAVAILABLE', 'retry: { … }')
  if (route.headers?.request !== undefined)
    warn('headers.request', 'metadata are those of the transcoder', 'headers: {}')
  if (route.websocket === true) warn('websocket', 'a call is no WebSocket', 'websocket: false')
}

/** What the routes of a path take between them; none said where one of them takes everything. */
function methodsUnder(router: Router<Route>, host: string | undefined, path: string): readonly string[] {
  const owners = router.owners(host, path)
  return owners.some(({ methods }) => methods === undefined) ? [] : allowed(owners)
}

/** The method that a page asks leave for, where its route answers that (the Fetch standard's CORS-preflight). */
function preflightOf(req: IncomingMessage, router: Router<Route>, target: Target): string | undefined {
  const asked = req.headers['access-control-request-method']
  if (req.method !== 'OPTIONS' || asked === undefined || req.headers.origin === undefined) return undefined

  const match = router.match(asked, hostOf(req), target.path)
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
  retry: RetryPlan | false,
): void {
  contextOf(req).call = {
    target,
    upstream: route.upstream,
    timeouts: resolveTimeouts(route.timeout),
    maxBody: route.maxBody,
    breaker,
    // What a route does not say, its transcoder may.
    retry: route.retry === undefined ? undefined : retry,
    headers: lowerCaseRules(route.headers?.response),
  }
  setTold(res)
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
