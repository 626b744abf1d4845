import type { MachineSnapshot } from './circuit-machine.js'
import type { CircuitState } from './events.js'
import { atLeast, integer, object, text, wrong } from './internal/validate.js'
import type { WindowSnapshot } from './rolling-window.js'

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

const STATES: ReadonlySet<unknown> = new Set<CircuitState>(['closed', 'open', 'half-open', 'isolated', 'disabled'])

export function toSnapshot(name: string, machine: MachineSnapshot, window: WindowSnapshot): CircuitSnapshot {
  const takenAt = Date.now()
  const { state, openings, open } = machine
  const times = open && { openedAt: Math.round(takenAt - open.since), openUntil: Math.round(takenAt + open.left) }

  return { version: 1, name, state, takenAt, openings, ...times, window }
}

/**
 * Reads a snapshot back as durations. Whoever stored it may have another idea of the time: one from the future counts as
 * taken now, so that a wrong clock never keeps a circuit open for longer than it had left.
 */
export function fromSnapshot(snapshot: CircuitSnapshot): {
  machine: MachineSnapshot
  window: WindowSnapshot
  elapsed: number
} {
  const { state, takenAt, openings, openedAt, openUntil, window } = checked(snapshot)
  const elapsed = Math.max(0, Date.now() - takenAt)
  if (openUntil === undefined) return { machine: { state, openings }, window, elapsed }

  const open = { since: Math.max(0, takenAt - (openedAt ?? takenAt)), left: Math.max(0, openUntil - takenAt) }
  return { machine: { state, openings, open }, window, elapsed }
}

/** A snapshot comes from a file or a cache: it is checked like any other input. */
function checked(snapshot: CircuitSnapshot): CircuitSnapshot {
  object('initialState', snapshot)
  if (snapshot.version !== 1) throw wrong('initialState.version', snapshot.version, '1')
  if (!STATES.has(snapshot.state)) throw wrong('initialState.state', snapshot.state, 'a state of a circuit')
  text('initialState.name', snapshot.name)
  atLeast('initialState.takenAt', snapshot.takenAt, 0)
  integer('initialState.openings', snapshot.openings, 0)
  if (snapshot.openedAt !== undefined) atLeast('initialState.openedAt', snapshot.openedAt, 0)
  if (snapshot.openUntil !== undefined) atLeast('initialState.openUntil', snapshot.openUntil, 0)
  checkWindow(snapshot.window)

  return snapshot
}

function checkWindow(window: WindowSnapshot): void {
  object('initialState.window', window)
  if (window.kind === 'calls') {
    if (/^[0-3]*$/.test(text('initialState.window.results', window.results))) return
    throw wrong('initialState.window.results', window.results, 'digits from 0 to 3')
  }
  if (window.kind !== 'duration')
    throw wrong('initialState.window.kind', (window as { kind: unknown }).kind, "'calls' or 'duration'")

  atLeast('initialState.window.width', window.width, 0)
  if (!Array.isArray(window.buckets)) throw wrong('initialState.window.buckets', window.buckets, 'an array')
  window.buckets.forEach((bucket, index) => {
    const option = `initialState.window.buckets[${index}]`
    object(option, bucket)
    integer(`${option}.calls`, bucket.calls, 0, Number.MAX_SAFE_INTEGER)
    integer(`${option}.failures`, bucket.failures, 0, Number.MAX_SAFE_INTEGER)
    integer(`${option}.slow`, bucket.slow, 0, Number.MAX_SAFE_INTEGER)
  })
}
