import { type Clock, systemClock } from '../clock.js'
import { checkOption, duration, positiveInteger, positiveNumber } from '../internal/checks.js'
import { checkCost, type Decision, type LocalRateLimiter } from './limiter.js'
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

/** What all buckets of a limiter have in common. */
export interface BucketShape {
  readonly limit: number
  readonly burst: number
  /** Milliseconds in which one request drains away. */
  readonly interval: number
}

interface Bucket {
  /** How many requests are in the bucket. */
  readonly level: number
  readonly at: number
}

/** Of a request: rounding must not cost anybody a whole one. */
export const GCRA_EPSILON: number = 1e-6

/**
 * The generic cell rate algorithm (ITU-T I.371) in its form as a leaky bucket: each request fills the bucket by its
 * cost, one request drains away per interval. Requests are spaced evenly, `burst` of them may come at once.
 *
 * What is kept is how full the bucket was, and when. The time at which it will be empty would be one number less, but
 * sums of intervals are rounded, and of a limit of 997 per day only 996 would be allowed.
 */
export function gcra(options: GcraOptions): LocalRateLimiter {
  const { limit, window, burst = limit, maxKeys = 100_000, clock = systemClock } = options
  checkLimit('gcra', limit, window, maxKeys)
  checkOption('gcra', 'burst', burst, positiveInteger)

  const shape: BucketShape = { limit, burst, interval: window / limit }
  const buckets = new RecentMap<Bucket>(maxKeys)

  return {
    window,
    take(key, cost = 1) {
      checkCost(cost)
      const now = clock.now()
      const bucket = buckets.get(key)
      const before = bucket === undefined ? 0 : Math.max(0, bucket.level - (now - bucket.at) / shape.interval)
      const allowed = before + cost <= burst + GCRA_EPSILON
      const level = allowed ? before + cost : before
      if (allowed && cost > 0) buckets.set(key, { level, at: now })

      return bucketDecision(shape, level, cost, allowed)
    },
  }
}

/** What is said about a request that found, or left, the bucket at `level`. */
export function bucketDecision(
  { limit, burst, interval }: BucketShape,
  level: number,
  cost: number,
  allowed: boolean,
): Decision {
  return {
    allowed,
    limit,
    remaining: Math.max(0, Math.floor(burst - level + GCRA_EPSILON)),
    resetAfter: level * interval,
    retryAfter: allowed ? 0 : cost > burst ? Number.POSITIVE_INFINITY : (level + cost - burst) * interval,
  }
}

/** The options every limiter has. */
export function checkLimit(owner: string, limit: unknown, window: unknown, maxKeys?: unknown): void {
  if (limit === undefined) throw new TypeError(`${owner}: limit must be a positive integer, got undefined`)
  if (window === undefined) throw new TypeError(`${owner}: window must be a number of milliseconds, got undefined`)
  checkOption(owner, 'limit', limit, positiveInteger)
  checkOption(owner, 'window', window, aboveZero)
  checkOption(owner, 'maxKeys', maxKeys, positiveInteger)
}

/** A duration that may not be 0. */
export function aboveZero(value: unknown): string | undefined {
  return positiveNumber(value) ?? duration(value)
}
