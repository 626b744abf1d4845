import { circuitBreaker } from '@msx/circuit-breaker'
import * as msx from '@msx/retry'
import * as cockatiel from 'cockatiel'
import Opossum from 'opossum'
import pRetry from 'p-retry'
import pTimeout from 'p-timeout'

/**
 * The same policies from every library, set up as its README sets them up. Durations in milliseconds. Where a default
 * means more work than ours does, the peer is also measured without it.
 */
const WINDOW = 30_000
const OPEN = 3_600_000
const TIMEOUT = 1_000
const RETRIES = 2

export interface BreakerRules {
  /** Default 0.5. */
  readonly failureRate?: number | undefined
  /** Calls before a failure rate means anything. Default 20. */
  readonly minimumCalls?: number | undefined
}

/** A failure rate over a time window. */
export const breakers = {
  msx({ failureRate = 0.5, minimumCalls = 20 }: BreakerRules = {}) {
    return circuitBreaker({ trip: { failureRate, minimumCalls, window: { duration: WINDOW } }, openDuration: OPEN })
  },

  cockatiel({ failureRate = 0.5, minimumCalls = 20 }: BreakerRules = {}) {
    const breaker = new cockatiel.SamplingBreaker({
      // Opens above its threshold, not at it, and takes no 1: this is as near as it matters.
      threshold: Math.min(failureRate, 1 - 1e-9),
      duration: WINDOW,
      minimumRps: minimumCalls / (WINDOW / 1_000),
    })
    return cockatiel.circuitBreaker(cockatiel.handleAll, { halfOpenAfter: OPEN, breaker })
  },

  /** Its own timeout, which is on by default, is off: no other breaker here has one. */
  opossum<A extends unknown[], T>(
    work: (...args: A) => Promise<T>,
    { failureRate = 0.5, minimumCalls = 20 }: BreakerRules = {},
    options: Opossum.Options = {},
  ) {
    return new Opossum(work, {
      timeout: false,
      errorThresholdPercentage: 100 * failureRate,
      rollingCountTimeout: WINDOW,
      volumeThreshold: minimumCalls,
      resetTimeout: OPEN,
      ...options,
    })
  },
}

export const retries = {
  msx: () => msx.retry({ attempts: 1 + RETRIES }),
  cockatiel: () =>
    cockatiel.retry(cockatiel.handleAll, { maxAttempts: RETRIES, backoff: new cockatiel.ExponentialBackoff() }),
  pRetry: <T>(work: () => Promise<T>) => pRetry(work, { retries: RETRIES }),
}

/** Timeouts that let the caller go when the time is over, whether the work stops or not. */
export const timeouts = {
  msx: () => msx.timeout(TIMEOUT),
  cockatiel: () => cockatiel.timeout(TIMEOUT, cockatiel.TimeoutStrategy.Aggressive),
  /** Waits for the work to stop, and leaves its signal alone afterwards: the least that cockatiel can do. */
  cockatielCooperative: () =>
    cockatiel.timeout(TIMEOUT, { strategy: cockatiel.TimeoutStrategy.Cooperative, abortOnReturn: false }),
  pTimeout: <T>(work: () => Promise<T>) => pTimeout(work(), { milliseconds: TIMEOUT }),
}

/** Retries around a breaker around a timeout for each attempt. */
export const pipelines = {
  msx: () => msx.pipeline(retries.msx(), breakers.msx(), timeouts.msx()),
  cockatiel: () => cockatiel.wrap(retries.cockatiel(), breakers.cockatiel(), timeouts.cockatiel()),
}
