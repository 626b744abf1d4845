import type { TransitionReason } from './events.js'
import { integer, MAX_COUNT, milliseconds, object, share, wrong } from './internal/validate.js'
import type { Clock } from './policy.js'
import { RollingWindow } from './rolling-window.js'

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
  readonly failureRate: number
  /** Infinity when slowness does not speak against the service. */
  readonly slowRate: number
  readonly minimumCalls: number
  /** So many failures in a row are a window of that size in which all calls failed. */
  readonly consecutive: boolean
}

export function createJudge(trip: TripRule, slowCall: number | undefined, clock: Clock): Judge {
  const {
    failures,
    window,
    failureRate = DEFAULT_FAILURE_RATE,
    slowRate,
    minimumCalls,
  } = object('trip', trip) as Partial<ConsecutiveTrip & RateTrip>
  if (failures !== undefined) {
    if (Object.entries(trip).some(([key, value]) => key !== 'failures' && value !== undefined))
      throw wrong('trip', trip, '{ failures } alone, or { window } and rates')
    const size = integer('trip.failures', failures, 1)
    const inARow = new RollingWindow(size, 0, clock)
    return { window: inARow, failureRate: 1, slowRate: Infinity, minimumCalls: size, consecutive: true }
  }

  if (window === undefined) throw wrong('trip', trip, '{ failures } or { window }')
  if (slowRate !== undefined && slowCall === undefined) throw wrong('slowCall', slowCall, 'a number, for trip.slowRate')

  const {
    calls,
    duration,
    buckets = DEFAULT_BUCKETS,
  } = object('trip.window', window) as Partial<CountWindowOptions & TimeWindowOptions>
  if (calls !== undefined && Object.keys(window).length > 1)
    throw wrong('trip.window', window, '{ calls } alone, or { duration }')
  const size = calls === undefined ? integer('trip.window.buckets', buckets, 1) : integer('trip.window.calls', calls, 1)
  const width = calls === undefined ? milliseconds('trip.window.duration', duration, 1) / size : 0
  const most = width > 0 ? MAX_COUNT : size

  return {
    window: new RollingWindow(size, width, clock),
    failureRate: share('trip.failureRate', failureRate),
    slowRate: slowRate === undefined ? Infinity : share('trip.slowRate', slowRate),
    minimumCalls: integer(
      'trip.minimumCalls',
      minimumCalls === undefined ? Math.min(DEFAULT_MINIMUM_CALLS, most) : minimumCalls,
      1,
      most,
    ),
    consecutive: false,
  }
}

/** Why the circuit should open now that a call was recorded; undefined when it should not. */
export function reasonToOpen(judge: Judge): TransitionReason | undefined {
  const { calls, failures, slow } = judge.window
  // Successes are judged too: one can be the call that makes the rate mean something, or come when others grew old.
  if (calls < judge.minimumCalls) return undefined

  // Divide, never multiply: 55/100 is the double written 0.55, while 0.55 * 100 is more than 55.
  if (failures > 0 && failures / calls >= judge.failureRate) return judge.consecutive ? 'failures' : 'failure-rate'
  return slow > 0 && slow / calls >= judge.slowRate ? 'slow-rate' : undefined
}
