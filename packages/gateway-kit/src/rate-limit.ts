import type { IncomingMessage, ServerResponse } from 'node:http'
import { addressKey, checkTrust, clientAddress, peerAddress, type TrustConfig } from './address.js'
import { contextOf, tell } from './context.js'
import { aFunction, checkOption } from './internal/checks.js'
import type { Decision, RateLimiter } from './limit/limiter.js'
import type { Middleware } from './middleware.js'
import { problem } from './problem.js'

export interface RateLimitOptions {
  readonly limiter: RateLimiter
  /** Who is counted. Default: the address the request came from, see `trust`; IPv6 by its /64. */
  readonly key?: ((req: IncomingMessage) => string) | undefined
  /**
   * Which proxies are believed when they name an address. Default: as the gateway around this has it, else `false`,
   * nobody. A `key` of your own asks `clientAddress(req, trust)` itself, and `addressKey` for what to count it under.
   */
  readonly trust?: TrustConfig | undefined
  /** What the request takes from the quota. Default 1. */
  readonly cost?: number | ((req: IncomingMessage) => number) | undefined
  /** The name of the policy in the headers. Default `default`. */
  readonly name?: string | undefined
}

/** What the type of a problem says when a quota is used up (draft-ietf-httpapi-ratelimit-headers). */
const quotaExceeded = 'https://iana.org/assignments/http-problem-types#quota-exceeded'

/**
 * Answers 429 with `Retry-After` to whoever comes too often; tells everybody by `RateLimit` and `RateLimit-Policy`
 * (draft-ietf-httpapi-ratelimit-headers-10) where they stand.
 *
 * @example
 * app.use(rateLimit({ limiter: gcra({ limit: 100, window: 60_000 }) }))
 */
export function rateLimit(options: RateLimitOptions): Middleware {
  const { limiter, trust, cost = 1, name = 'default' } = options
  if (trust !== undefined) checkOption('rateLimit', 'trust', trust, checkTrust)
  if (trust !== undefined && options.key !== undefined) {
    throw new TypeError('rateLimit: either key or trust; a key of your own asks clientAddress(req, trust) itself')
  }
  const key = options.key ?? (trust === undefined ? addressOf : addressBy(trust))
  if (typeof limiter?.take !== 'function') throw new TypeError('rateLimit: limiter must have a method take')
  checkOption('rateLimit', 'key', key, aFunction)
  checkOption('rateLimit', 'cost', cost, (value) =>
    typeof value === 'function' || (typeof value === 'number' && value >= 0 && Number.isFinite(value))
      ? undefined
      : 'a number, 0 or more, or a function',
  )
  checkOption('rateLimit', 'name', name, (value) =>
    isPolicyName(value) ? undefined : 'printable ASCII without quotes',
  )

  return function limitRate(req, res, next) {
    let decision: Decision | Promise<Decision>
    try {
      decision = limiter.take(key(req), typeof cost === 'function' ? cost(req) : cost)
    } catch (error) {
      next(error)
      return
    }

    if (decision instanceof Promise) decision.then(applyLate, next)
    else apply(decision)

    /** Somebody in front may have answered in the meantime, for the time it took. */
    function applyLate(decided: Decision): void {
      if (!res.headersSent) apply(decided)
    }

    function apply(decided: Decision): void {
      announce(res, name, limiter.window, decided)
      if (decided.allowed) next()
      else refuse(res, name, decided)
    }
  }
}

/** What may stand between quotes in the headers (a string of RFC 9651, without escapes). */
export function isPolicyName(value: unknown): value is string {
  return typeof value === 'string' && /^[\x20\x21\x23-\x5b\x5d-\x7e]+$/.test(value)
}

/** Whom a limit counts unless it is told otherwise: the address, as the gateway's rules of trust have it. */
export function addressOf(req: IncomingMessage): string {
  return addressKey(contextOf(req).address ?? peerAddress(req))
}

const addressBy =
  (trust: TrustConfig) =>
  (req: IncomingMessage): string =>
    addressKey(clientAddress(req, trust))

const seconds = (ms: number): number => Math.max(1, Math.ceil(ms / 1_000))

function announce(res: ServerResponse, name: string, window: number | undefined, decision: Decision): void {
  const policy = `"${name}";q=${decision.limit}${window === undefined ? '' : `;w=${seconds(window)}`}`
  const state = `"${name}";r=${decision.remaining};t=${Math.ceil(decision.resetAfter / 1_000)}`

  // A list: several limits on one route are all told.
  tell(res, 'RateLimit-Policy', policy)
  tell(res, 'RateLimit', state)
}

function refuse(res: ServerResponse, name: string, { retryAfter }: Decision): void {
  if (Number.isFinite(retryAfter)) res.setHeader('Retry-After', seconds(retryAfter))
  problem(res, 429, {
    type: quotaExceeded,
    title: 'Quota exceeded',
    detail: 'Too many requests; try again later.',
    'violated-policies': [name],
  })
}
