/* The moves that a saga makes, whoever decides on them: on to the next step, to the end, back, to rest. */
import { type StoredError, storeError } from './errors.js'
import { fromJson, jsonOf } from './internal/json.js'
import type { Plan, PlannedStep } from './plan.js'
import { isTurning, mark, openBranches, resultsOf, type State, settled, stateOf } from './state.js'
import type { NewRecord, Progress } from './store.js'

export type Notice =
  | 'sagaWaiting'
  | 'sagaCompensating'
  | 'sagaCompleted'
  | 'sagaCompensated'
  | 'sagaCancelled'
  | 'sagaStuck'
  | 'sagaAbandoned'
  | 'stepRetry'
  | 'stepDone'
  | 'stepSkipped'
  | 'stepFailed'
  | 'stepInDoubt'
  | 'stepUndone'
  | 'stepUndoFailed'

export interface Decision {
  readonly progress: Progress
  readonly record?: NewRecord | undefined
  readonly output?: string | undefined
  /** Milliseconds to wait before the same step is tried again. */
  readonly retryIn?: number | undefined
  /** It is nobody's until then: milliseconds, Infinity for until it is woken. */
  readonly park?: number | undefined
  readonly notices: readonly Notice[]
}

/** What comes after a step that is settled. */
export function onFrom(
  plan: Plan,
  state: State,
  { group }: PlannedStep,
  record: NewRecord,
  notices: readonly Notice[],
): Decision {
  const { progress } = state
  if (!group) return forwardTo(plan, state, progress.cursor + 1, record, notices)
  if (isTurning(progress) || openBranches(plan, state, group).length > 0) return { progress, record, notices }
  return forwardTo(plan, { ...state, progress: { ...progress, lanes: undefined } }, group.end, record, notices)
}

/** On to the step at `cursor`, or to the end. */
function forwardTo(
  plan: Plan,
  state: State,
  cursor: number,
  record: NewRecord | undefined,
  notices: readonly Notice[],
): Decision {
  const progress: Progress = { ...state.progress, status: 'running', direction: 'forward', cursor }
  if (cursor < plan.steps.length || !plan.returns) return { progress, record, notices }

  return finish(plan, { ...state, progress }, record, notices)
}

/** What `returns` is given, parsed when it is read. */
class Ending {
  readonly #plan: Plan
  readonly #state: State
  #results: ReturnType<typeof resultsOf> | undefined

  constructor(plan: Plan, state: State) {
    this.#plan = plan
    this.#state = state
  }

  get input(): unknown {
    return fromJson(this.#state.input)
  }

  get results(): Readonly<Record<string, unknown>> {
    this.#results ??= resultsOf(this.#plan, this.#state.marks)
    return this.#results
  }
}

export function finish(plan: Plan, before: State, record: NewRecord | undefined, notices: readonly Notice[]): Decision {
  try {
    const result = plan.returns?.(new Ending(plan, before))
    const { direction, cursor, committed, cause, cancel, lanes } = before.progress
    const progress: Progress = {
      status: 'completed',
      direction,
      cursor,
      committed,
      attempt: 0,
      delay: 0,
      intent: false,
      cause,
      cancel,
      lanes,
    }
    return {
      progress,
      record,
      output: jsonOf('the result of the saga', result),
      notices: [...notices, 'sagaCompleted'],
    }
  } catch (error) {
    const { id, input, marks, begunBefore } = before
    const state: State = { id, input, marks, begunBefore, progress: before.progress }
    const after = state.progress.committed ? stuck(state, storeError(error)) : unwind(plan, state, storeError(error))
    return { ...after, record, notices: [...notices, ...after.notices] }
  }
}

/** Turns round: the step at the cursor is undone too when it is, or when `inDoubt` says it may be, applied. */
export function unwind(plan: Plan, state: State, cause: StoredError, inDoubt = false): Decision {
  const step = plan.steps[state.progress.cursor]
  const from = step?.group ? step.group.end - 1 : state.progress.cursor
  const progress: Progress = { ...settled(state.progress), status: 'compensating', direction: 'backward', cause }
  const hidden = inDoubt && step?.kind === 'step' && !step.group && !step.transactional
  if (!hidden || step.inDoubt === 'assume-not-applied') return turnedRound(backward(plan, { ...state, progress }, from))

  const record: NewRecord = {
    name: step.name,
    kind: 'do',
    outcome: 'in_doubt',
    attempt: state.progress.attempt + 1,
    took: 0,
    error: cause,
  }
  const marks = mark(state.marks, record, 0)
  const after = turnedRound(backward(plan, { ...state, progress, marks }, from))
  return { ...after, record, notices: ['stepInDoubt', ...after.notices] }
}

function turnedRound(decision: Decision): Decision {
  return { ...decision, notices: ['sagaCompensating', ...decision.notices] }
}

/** Back to the nearest step at or below `from` that has something to undo, or to the end of the unwinding. */
export function backward(plan: Plan, state: State, from: number): Decision {
  for (let cursor = Math.min(from, plan.steps.length - 1); cursor >= 0; cursor--) {
    const step = plan.steps[cursor] as PlannedStep
    const known = stateOf(state, step)
    if (step.compensate && (known === 'applied' || known === 'in-doubt'))
      return { progress: { ...state.progress, status: 'compensating', cursor }, notices: [] }
  }

  const cancelled = state.progress.cause?.code === 'MSX_SAGA_CANCELLED'
  return {
    progress: { ...state.progress, status: cancelled ? 'cancelled' : 'compensated', cursor: 0, lanes: undefined },
    notices: [cancelled ? 'sagaCancelled' : 'sagaCompensated'],
  }
}

export function stuck({ progress }: State, problem: StoredError | string): Decision {
  const stored = typeof problem === 'string' ? { name: 'Error', message: problem } : problem
  return { progress: { ...progress, status: 'stuck', problem: stored }, notices: ['sagaStuck'] }
}

export function stuckIn(state: State, step: string, error: StoredError): Decision {
  const lanes = { counters: {}, ...state.progress.lanes, failing: { step, error } }
  return stuck({ ...state, progress: { ...state.progress, lanes } }, error)
}

/** Whether the step at the cursor may be applied already, without a record that says so. */
export function mayHaveHappened({ progress, marks }: State, step: PlannedStep, mayBeRunning: boolean): boolean {
  if (step.transactional) return false
  return mayBeRunning || progress.intent || marks.get(step.name)?.state === 'in-doubt'
}
