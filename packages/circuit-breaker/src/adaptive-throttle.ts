import { defaultClassify, type Verdict, verdictOf } from './classify.js'
import { ThrottledError } from './errors.js'
import type { Listener } from './events.js'
import { call } from './internal/call.js'
import { monotonic } from './internal/clock.js'
import { type CallContext, contextOf } from './internal/context.js'
import { Listeners, listenersOf } from './internal/listeners.js'
import {
  callback,
  clockOption,
  MAX_COUNT,
  milliseconds,
  object,
  share,
  typed,
  within,
  wrong,
} from './internal/validate.js'
import type { Clock, ExecuteOptions, Operation, Outcome, Policy } from './policy.js'
import { RollingWindow } from './rolling-window.js'

/** Options of {@link adaptiveThrottle}. All durations are milliseconds. */
export interface AdaptiveThrottleOptions {
  /**
   * How many calls may be made for each one that succeeds, default 2: throttling begins when more than half of them fail.
   * At least 1. Lower is stricter; higher lets more hopeless calls through, and notices sooner that the service is back.
   */
  readonly target?: number | undefined
  /** For how long a call is remembered, default 120_000. */
  readonly window?: number | undefined
  /** The largest share of calls that is rejected, 0 to 1, default 0.9: those let through notice when the service is back. */
  readonly maxRejectionRate?: number | undefined
  /**
   * Whether the service took a call, default {@link defaultClassify}. Not asked about a rejection after the caller
   * aborted: that is ignored, and an ignored call counts nowhere.
   */
  readonly classify?: ((outcome: Outcome) => Verdict) | undefined
  /** Names the throttle in errors and metrics, default `'unnamed'`. */
  readonly name?: string | undefined
  /** Monotonic time, default `performance.now()`. */
  readonly clock?: Clock | undefined
  /** From 0 to 1, decides about each call. Default `Math.random`. */
  readonly random?: (() => number) | undefined
}

/** Rejects a share of the calls that grows with the share that fails. */
export interface AdaptiveThrottle extends Policy {
  readonly name: string
  readonly metrics: AdaptiveThrottleMetrics

  /**
   * Runs the operation, or not.
   *
   * @throws {ThrottledError} the call fell to the share that is rejected
   */
  execute<T>(operation: Operation<T>, options?: ExecuteOptions): Promise<T>

  /** Listens to an event and returns what stops it. A listener that throws is ignored. */
  on<E extends keyof AdaptiveThrottleEvents>(event: E, listener: Listener<AdaptiveThrottleEvents[E]>): () => void
}

/** The events of an {@link AdaptiveThrottle}. */
export interface AdaptiveThrottleEvents {
  /** A call was rejected. `rejectionRate`: with what probability, 0 to 1. */
  readonly reject: { readonly rejectionRate: number }
}

/** The numbers of a throttle. */
export interface AdaptiveThrottleMetrics {
  /** Calls in the window that ended, and those rejected. */
  readonly requests: number
  /** Those among them that the service took. */
  readonly accepts: number
  /** With what probability the next call is rejected, 0 to 1. */
  readonly rejectionRate: number
  /** Calls rejected since the throttle was made. */
  readonly rejected: number
  readonly inFlight: number
}

const DEFAULT_NAME = 'unnamed'
const DEFAULT_TARGET = 2
const DEFAULT_WINDOW = 120_000
const DEFAULT_MAX_REJECTION_RATE = 0.9
const BUCKETS = 10

/**
 * Makes a throttle for a service that fails in part. Unlike a circuit breaker it has no states and no cliff: it rejects
 * as many calls as are in excess of `target` times the successful ones, at random, and lets the rest through. Client-side
 * throttling as in Site Reliability Engineering (Google, 2016), chapter 21.
 *
 * @example
 * const search = adaptiveThrottle({ name: 'search' })
 * const hits = await search.execute(({ signal }) => fetch('http://search/?q=tea', { signal }))
 *
 * @throws {TypeError} an option is wrong
 */
export function adaptiveThrottle(options: AdaptiveThrottleOptions = {}): AdaptiveThrottle {
  return new Throttle(object('adaptiveThrottle options', options))
}

class Throttle implements AdaptiveThrottle {
  readonly name: string
  readonly #target: number
  readonly #most: number
  readonly #classify: (outcome: Outcome) => Verdict
  readonly #random: () => number
  /** A rejected call is in it as one that failed: while it is rejected, nobody knows that it would have been taken. */
  readonly #window: RollingWindow
  readonly #listeners = { reject: new Listeners<AdaptiveThrottleEvents['reject']>() }
  #rejected = 0
  #inFlight = 0

  constructor(options: AdaptiveThrottleOptions) {
    const {
      name = DEFAULT_NAME,
      target = DEFAULT_TARGET,
      window = DEFAULT_WINDOW,
      maxRejectionRate = DEFAULT_MAX_REJECTION_RATE,
      classify = defaultClassify,
      clock = monotonic,
      random = Math.random,
    } = options

    this.name = typed('name', name, 'a string')
    this.#target = within('target', target, 'a number', 1, MAX_COUNT)
    this.#most = share('maxRejectionRate', maxRejectionRate)
    this.#classify = callback('classify', classify)
    this.#random = callback('random', random)
    this.#window = new RollingWindow(BUCKETS, milliseconds('window', window, 1) / BUCKETS, clockOption(clock))
  }

  get metrics(): AdaptiveThrottleMetrics {
    const rejectionRate = this.#rejectionRate()
    const { calls, failures } = this.#window
    return {
      requests: calls,
      accepts: calls - failures,
      rejectionRate,
      rejected: this.#rejected,
      inFlight: this.#inFlight,
    }
  }

  execute<T>(operation: Operation<T>, options?: ExecuteOptions): Promise<T> {
    if (typeof operation !== 'function') return Promise.reject(wrong('operation', operation, 'a function'))

    const context = contextOf(options)
    if (context.aborted) return Promise.reject(context.reason)

    const rejectionRate = this.#rejectionRate()
    if (rejectionRate > 0 && this.#random() < rejectionRate) {
      this.#rejected++
      this.#window.record(true, false)
      this.#listeners.reject.emit({ rejectionRate })
      return Promise.reject(new ThrottledError({ throttle: this.name, rejectionRate }))
    }

    this.#inFlight++
    return call(operation, context).then(
      (value) => {
        this.#settle({ ok: true, value }, context)
        return value
      },
      (error: unknown) => {
        this.#settle({ ok: false, error }, context)
        throw error
      },
    )
  }

  on<E extends keyof AdaptiveThrottleEvents>(event: E, listener: Listener<AdaptiveThrottleEvents[E]>): () => void {
    return listenersOf(this.#listeners, event).add(listener)
  }

  #settle(outcome: Outcome, context: CallContext): void {
    this.#inFlight--
    if (!outcome.ok && context.aborted) return

    const verdict = verdictOf(outcome, this.#classify)
    if (verdict !== 'ignore') this.#window.record(verdict === 'failure', false)
  }

  #rejectionRate(): number {
    this.#window.refresh()
    const { calls, failures } = this.#window
    return Math.min(this.#most, rejectionRate(calls, calls - failures, this.#target))
  }
}

/** The share of calls in excess of `target` times the accepted ones. The 1 is for a service that takes nothing at all. */
export function rejectionRate(requests: number, accepts: number, target: number): number {
  return Math.max(0, (requests - target * accepts) / (requests + 1))
}
