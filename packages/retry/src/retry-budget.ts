import { clockOption } from './internal/time.js'
import { atLeast, duration, optionsObject, wrong } from './internal/validate.js'
import type { Clock } from './policy.js'

/** How many retries may still be made, shared by all the policies that are given it. */
export interface RetryBudget {
  /** Retries that may be made now. Need not be whole. */
  readonly balance: number
  /** A request was made. */
  deposit(): void
  /** Takes one retry; false when there is none. */
  tryWithdraw(): boolean
}

export interface RetryBudgetOptions {
  /** Retries earned by each request. Default 0.2: at most 20 % more load than without retries. */
  readonly ratio?: number | undefined
  /** Retries per second that are there without any request. Default 10. */
  readonly minPerSecond?: number | undefined
  /** For how long a request earns and a retry costs, in milliseconds, above 0. Default 10_000. */
  readonly ttl?: number | undefined
  readonly clock?: Clock | undefined
}

/**
 * Keeps retries a fraction of the requests, so that they cannot finish off a service that is already failing.
 *
 * The balance is `minPerSecond` for the length of `ttl`, plus `ratio` for each request, minus one for each retry of the
 * last `ttl` (after Finagle's RetryBudget). A retry is paid for before it waits, so those in back-off count too.
 *
 * @throws TypeError for options out of range.
 * @example
 * const budget = retryBudget({ ratio: 0.1 })
 * const orders = retry({ budget })
 * const users = retry({ budget })
 */
export function retryBudget(options: RetryBudgetOptions = {}): RetryBudget {
  optionsObject('retryBudget', options)
  const { ratio = 0.2, minPerSecond = 10, ttl = 10_000 } = options
  atLeast(0, 'retryBudget: ratio', ratio)
  atLeast(0, 'retryBudget: minPerSecond', minPerSecond)
  duration('retryBudget: ttl', ttl)
  if (ttl === 0) throw wrong('retryBudget: ttl', ttl, 'above 0')

  return new WindowBudget(ratio, (minPerSecond * ttl) / 1_000, ttl, clockOption('retryBudget: clock', options.clock))
}

/** The window moves in this many steps. */
const SLICES = 10

/** Counts are whole and per slice, so nothing drifts and a deposit is forgotten exactly once. */
class WindowBudget implements RetryBudget {
  readonly #ratio: number
  readonly #reserve: number
  readonly #sliceLength: number
  readonly #clock: Clock
  readonly #requests = new Float64Array(SLICES)
  readonly #retries = new Float64Array(SLICES)
  #requestsInWindow = 0
  #retriesInWindow = 0
  #slice: number

  constructor(ratio: number, reserve: number, ttl: number, clock: Clock) {
    this.#ratio = ratio
    this.#reserve = reserve
    this.#sliceLength = ttl / SLICES
    this.#clock = clock
    this.#slice = Math.floor(clock.now() / this.#sliceLength)
  }

  get balance(): number {
    this.#forgetOld()
    return Math.max(0, this.#reserve + this.#ratio * this.#requestsInWindow - this.#retriesInWindow)
  }

  deposit(): void {
    const index = this.#forgetOld()
    this.#requests[index]! += 1
    this.#requestsInWindow += 1
  }

  tryWithdraw(): boolean {
    const index = this.#forgetOld()
    // Tolerant of 0.1 * 30 being a little more or less than 3.
    if (this.balance < 1 - 1e-9) return false

    this.#retries[index]! += 1
    this.#retriesInWindow += 1
    return true
  }

  /** Empties the slices that left the window since the last call; returns the index of the current one. */
  #forgetOld(): number {
    const current = Math.max(this.#slice, Math.floor(this.#clock.now() / this.#sliceLength))

    for (let slice = Math.max(this.#slice + 1, current - SLICES + 1); slice <= current; slice++) {
      const index = indexOf(slice)
      this.#requestsInWindow -= this.#requests[index]!
      this.#retriesInWindow -= this.#retries[index]!
      this.#requests[index] = 0
      this.#retries[index] = 0
    }

    this.#slice = current
    return indexOf(current)
  }
}

function indexOf(slice: number): number {
  return ((slice % SLICES) + SLICES) % SLICES
}
