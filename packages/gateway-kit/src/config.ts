import type { IncomingMessage } from 'node:http'
import type { CircuitBreaker, CircuitBreakerOptions } from '@msx/circuit-breaker'
import type { TrustConfig } from './address.js'
import type { CorsOptions } from './cors.js'
import type { HeaderRules } from './headers.js'
import type { ConnectionLimits, ListenConfig } from './listener.js'
import type { Permissions } from './permissions.js'
import type { ProxyRetry } from './retrying.js'
import type { Rewrite } from './rewrite.js'
import type { Timeouts } from './timeouts.js'

/** Which verifier a route asks, by its name in `deps.verifiers`, and what the token must permit. */
export type AuthPolicy =
  | string
  | ({
      readonly verifier: string
      /** Which claims the upstream is told, by header; names begin with `x-user-`. Default `{ 'x-user-id': 'sub' }`. */
      readonly identity?: Readonly<Record<string, string>> | undefined
    } & Permissions)

interface LimitedBy {
  /**
   * Who is counted. Default: the address, before the token is looked at. With a key of your own the limit comes after
   * authentication, so that `authOf(req)` can be read.
   */
  readonly key?: ((req: IncomingMessage) => string) | undefined
  /** Default 1. */
  readonly cost?: number | ((req: IncomingMessage) => number) | undefined
}

/** The name of a limiter in `deps.limiters`, which routes may share, or a limit of the route's own (GCRA, in this process). */
export type RateLimitPolicy =
  | string
  | ({ readonly limiter: string } & LimitedBy)
  | ({
      /** Requests per window. */
      readonly limit: number
      /** Milliseconds. */
      readonly window: number
      /** How many may come at once. Default: `limit`. */
      readonly burst?: number | undefined
    } & LimitedBy)

export interface RouteConfig {
  /** What the route is called in logs, and what its breaker and limiter are kept under at a reload. Default: methods, host and path. */
  readonly id?: string | undefined
  /** `/users/me`, `/users/:id`, `/files/*` (one segment), `/files/**` (the rest, be it nothing). A slash at the end makes no difference. */
  readonly path: string
  /** `shop.example`, or `*.shop.example`. Default: every host. */
  readonly host?: string | undefined
  /** Default: every method. `GET` includes `HEAD`. */
  readonly methods?: readonly string[] | undefined
  /** `http://127.0.0.1:3000`, with or without a base path, a name from `upstreams`, or the name of a service. */
  readonly upstream: string
  /** `/v2/:id`, `/v2/**`, or a function from path to path. Default: the path as it came. */
  readonly rewrite?: Rewrite | undefined
  readonly auth?: AuthPolicy | false | undefined
  readonly rateLimit?: RateLimitPolicy | false | undefined
  readonly timeout?: Timeouts | undefined
  /** Default `false`: every request is sent once. */
  readonly retry?: ProxyRetry | false | undefined
  /** A breaker for this route, by its options, or one that is shared. Default `false`. */
  readonly breaker?: CircuitBreakerOptions | CircuitBreaker | false | undefined
  /** Bytes of a request body; more is a 413. Default: no limit. */
  readonly maxBody?: number | undefined
  readonly headers?: HeaderRules | undefined
  /**
   * Which pages may read the answers, and open WebSockets; preflight requests are answered before anything else is
   * asked of them.
   */
  readonly cors?: CorsOptions | false | undefined
  /**
   * The name of a transcoder in `deps.transcoders`, which answers in the place of a proxy; `upstream` then names the
   * service for it and for the log. Not with `websocket`, `retry.statuses` or request headers of the route's own; those of
   * `defaults` do not hold here, of which there is a process warning.
   */
  readonly grpc?: string | undefined
  /** Whether WebSockets may be opened here; other requests are served as well. Default `false`. */
  readonly websocket?: boolean | undefined
  /**
   * Whether the upstream reads paths as they are written: `/Admin` is not `/admin` to it, nor is `/admin;x`. Default
   * `false`: a path that the upstream may take for one of a route with other `auth`, `rateLimit` or `methods` is a 400.
   */
  readonly exactPath?: boolean | undefined
  /** Who is refused first when there is too much to do, see `limits`: the lowest. Default 0; `Infinity` never. */
  readonly priority?: number | undefined
}

/** One of several places that serve the same. */
export interface UpstreamTarget {
  /** `http://127.0.0.1:3000`, with or without a base path. */
  readonly url: string
  /** Its share of the requests, beside the weights of the others. Default 1; 0 gets none. */
  readonly weight?: number | undefined
}

/** Several places under one name. */
export interface UpstreamConfig {
  readonly targets: readonly UpstreamTarget[]
}

/** What the gateway takes at most. */
export interface GatewayLimits extends ConnectionLimits {
  /** Requests at once; more are answered with 503, by priority: see `shed`. Default: no limit. */
  readonly inFlight?: number | undefined
  /** How busy the event loop may be, from 0 to 1, before requests are refused: see `shed`. Default `false`. */
  readonly utilisation?: number | false | undefined
  /** WebSockets at once, which do not count as requests; more are answered with 503. Default: no limit. */
  readonly webSockets?: number | undefined
}

/** Where the gateway says how it is itself, to everybody and without a limit. */
export interface HealthConfig {
  /** The path that answers 200 as long as the process does. */
  readonly live?: string | undefined
  /** The path that answers 200, and 503 from the moment that `close()` is called. */
  readonly ready?: string | undefined
}

export interface GatewayConfig {
  readonly routes: readonly RouteConfig[]
  /** Where `listen()` listens when it is not told. */
  readonly listen?: ListenConfig | undefined
  /** By name, for routes to refer to. */
  readonly upstreams?: Readonly<Record<string, UpstreamConfig>> | undefined
  readonly limits?: GatewayLimits | undefined
  readonly health?: HealthConfig | undefined
  /** Whose X-Forwarded-*, or Forwarded, are believed. Default `false`: nobody's. */
  readonly trust?: TrustConfig | undefined
  /** For routes that do not say otherwise. Timeouts are merged one by one, everything else as a whole. */
  readonly defaults?: Partial<RouteConfig> | undefined
}

/** A route over the defaults. */
export function withDefaults(route: RouteConfig, defaults: Partial<RouteConfig> = {}): RouteConfig {
  const merged: Record<string, unknown> = { ...defaults }
  for (const [name, value] of Object.entries(route)) if (value !== undefined) merged[name] = value
  if (defaults.timeout !== undefined && route.timeout !== undefined) {
    merged['timeout'] = { ...defaults.timeout, ...defined(route.timeout) }
  }

  return merged as unknown as RouteConfig
}

const defined = (timeouts: Timeouts): Timeouts =>
  Object.fromEntries(Object.entries(timeouts).filter(([, value]) => value !== undefined))

/** What a route is known by. */
export function routeId(route: RouteConfig): string {
  if (route.id !== undefined) return route.id

  const methods = route.methods === undefined ? '' : `${[...route.methods].sort().join(',')} `
  return `${methods}${route.host ?? ''}${route.path}`
}
