import { defaultClassify, type Verdict } from './classify.js'
import { callback, integer, milliseconds, object } from './internal/validate.js'
import type { Outcome } from './policy.js'

/** How a bulkhead with `concurrency: 'adaptive'` finds its limit. */
export interface AdaptiveLimitOptions {
  /** The limit to begin with, default 20, or the nearest that `min` and `max` allow. */
  readonly initial?: number | undefined
  /** Default 1. */
  readonly min?: number | undefined
  /** Default 200, or `min` when that is more. */
  readonly max?: number | undefined
  /** Milliseconds. A call that takes this long or longer is taken for a sign of overload. Default: none is. */
  readonly slowCall?: number | undefined
  /**
   * Whether an outcome is a sign of overload (`'failure'`), of room (`'success'`), or of neither; default
   * {@link defaultClassify}. Not asked about a rejection after the caller aborted: that is neither.
   */
  readonly classify?: ((outcome: Outcome) => Verdict) | undefined
}

const DEFAULT_INITIAL = 20
const DEFAULT_MAX = 200

/** What is left of the limit after a sign of overload. */
const BACKOFF = 0.9

/**
 * A limit that grows by one per round of successes and falls by a tenth per round with a failure: additive increase,
 * multiplicative decrease, as TCP avoids congestion (Jacobson, 1988).
 *
 * A round is what was in flight together: a hundred calls that fail at once are one sign of overload, not a hundred. So a
 * failure only counts when its call began after the last fall. The limit grows only while at least half of it is used:
 * calls that never came near it do not tell whether more would do.
 */
export class AdaptiveLimit {
  readonly slowCall: number
  readonly classify: (outcome: Outcome) => Verdict
  readonly #min: number
  readonly #max: number
  #limit: number
  /** Successes towards the next step up. */
  #successes = 0
  #begun = 0
  /** Calls up to this number began before the limit last fell. */
  #fellAt = 0

  constructor(options: AdaptiveLimitOptions = {}) {
    const { min = 1, slowCall, classify = defaultClassify } = object('adaptive', options)
    integer('adaptive.min', min, 1)
    const { max = Math.max(DEFAULT_MAX, min) } = options
    integer('adaptive.max', max, min)
    const { initial = Math.min(Math.max(DEFAULT_INITIAL, min), max) } = options

    this.#min = min
    this.#max = max
    this.#limit = integer('adaptive.initial', initial, min, max)
    this.slowCall = slowCall === undefined ? Number.POSITIVE_INFINITY : milliseconds('adaptive.slowCall', slowCall)
    this.classify = callback('adaptive.classify', classify)
  }

  /** How many calls may run at once now. */
  get current(): number {
    return this.#limit
  }

  /** Notes that a call begins and gives it a number. */
  begin(): number {
    return ++this.#begun
  }

  /** Takes the result of a call; `inFlight` includes it. */
  settle(begun: number, verdict: Verdict, inFlight: number): void {
    if (verdict === 'success') {
      if (inFlight * 2 >= this.#limit) this.#grow()
    } else if (verdict === 'failure' && begun > this.#fellAt) {
      this.#limit = Math.max(this.#min, Math.floor(this.#limit * BACKOFF))
      this.#successes = 0
      this.#fellAt = this.#begun
    }
  }

  #grow(): void {
    if (++this.#successes < this.#limit) return

    this.#successes = 0
    if (this.#limit < this.#max) this.#limit++
  }
}
