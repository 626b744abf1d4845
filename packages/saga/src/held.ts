import type { Happening } from './decide.js'
import { restoreError } from './errors.js'
import { type Emit, isStepNotice } from './events.js'
import type { Timers } from './internal/timers.js'
import type { Decision } from './moves.js'
import { type Mark, markInto, type State } from './state.js'
import type { Guard, Progress, SagaRow, Transition } from './store.js'

/** A saga as this process knows it. */
export interface Held {
  readonly row: { -readonly [K in keyof SagaRow]: SagaRow[K] }
  readonly state: { -readonly [K in keyof State]: State[K] }
  /** When the row was read, on the engine's clock. */
  readonly readAt: number
  /** The deadline on the engine's clock. */
  readonly deadline: number | undefined
}

/** Takes the row over: `advance` changes it. */
export function hold(row: SagaRow, timers: Timers): Held {
  const marks = new Map<string, Mark>()
  for (const record of row.records) markInto(marks, record, record.at)

  const readAt = timers.now()
  const state: State = { id: row.id, input: row.input, progress: row.progress, marks, begunBefore: row.claims > 1 }
  return { row, state, readAt, deadline: row.deadlineIn === undefined ? undefined : readAt + row.deadlineIn }
}

/** The store's clock, as far as it can be known here: epoch milliseconds. */
export function storeTime({ row, readAt }: Held, timers: Timers): number {
  return row.now + timers.now() - readAt
}

/** What remains of the deadline, in milliseconds; undefined when there is none, or none that still counts. */
export function remaining({ deadline }: Held, progress: Progress, timers: Timers): number | undefined {
  if (deadline === undefined || progress.committed || progress.direction === 'backward') return undefined
  return deadline - timers.now()
}

/** Brings what is known of a saga to where it is after an accepted write. */
export function advance(
  held: Held,
  { record, progress, token, claims, keep, output }: Transition,
  timers: Timers,
): void {
  const { row, state } = held
  if (record) markInto(state.marks as Map<string, Mark>, record, storeTime(held, timers))
  row.rev++
  row.token = token
  row.claims = claims
  if (!keep) row.worker = undefined
  row.output = output ?? row.output
  row.progress = progress
  state.progress = progress
  state.begunBefore = claims > 1
}

export function guardOf({ row }: Held): Guard {
  return { id: row.id, fence: row.fence, rev: row.rev }
}

/** How a saga looks to those who decide on it anew. */
export function lookAgain({ row }: Held): Happening {
  return { type: 'claimed', claims: row.claims, overdue: (row.deadlineIn ?? 1) <= 0, shape: row.shape }
}

const NONE: Reach = {}

type Reach = Pick<Transition, 'unwait' | 'parent' | 'lock'>

/** What a transition has to tell the store besides: whom to wake, what to release. */
export function sideEffects(held: Held, { progress }: Decision, finished: boolean): Reach {
  const { row, state } = held
  if (!finished && progress.status === 'running') return NONE

  const leaves =
    finished ||
    progress.status === 'stuck' ||
    (progress.direction === 'backward' && state.progress.direction === 'forward')
  let waiting = false
  if (leaves) for (const known of state.marks.values()) waiting ||= known.state === 'waiting'
  if (!waiting && (!finished || (row.parent === undefined && row.lock === undefined))) return NONE

  return {
    unwait: waiting || undefined,
    parent: finished ? row.parent : undefined,
    lock: finished ? row.lock : undefined,
  }
}

/**
 * Whether the store accepted this write. Its token is there until the next write, which under the same fence can only be
 * a cancel, and a cancel leaves no record: so a record of the rev that the write would have made tells as well.
 */
export function isIn(row: SagaRow, { fence, rev, token, record }: Transition): boolean {
  if (row.fence !== fence) return false
  if (row.token === token) return true

  const made = row.records.find(({ seq }) => seq === rev + 1)
  return (
    made !== undefined &&
    made.name === record?.name &&
    made.kind === record.kind &&
    made.outcome === record.outcome &&
    made.attempt === record.attempt
  )
}

export function emitNotices(emit: Emit, { row }: Held, { progress, record, notices, retryIn }: Decision): void {
  for (const notice of notices) {
    if (!emit.wanted(notice)) continue
    if (isStepNotice(notice)) {
      const stored = record?.error ?? progress.problem
      emit(notice, {
        sagaId: row.id,
        name: row.name,
        step: record?.name ?? '',
        attempt: record?.attempt ?? progress.attempt,
        took: record?.took ?? 0,
        ...(stored && { error: restoreError(stored) }),
        ...(retryIn !== undefined && { delay: retryIn }),
      })
    } else {
      const stored = notice === 'sagaStuck' ? progress.problem : progress.cause
      emit(notice, {
        sagaId: row.id,
        name: row.name,
        status: progress.status,
        ...(stored && { error: restoreError(stored) }),
      })
    }
  }
}
