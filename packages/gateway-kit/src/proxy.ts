import { randomBytes } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import type { CircuitBreaker } from '@msx/circuit-breaker'
import { Agent, type Dispatcher } from 'undici'
import { checkTrust, type TrustConfig } from './address.js'
import { type Clock, systemClock } from './clock.js'
import { Deadlines } from './deadlines.js'
import type { ProxyError } from './errors.js'
import { Exchange, type Forwarding } from './exchange.js'
import { checkHeaderRules, type HeaderRules, lowerCaseRules } from './headers.js'
import { aFunction, checkOption, duration, orFalse, wholeNumber } from './internal/checks.js'
import { answerOptions, forwardsLeft } from './max-forwards.js'
import type { Middleware } from './middleware.js'
import type { Captures } from './pattern.js'
import { inTurn } from './pipelining.js'
import { problem } from './problem.js'
import { refuse } from './refusal.js'
import { createRetryPlan, type ProxyRetry } from './retrying.js'
import { compileRewrite } from './rewrite.js'
import { inspect, isConnectionRefused, type Target } from './target.js'
import { resolveTimeouts, type Timeouts } from './timeouts.js'
import { checkUpstream, createUpstream, type Finder, isServiceName, type Upstream } from './upstream.js'

export interface ProxyOptions {
  /** From the path that came to the path that goes; the query stays. */
  readonly rewrite?: ((path: string) => string) | undefined
  readonly timeout?: Timeouts | undefined
  /** Default `false`: every request is sent once. */
  readonly retry?: ProxyRetry | false | undefined
  /** Asked before each attempt, and told how it went. Statuses from 500 on, but 501, are failures. */
  readonly breaker?: CircuitBreaker | false | undefined
  /** Bytes of a request body; more is a 413. Default: no limit. */
  readonly maxBody?: number | undefined
  readonly headers?: HeaderRules | undefined
  /** Whether the upstream sees the client's Host. Default `false`: it sees its own; the other is in X-Forwarded-Host. */
  readonly preserveHost?: boolean | undefined
  /** Whose X-Forwarded-*, or Forwarded, are believed. Default `false`: nobody's. */
  readonly trust?: TrustConfig | undefined
  /** Finds services by name. */
  readonly discovery?: Finder | undefined
  /** An undici 7 dispatcher. Default: an Agent of one's own. */
  readonly dispatcher?: Dispatcher | undefined
  /** The name in `Via`, by which loops are found: it must be this process's own. Default: a random one. */
  readonly via?: string | undefined
  readonly clock?: Clock | undefined
  /** Hears what the client is not told: `error.cause` has the transport's words. */
  onError?(error: ProxyError, req: IncomingMessage): void
}

/**
 * Forwards requests to an upstream and streams both bodies, each no faster than its reader takes it. Every failure
 * becomes a problem document; a response that breaks off half-way is cut, never completed.
 *
 * @param target A URL (`http://127.0.0.1:3000/base`), or the name of a service to be looked up in `discovery`.
 *
 * @example
 * app.use('/api', proxy('http://127.0.0.1:3000', { timeout: { headers: 5_000 } }))
 */
export function proxy(target: string, options: ProxyOptions = {}): Middleware {
  checkProxyOptions(target, options)
  const { dispatcher = createAgent(), via = createVia() } = options
  const forwarding = createForwarding(target, options, { dispatcher, via, exemplar: { response: undefined } })
  const rewrite = options.rewrite === undefined ? undefined : compileRewrite(options.rewrite, [])

  return inTurn(function forward(req, res) {
    if (isConnectionRefused(req)) return

    const inspected = inspect(req)
    if ('status' in inspected) {
      refuse(res, inspected)
      return
    }

    if (forwardsLeft(req) === 0) {
      answerOptions(res, [])
      return
    }

    let path = inspected.path
    try {
      if (rewrite !== undefined) path = rewrite(path, nothing)
    } catch (error) {
      process.emitWarning(error instanceof Error ? error : new Error(String(error)))
      problem(res, 500)
      return
    }
    new Exchange(req, res, forwarding, withQuery(path, inspected)).run()
  })
}

/** A function has no pattern to take from. */
const nothing = (): Captures => ({ params: {}, stars: [], rest: '' })

/** The query follows the path, unless a rewrite has made one of its own. */
export function withQuery(path: string, { query }: Target): string {
  return path.includes('?') ? path : path + query
}

/** A pool per origin; the phases are timed by the exchange, only a connection nobody waits for any more is timed here. */
export function createAgent(): Agent {
  return new Agent({ connect: { timeout: 10_000 }, headersTimeout: 0, bodyTimeout: 0 })
}

/** A name no other gateway has, so that only our own requests look like a loop. */
export function createVia(): string {
  return `msx-${randomBytes(6).toString('hex')}`
}

/** What all routes of a gateway share. */
export interface Shared extends Pick<Forwarding, 'dispatcher' | 'exemplar'> {
  readonly via: string
}

/** What stays the same from request to request. */
export function createForwarding(
  target: string | Upstream,
  options: Omit<ProxyOptions, 'rewrite' | 'dispatcher' | 'via'>,
  { dispatcher, via, exemplar }: Shared,
): Forwarding {
  const timeouts = resolveTimeouts(options.timeout)
  const clock = options.clock ?? systemClock

  return {
    upstream: typeof target === 'string' ? createUpstream(target, options.discovery, timeouts.connect) : target,
    dispatcher,
    timeouts,
    retry: options.retry ? createRetryPlan(options.retry, clock) : undefined,
    breaker: options.breaker || undefined,
    maxBody: options.maxBody ?? Number.POSITIVE_INFINITY,
    preserveHost: options.preserveHost ?? false,
    request: { trust: options.trust ?? false, via, rules: lowerCaseRules(options.headers?.request) },
    response: lowerCaseRules(options.headers?.response),
    clock,
    connecting: timeouts.connect === false ? undefined : new Deadlines(clock, timeouts.connect),
    onError: options.onError,
    exemplar,
  }
}

function checkProxyOptions(target: string, options: ProxyOptions): void {
  checkOption('proxy', 'target', target, checkUpstream)
  if (isServiceName(target) && options.discovery === undefined) {
    throw new TypeError(`proxy: '${target}' is the name of a service, so discovery is needed to find it`)
  }
  checkOption('proxy', 'rewrite', options.rewrite, aFunction)
  checkOption('proxy', 'maxBody', options.maxBody, wholeNumber)
  checkOption('proxy', 'trust', options.trust, checkTrust)
  checkOption('proxy', 'onError', options.onError, aFunction)
  for (const phase of ['connect', 'headers', 'idle', 'total'] as const) {
    checkOption('proxy', `timeout.${phase}`, options.timeout?.[phase], orFalse(duration))
  }
  for (const side of ['request', 'response'] as const) {
    checkOption('proxy', `headers.${side}`, options.headers?.[side], checkHeaderRules(side))
  }
}
