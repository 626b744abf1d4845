import { CountWindow } from './count-window.js'
import type { TransitionReason } from './events.js'
import { fraction, integer, object, positiveDuration, wrong } from './internal/validate.js'
import type { Clock } from './policy.js'
import type { RollingWindow } from './rolling-window.js'
import { TimeWindow } from './time-window.js'

/** Opens after this many failures in a row. An ignored call neither counts nor ends the row. */
export interface ConsecutiveTrip {
  readonly failures: number
}

/** Opens when the share of failed, or of slow, calls among the completed ones reaches a threshold. */
export interface RateTrip {
  /** 0 to 1, default 0.5. Opens at or above it; 0 opens on any failure. */
  readonly failureRate?: number | undefined
  /** 0 to 1, default: slowness does not open the circuit. Opens at or above it. Needs `slowCall`. */
  readonly slowRate?: number | undefined
  /** Completed calls before a rate means anything, default 20, or the size of a count window smaller than that. */
  readonly minimumCalls?: number | undefined
  readonly window: CountWindowOptions | TimeWindowOptions
}

/** The last so many calls. */
export interface CountWindowOptions {
  readonly calls: number
}

/** The calls of the last so many milliseconds. */
export interface TimeWindowOptions {
  /** Milliseconds. */
  readonly duration: number
  /** In how many steps old calls leave, default 10. */
  readonly buckets?: number | undefined
}

/** When a closed circuit opens. */
export type TripRule = ConsecutiveTrip | RateTrip

const DEFAULT_FAILURE_RATE = 0.5
const DEFAULT_MINIMUM_CALLS = 20
const DEFAULT_BUCKETS = 10
/** Half of at least 20 calls within 30 seconds. */
export const DEFAULT_TRIP: RateTrip = { window: { duration: 30_000 } }

/** A trip rule with all its numbers known, and the window it looks at. */
export interface Judge {
  readonly window: RollingWindow
  /** Whether a slow call speaks against the service. */
  readonly mindsSlow: boolean
  /** Why the circuit should open now that a call was recorded; undefined when it should not. */
  verdict(failed: boolean): TransitionReason | undefined
}

export function createJudge(trip: TripRule, slowCall: number | undefined, clock: Clock): Judge {
  object('trip', trip)
  if ('failures' in trip && trip.failures !== undefined) return new ConsecutiveJudge(trip.failures)
  if (!('window' in trip)) throw wrong('trip', trip, '{ failures } or { window }')
  if (trip.slowRate !== undefined && slowCall === undefined) {
    throw wrong('slowCall', slowCall, 'milliseconds, because trip.slowRate is set')
  }
  return new RateJudge(trip, clock)
}

/** So many failures in a row are a window of that size in which all calls failed. */
class ConsecutiveJudge implements Judge {
  readonly window: CountWindow
  readonly mindsSlow = false
  readonly #failures: number

  constructor(failures: number) {
    this.#failures = integer('trip.failures', failures, 1)
    this.window = new CountWindow(this.#failures)
  }

  verdict(): TransitionReason | undefined {
    return this.window.failures === this.#failures ? 'failures' : undefined
  }
}

class RateJudge implements Judge {
  readonly window: RollingWindow
  readonly mindsSlow: boolean
  readonly #failureRate: number
  readonly #slowRate: number | undefined
  readonly #minimumCalls: number

  constructor(trip: RateTrip, clock: Clock) {
    const { failureRate = DEFAULT_FAILURE_RATE, slowRate } = trip
    const options = object('trip.window', trip.window)
    const size = 'calls' in options ? integer('trip.window.calls', options.calls, 1) : undefined

    this.window = 'calls' in options ? new CountWindow(options.calls) : timeWindow(options, clock)
    this.#failureRate = fraction('trip.failureRate', failureRate)
    this.#slowRate = slowRate === undefined ? undefined : fraction('trip.slowRate', slowRate)
    this.#minimumCalls = minimumCalls(trip.minimumCalls, size)
    this.mindsSlow = this.#slowRate !== undefined
  }

  verdict(failed: boolean): TransitionReason | undefined {
    const { calls, failures, slow } = this.window
    // Without a slow rule a success can only bring the rate down.
    if ((!failed && !this.mindsSlow) || calls < this.#minimumCalls) return undefined

    // Divide, never multiply: 55/100 is the double written 0.55, while 0.55 * 100 is more than 55.
    if (failures > 0 && failures / calls >= this.#failureRate) return 'failure-rate'
    if (this.#slowRate !== undefined && slow > 0 && slow / calls >= this.#slowRate) return 'slow-rate'
    return undefined
  }
}

function timeWindow({ duration, buckets = DEFAULT_BUCKETS }: TimeWindowOptions, clock: Clock): TimeWindow {
  return new TimeWindow(
    positiveDuration('trip.window.duration', duration),
    integer('trip.window.buckets', buckets, 1),
    clock,
  )
}

function minimumCalls(value: number | undefined, size: number | undefined): number {
  if (value === undefined) return Math.min(DEFAULT_MINIMUM_CALLS, size ?? DEFAULT_MINIMUM_CALLS)
  return integer('trip.minimumCalls', value, 1, size)
}
