import { type Clock, systemClock } from '../clock.js'
import { checkLimit } from './gcra.js'
import { checkCost, type Decision, type LocalRateLimiter } from './limiter.js'
import { RecentMap } from './recent-map.js'

export interface SlidingWindowOptions {
  /** Requests per window. */
  readonly limit: number
  /** Milliseconds. */
  readonly window: number
  /** How many keys are remembered; the least recently seen are forgotten. Default 100_000. */
  readonly maxKeys?: number | undefined
  readonly clock?: Clock | undefined
}

interface Counts {
  readonly index: number
  readonly current: number
  readonly previous: number
}

/** What two windows have counted, at a moment in the later one. */
export interface WindowState {
  readonly current: number
  readonly previous: number
  /** Milliseconds since the later window began. */
  readonly elapsed: number
}

export const WINDOW_EPSILON: number = 1e-9

/**
 * A sliding window from two fixed ones: the requests of the window before count by the share of it that still lies
 * within the last `window` milliseconds, as if they had come evenly. Two numbers per key.
 */
export function slidingWindow(options: SlidingWindowOptions): LocalRateLimiter {
  const { limit, window, maxKeys = 100_000, clock = systemClock } = options
  checkLimit('slidingWindow', limit, window, maxKeys)
  const counts = new RecentMap<Counts>(maxKeys)

  return {
    window,
    take(key, cost = 1) {
      checkCost(cost)
      const now = clock.now()
      const index = Math.floor(now / window)
      const elapsed = now - index * window
      const { current, previous } = advance(counts.get(key), index)

      const used = current + previous * (1 - elapsed / window)
      const allowed = used + cost <= limit + WINDOW_EPSILON
      const after = allowed ? current + cost : current
      if (allowed && cost > 0) counts.set(key, { index, current: after, previous })

      return windowDecision(limit, window, { current: after, previous, elapsed }, cost, allowed)
    },
  }
}

/** What is said about a request that found, or left, the windows in this state. */
export function windowDecision(
  limit: number,
  window: number,
  { current, previous, elapsed }: WindowState,
  cost: number,
  allowed: boolean,
): Decision {
  const used = current + previous * (1 - elapsed / window)
  return {
    allowed,
    limit,
    remaining: Math.max(0, Math.floor(limit - used + WINDOW_EPSILON)),
    resetAfter: resetAfter(current, previous, elapsed, window),
    retryAfter: allowed ? 0 : retryAfter(current, previous, elapsed, window, limit - cost),
  }
}

function advance(counts: Counts | undefined, index: number): Counts {
  if (counts?.index === index) return counts
  if (counts?.index === index - 1) return { index, current: 0, previous: counts.current }

  return { index, current: 0, previous: 0 }
}

/** Until nothing that was counted weighs any more. */
function resetAfter(current: number, previous: number, elapsed: number, window: number): number {
  if (current > 0) return 2 * window - elapsed

  return previous > 0 ? window - elapsed : 0
}

/** Until what was counted weighs no more than `room`. */
function retryAfter(current: number, previous: number, elapsed: number, window: number, room: number): number {
  if (room < 0) return Number.POSITIVE_INFINITY
  if (current <= room) return window * (1 - (room - current) / previous) - elapsed

  return window - elapsed + window * (1 - room / current)
}
