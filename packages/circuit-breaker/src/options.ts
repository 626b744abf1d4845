import type { Verdict } from './classify.js'
import type { OpenDurationOptions } from './open-duration.js'
import type { Clock, Outcome } from './policy.js'
import type { CircuitSnapshot } from './snapshot.js'
import type { TripRule } from './trip.js'

/** Options of {@link circuitBreaker}. All durations are milliseconds. */
export interface CircuitBreakerOptions {
  /** Names the circuit in errors and metrics, default `'unnamed'`. */
  readonly name?: string | undefined
  /**
   * When the circuit opens. Default: half of the calls of the last 30 seconds failed, of at least 20,
   * `{ failureRate: 0.5, minimumCalls: 20, window: { duration: 30_000, buckets: 10 } }`.
   */
  readonly trip?: TripRule | undefined
  /** How long an open circuit rejects everything before it tries again; a number stays the same each time. Default 30_000. */
  readonly openDuration?: number | OpenDurationOptions | undefined
  readonly halfOpen?: HalfOpenOptions | undefined
  /** A call that takes this long or longer is slow. Default: none is. See `trip.slowRate`. */
  readonly slowCall?: number | undefined
  /**
   * What an outcome says about the service, default {@link defaultClassify}. Not asked about a rejection after the caller
   * aborted: that is always ignored. An ignored call counts nowhere and gives its trial back.
   */
  readonly classify?: ((outcome: Outcome) => Verdict) | undefined
  /**
   * How long the server asked to be left alone, asked of the outcome that opens the circuit. Raises the open duration,
   * beyond its `max` too; never lowers it.
   */
  readonly retryAfter?: ((outcome: Outcome) => number | undefined) | undefined
  /** Watch only: states, events and metrics as usual, but no call is rejected unless isolated. Default false. */
  readonly dryRun?: boolean | undefined
  /** Monotonic time, default `performance.now()`. */
  readonly clock?: Clock | undefined
  /** From 0 to 1, for the jitter of the open duration. Default `Math.random`. */
  readonly random?: (() => number) | undefined
  /** Carry on from another circuit's {@link CircuitBreaker.snapshot}. */
  readonly initialState?: CircuitSnapshot | undefined
}

/** How a half-open circuit makes up its mind. */
export interface HalfOpenOptions {
  /** Calls let through, at most; the others are rejected meanwhile. Default 1. */
  readonly trials?: number | undefined
  /** Successes among them that close the circuit, default all. It opens again once they are out of reach. */
  readonly successes?: number | undefined
  /** Milliseconds after which a trial that has not ended loses its place to the next call. Default 30_000. */
  readonly trialTimeout?: number | undefined
}
