import { type Clock, systemClock } from '../clock.js'
import { checkOption, duration, positiveInteger, positiveNumber } from '../internal/checks.js'
import { checkCost, type LocalRateLimiter } from './limiter.js'
import { RecentMap } from './recent-map.js'

export interface GcraOptions {
  /** Requests per window, in the long run. */
  readonly limit: number
  /** Milliseconds. */
  readonly window: number
  /** How many may come at once. Default: `limit`. */
  readonly burst?: number | undefined
  /** How many keys are remembered; the least recently seen are forgotten. Default 100_000. */
  readonly maxKeys?: number | undefined
  readonly clock?: Clock | undefined
}

/** Rounding of the clock's fractions must not cost anybody a request. */
const EPSILON = 1e-6

/**
 * The generic cell rate algorithm (ITU-T I.371): a leaky bucket that keeps one number per key, the time at which the
 * bucket will be empty. Requests are spaced evenly, `burst` of them may come at once.
 */
export function gcra(options: GcraOptions): LocalRateLimiter {
  const { limit, window, burst = limit, maxKeys = 100_000, clock = systemClock } = options
  checkLimit('gcra', limit, window, maxKeys)
  checkOption('gcra', 'burst', burst, positiveInteger)

  const interval = window / limit
  const capacity = burst * interval
  const emptyAt = new RecentMap<number>(maxKeys)

  return {
    window,
    take(key, cost = 1) {
      checkCost(cost)
      const now = clock.now()
      const before = Math.max(emptyAt.get(key) ?? now, now)
      const after = before + cost * interval
      const wait = after - capacity - now
      const allowed = wait <= EPSILON
      if (allowed && cost > 0) emptyAt.set(key, after)

      const level = allowed ? after : before
      return {
        allowed,
        limit,
        remaining: Math.max(0, Math.floor((now + capacity - level) / interval + EPSILON)),
        resetAfter: level - now,
        retryAfter: allowed ? 0 : cost > burst ? Number.POSITIVE_INFINITY : wait,
      }
    },
  }
}

/** The options every local limiter has. */
export function checkLimit(owner: string, limit: unknown, window: unknown, maxKeys: unknown): void {
  if (limit === undefined) throw new TypeError(`${owner}: limit must be a positive integer, got undefined`)
  if (window === undefined) throw new TypeError(`${owner}: window must be a number of milliseconds, got undefined`)
  checkOption(owner, 'limit', limit, positiveInteger)
  checkOption(owner, 'window', window, (value) => positiveNumber(value) ?? duration(value))
  checkOption(owner, 'maxKeys', maxKeys, positiveInteger)
}
