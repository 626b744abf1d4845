import type { CircuitState } from './events.js'
import { integer, MAX_DURATION, object, within, wrong } from './internal/validate.js'
import { FIELDS, type WindowSnapshot } from './rolling-window.js'

/**
 * A circuit as plain JSON: to look at, or to be given to another circuit as `initialState`. Times are wall-clock
 * milliseconds since 1970, because they outlive the process.
 */
export interface CircuitSnapshot {
  readonly version: 1
  readonly name: string
  readonly state: CircuitState
  readonly takenAt: number
  /** Openings in a row, from which the open duration grows. */
  readonly openings: number
  /** Present while the circuit is not closed. */
  readonly openedAt?: number | undefined
  /** When a trial may be let through. Present while the circuit is not closed. */
  readonly openUntil?: number | undefined
  readonly window: WindowSnapshot
}

const MAX_IN_BUCKET = 2 ** 32 - 1
const STATES = ['closed', 'open', 'half-open', 'isolated', 'disabled']

/** A snapshot comes from a file or a cache: it is checked like any other input. */
export function checkSnapshot(snapshot: CircuitSnapshot): CircuitSnapshot {
  const { version, state, takenAt, openings, openedAt = 0, openUntil, window } = object('initialState', snapshot)
  if (version !== 1) throw wrong('initialState.version', version, '1')
  if (!STATES.includes(state)) throw wrong('initialState.state', state, STATES.join(', '))
  const { width, counts } = object('initialState.window', window)
  if (!Array.isArray(counts) || counts.length % FIELDS > 0)
    throw wrong('initialState.window.counts', counts, 'an array of three numbers per bucket')

  for (const [key, value] of Object.entries({ takenAt, openings, openedAt })) {
    integer(`initialState.${key}`, value, 0, Number.MAX_SAFE_INTEGER)
  }
  if (openUntil !== undefined) {
    if (state === 'closed' || state === 'disabled')
      throw wrong('initialState.state', state, 'open, or openUntil left out')
    integer('initialState.openUntil', openUntil, 0, takenAt + MAX_DURATION)
  } else if (state === 'open' || state === 'half-open') {
    throw wrong('initialState.openUntil', openUntil, `a time, because the circuit is ${state}`)
  }

  within('initialState.window.width', width, 'a number', 0, MAX_DURATION)
  const most = width > 0 ? MAX_IN_BUCKET : 1
  counts.forEach((count, index) => {
    const field = index % FIELDS
    // No more of the calls can have failed, or been slow, than there were.
    integer('initialState.window.counts', count, 0, field === 0 ? most : counts[index - field])
  })
  return snapshot
}
