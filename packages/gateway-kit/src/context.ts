import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import type { CircuitBreaker } from '@msx/circuit-breaker'
import type { Claims } from './claims.js'
import { type Connection, findConnection } from './connection.js'
import { ProxyError } from './errors.js'
import { isFinished, isHttp2 } from './http2.js'
import type { Flight } from './in-flight.js'
import type { RetryPlan } from './retrying.js'
import type { AttemptWatch } from './telemetry.js'
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
  readonly retry: RetryPlan | false | undefined
  /** For the response, under lower-case names: a text sets, null removes. */
  readonly headers: Readonly<Record<string, string | null>> | undefined
}

/** Why a request failed: a `ProxyError`, or the error of another part with a code and a status of its own. */
export interface RequestFailure {
  readonly code: string
  readonly status: number
  readonly cause?: unknown
}
/** What Node hands over when a request asks for another protocol: the socket, and what came after the head. */
export interface Upgrade {
  readonly socket: Duplex
  readonly head: Buffer
}

/** Runs once, when the response has left or its client has. */
type Ending = (req: IncomingMessage, res: ServerResponse, context: RequestContext) => void

/**
 * What the parts of the gateway learn about one request and tell each other: the log and the metrics read what the
 * router, the verifier and the proxy wrote. Every field is there from the beginning, so that all requests look alike
 * to V8.
 */
export class RequestContext {
  requestId: string | undefined = undefined
  /** The pattern of the route, never the path. */
  route: string | undefined = undefined
  /** The address the request came from, by the gateway's rules of trust. */
  address: string | undefined = undefined
  identity: Identity | undefined = undefined
  /** Headers of verifiers' own, in lower case, by which it was let in: no client can have them taken away on the way. */
  proofs: readonly string[] | undefined = undefined
  /** The origin that answered, or that was tried last. */
  upstream: string | undefined = undefined
  /** How many times an upstream was asked. */
  attempts: number = 0
  /** Why the request failed, when the gateway itself answered. */
  error: RequestFailure | undefined = undefined
  call: RouteCall | undefined = undefined
  /** Who wants to hear of each attempt. */
  watch: AttemptWatch | undefined = undefined
  /** Which pages may read the answer has been decided: an upstream is not asked. */
  corsSaid: boolean = false
  /** When it arrived, by the monotonic clock and by that of the wall. */
  readonly arrived: number = performance.now()
  readonly arrivedAt: number = Date.now()
  /** When it was over, by the monotonic clock; until somebody has asked, 0. */
  over: number = 0
  /** Names and values in turn that go out with the head; undefined where each is set on the response itself. */
  told: string[] | undefined = undefined
  /** What forwards it, and must hear first that the client is gone. */
  exchange: { over(): void } | undefined = undefined
  endings: Ending[] | undefined = undefined
  watched: boolean = false
  flight: Flight | undefined = undefined
  /** It asked for another protocol, on this socket. */
  upgrade: Upgrade | undefined = undefined
  /** It got it, and that is over too. */
  switched: boolean = false
  /** All of the answer is written, while the rest of the request is still being read and thrown away. */
  answered: boolean = false
  /** By {@link connectionOf}. */
  connection: Connection | undefined = undefined
}

// Registered, so that two copies of the package in one process share what they know about a request.
const key: unique symbol = Symbol.for('@msx/gateway-kit.context') as never

/** The facts of this request, made on first use. */
export function contextOf(req: IncomingMessage): RequestContext {
  const carrier = req as IncomingMessage & { [key]?: RequestContext }
  carrier[key] ??= new RequestContext()

  return carrier[key]
}

/** What is known about the connection a request came on. */
export function connectionOf(req: IncomingMessage): Connection {
  const context = contextOf(req)
  // Found on first use: a context may have been made by an older copy of the package, which knows nothing of it.
  context.connection ??= findConnection(req)

  return context.connection
}

/**
 * Has something run when the response has left or its client has, at once where that has been: one listener for all who
 * want to know.
 */
export function whenOver(req: IncomingMessage, res: ServerResponse, ending: Ending): void {
  const context = contextOf(req)
  if (isGone(res)) {
    blameClient(res, context)
    ending(req, res, context)
    return
  }
  if (context.endings === undefined) context.endings = [ending]
  else context.endings.push(ending)
  watch(res, context)
}

/**
 * The same for what forwards the request: before all others, so that they can tell why it ended; at once when the
 * client has gone while something in front took its time.
 */
export function tellWhenOver(req: IncomingMessage, res: ServerResponse, exchange: { over(): void }): void {
  const context = contextOf(req)
  context.exchange = exchange
  if (isGone(res)) exchange.over()
  else watch(res, context)
}

/** How long the request took, in milliseconds: for endings, which all hear the same. */
export function durationOf(context: RequestContext): number {
  if (context.over === 0) context.over = performance.now()

  return context.over - context.arrived
}

/** Whether nobody waits for this response any more. */
export function isGone(res: ServerResponse): boolean {
  return isHttp2(res.req) ? res.req.stream.destroyed : res.destroyed
}

function watch(res: ServerResponse, context: RequestContext): void {
  if (context.watched) return

  context.watched = true
  res.on('close', onClose)
}

/** Where nothing else went wrong: nobody had begun to forward it, or all of the answer was on its way. */
function blameClient(res: ServerResponse, context: RequestContext): void {
  if (!isFinished(res) && !context.switched)
    context.error ??= new ProxyError('client-gone', res.headersSent ? 'response' : 'request')
}

function onClose(this: ServerResponse): void {
  const context = contextOf(this.req)
  const { endings, exchange } = context
  exchange?.over()
  blameClient(this, context)
  if (endings === undefined) return

  context.endings = undefined
  for (const ending of endings) ending(this.req, this, context)
}

/**
 * Adds a header to the answer. Where the gateway sends the head itself it is kept aside until then: a head that is
 * written in one go costs a fraction of one that was set piece by piece.
 */
export function tell(res: ServerResponse, name: string, value: string): void {
  const { told } = contextOf(res.req)
  if (told === undefined) res.appendHeader(name, value)
  else told.push(name, value)
}

/** Sets on the response what was kept aside: somebody else is going to write the head. */
export function setTold(res: ServerResponse): void {
  const context = contextOf(res.req)
  const { told } = context
  if (told === undefined) return

  context.told = undefined
  for (let index = 0; index < told.length; index += 2) res.appendHeader(told[index]!, told[index + 1]!)
}
