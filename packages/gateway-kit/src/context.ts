import type { IncomingMessage } from 'node:http'
import type { CircuitBreaker } from '@msx/circuit-breaker'
import type { Claims } from './claims.js'
import type { ResolvedTimeouts } from './timeouts.js'

/** Who was recognised, and the headers that tell the upstream so. */
export interface Identity {
  readonly claims: Claims
  /** Lower-case names, each beginning with `x-user-`. */
  readonly headers: Readonly<Record<string, string>>
}

/** What a route says to the transcoder that it names. */
export interface RouteCall {
  /** The path after the route's rewrite, and the query. */
  readonly target: string
  readonly upstream: string
  readonly timeouts: ResolvedTimeouts
  readonly maxBody: number | undefined
  readonly breaker: CircuitBreaker | undefined
  /** For the response, under lower-case names: a text sets, null removes. */
  readonly headers: Readonly<Record<string, string | null>> | undefined
}

/** Why a request failed: a `ProxyError`, or the error of another part with a code and a status of its own. */
export interface RequestFailure {
  readonly code: string
  readonly status: number
  readonly cause?: unknown
}

/**
 * What the parts of the gateway learn about one request and tell each other: the log and the metrics read what the
 * router, the verifier and the proxy wrote.
 */
export interface RequestContext {
  requestId?: string
  /** The pattern of the route, never the path. */
  route?: string
  /** The address the request came from, by the gateway's rules of trust. */
  address?: string
  identity?: Identity
  /** The origin that answered, or that was tried last. */
  upstream?: string
  /** How many times an upstream was asked. */
  attempts?: number
  /** Why the request failed, when the gateway itself answered. */
  error?: RequestFailure
  call?: RouteCall
}

// Registered, so that two copies of the package in one process share what they know about a request.
const key: unique symbol = Symbol.for('@msx/gateway-kit.context') as never

/** The facts of this request, made on first use. */
export function contextOf(req: IncomingMessage): RequestContext {
  const carrier = req as IncomingMessage & { [key]?: RequestContext }
  carrier[key] ??= {}

  return carrier[key]
}
