/*
 * The decisions, and nothing else: no clock, no I/O. `decide(plan, state, happening)` answers what a saga becomes.
 *
 *              done            done at the end
 *   ┌──────► running ───────────────────────────► completed
 *   │           │ final failure or cancel, before the pivot
 *   │           ▼
 *   │      compensating ── nothing left to undo ─► compensated | cancelled
 *   │           │ undo fails for good
 *   │           ▼
 *   └──────── stuck ──────────────────────────────► abandoned
 *    resume     ▲
 *               └── running, after the pivot (or in doubt inside it): never unwound
 *
 * Forward and backward are one loop with a direction. What is undone is decided by the records alone: each step that
 * was applied or may have been, in reverse order of start, once.
 */
import {
  isNonRetryableError,
  isSagaDeadlineError,
  isStepRejectedError,
  isStepTimeoutError,
  SagaCancelledError,
  SagaConflictError,
  SagaDeadlineError,
  type StoredError,
  storeError,
} from './errors.js'
import { fromJson, toJson } from './internal/json.js'
import { type Budget, type Plan, type PlannedStep, RETURNS } from './plan.js'
import type { NewRecord, Progress } from './store.js'

/** What the records say of one step. */
export interface Mark {
  readonly state: 'applied' | 'in-doubt' | 'not-applied' | 'skipped' | 'undone'
  readonly output?: string | undefined
  readonly error?: StoredError | undefined
}

export interface State {
  readonly id: string
  readonly input: string | undefined
  readonly progress: Progress
  readonly marks: ReadonlyMap<string, Mark>
  /** An earlier owner may have begun the step at the cursor, and did not live to say. */
  readonly begunBefore: boolean
}

/** What an operator decides about a stuck saga. */
export type Resume = {
  /** The step that it is stuck at. */
  readonly step: string
  readonly by: string
  readonly reason: string
  /** The `rev` that the operator looked at. */
  readonly rev: number
} & (
  | { readonly do: 'retry' | 'skip' | 'compensate' | 'abandon' }
  | { readonly do: 'complete'; readonly result: unknown }
)

export type Happening =
  /** Claimed by a worker that may be the second one to run the step at the cursor. */
  | { readonly type: 'claimed'; readonly claims: number; readonly overdue: boolean; readonly shape: string }
  | { readonly type: 'announced' }
  | { readonly type: 'done'; readonly output: string | undefined; readonly took: number }
  | { readonly type: 'failed'; readonly error: unknown; readonly took: number }
  /** The deadline passed between two steps. */
  | { readonly type: 'overdue' }
  | { readonly type: 'finish' }
  | { readonly type: 'cancel'; readonly reason: string; readonly mayBeRunning: boolean }
  | { readonly type: 'resume'; readonly decision: Resume }

export type Notice =
  | 'sagaCompensating'
  | 'sagaCompleted'
  | 'sagaCompensated'
  | 'sagaCancelled'
  | 'sagaStuck'
  | 'sagaAbandoned'
  | 'stepRetry'
  | 'stepDone'
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
  readonly notices: readonly Notice[]
}

export type Task =
  | { readonly type: 'do'; readonly step: PlannedStep }
  | { readonly type: 'undo'; readonly step: PlannedStep }
  | { readonly type: 'finish' }
  | { readonly type: 'rest' }

/** Claims without an accepted write in between, after which a saga is taken to be what kills its workers. */
export const CLAIM_LIMIT = 10

/** Of a step that is tried without end, the first failures are recorded, then one in a hundred. */
const RECORDED_FAILURES = 20

export const FRESH: Progress = {
  status: 'running',
  direction: 'forward',
  cursor: 0,
  committed: false,
  attempt: 0,
  delay: 0,
  intent: false,
}

export function isFinished({ status }: Progress): boolean {
  return status === 'completed' || status === 'compensated' || status === 'cancelled' || status === 'abandoned'
}

/** At rest until somebody does something: finished or stuck. */
export function isAtRest(progress: Progress): boolean {
  return progress.status === 'stuck' || isFinished(progress)
}

/** What is to be done now. */
export function next(plan: Plan, { progress }: State): Task {
  if (isAtRest(progress)) return { type: 'rest' }

  const step = plan.steps[progress.cursor]
  if (!step) return { type: 'finish' }
  return { type: progress.direction === 'forward' ? 'do' : 'undo', step }
}

/** Where it is, in the operator's words. */
export function currentStep(plan: Plan, { cursor }: Progress): string {
  return plan.steps[cursor]?.name ?? RETURNS
}

/** The state after a record. */
export function mark(marks: ReadonlyMap<string, Mark>, record: NewRecord): ReadonlyMap<string, Mark> {
  const after = markAfter(record)
  return after ? new Map(marks).set(record.name, after) : marks
}

function markAfter({ kind, outcome, output, error, note }: NewRecord): Mark | undefined {
  if (kind === 'undo') return outcome === 'ok' || outcome === 'skipped' ? { state: 'undone' } : undefined
  if (kind === 'operator' && note?.do !== 'complete' && note?.do !== 'skip' && note?.do !== 'compensate')
    return undefined

  switch (outcome) {
    case 'ok':
      return { state: 'applied', output }
    case 'in_doubt':
      return { state: 'in-doubt', error }
    case 'failed':
      return { state: 'not-applied' }
    case 'skipped':
      return { state: 'skipped' }
    case 'started':
      return undefined
  }
}

/** The results of the steps so far, by name. */
export function resultsOf(plan: Plan, marks: ReadonlyMap<string, Mark>): Readonly<Record<string, unknown>> {
  const results: Record<string, unknown> = Object.create(null)
  for (const { name } of plan.steps) {
    const known = marks.get(name)
    if (known?.state === 'applied') results[name] = fromJson(known.output)
  }
  return Object.freeze(results)
}

/** What the saga becomes; undefined when nothing needs to be written. */
export function decide(plan: Plan, state: State, happening: Happening, random: () => number): Decision | undefined {
  switch (happening.type) {
    case 'claimed':
      return claimed(plan, state, happening)
    case 'announced':
      return announced(plan, state)
    case 'done':
      return done(plan, state, happening)
    case 'failed':
      return failed(plan, state, happening, random)
    case 'overdue':
      return unwind(plan, state, storeError(new SagaDeadlineError(state.id)), state.begunBefore)
    case 'finish':
      return finish(plan, state, undefined, [])
    case 'cancel':
      return cancel(plan, state, happening)
    case 'resume':
      return resume(plan, state, happening.decision)
  }
}

function claimed(plan: Plan, state: State, now: Happening & { type: 'claimed' }): Decision | undefined {
  const { progress } = state
  const step = plan.steps[progress.cursor]
  const begunBefore = now.claims > 1

  if (now.shape !== plan.shape)
    return stuck(
      state,
      `saga '${plan.name}' version ${plan.version} was started with the shape ${now.shape} and is registered with ${plan.shape}: raise the version when the list of steps changes`,
    )
  if (now.claims > CLAIM_LIMIT)
    return stuck(state, `claimed ${now.claims} times without progress: it seems to end the processes that run it`)
  if (progress.direction === 'backward') return undefined

  const inDoubt = begunBefore || progress.intent
  if (progress.cancel !== undefined)
    return unwind(plan, state, storeError(new SagaCancelledError(progress.cancel)), inDoubt)
  if (progress.intent) return stuck(state, `the process ended while '${step?.name}' ran: it may or may not be applied`)
  if (now.overdue && !progress.committed && !(step?.pivot && mayHaveHappened(state, step, begunBefore)))
    return unwind(plan, state, storeError(new SagaDeadlineError(state.id)), inDoubt)
  return undefined
}

function announced(plan: Plan, { progress }: State): Decision {
  return {
    progress: { ...progress, intent: true },
    record: {
      name: currentStep(plan, progress),
      kind: 'do',
      outcome: 'started',
      attempt: progress.attempt + 1,
      took: 0,
    },
    notices: [],
  }
}

function done(plan: Plan, state: State, { output, took }: Happening & { type: 'done' }): Decision {
  const { progress } = state
  const step = plan.steps[progress.cursor] as PlannedStep
  const forward = progress.direction === 'forward'
  const record: NewRecord = {
    name: step.name,
    kind: forward ? 'do' : 'undo',
    outcome: 'ok',
    attempt: progress.attempt + 1,
    took,
    ...(forward && { output }),
  }
  const after: State = { ...state, progress: settled(progress), marks: mark(state.marks, record) }

  if (!forward) return withRecord(backward(plan, after, progress.cursor - 1), record, 'stepUndone')
  if (progress.cancel !== undefined && !step.pivot)
    return withRecord(unwind(plan, after, storeError(new SagaCancelledError(progress.cancel))), record, 'stepDone')

  const committed = progress.committed || step.pivot
  return forwardTo(plan, { ...after, progress: { ...after.progress, committed } }, progress.cursor + 1, record, [
    'stepDone',
  ])
}

function failed(
  plan: Plan,
  state: State,
  { error, took }: Happening & { type: 'failed' },
  random: () => number,
): Decision {
  const { progress } = state
  const step = plan.steps[progress.cursor] as PlannedStep
  const forward = progress.direction === 'forward'
  const attempt = progress.attempt + 1
  const stored = storeError(error)
  const inDoubt = forward && mayBeApplied(state, step, error)
  const record: NewRecord = {
    name: step.name,
    kind: forward ? 'do' : 'undo',
    outcome: inDoubt ? 'in_doubt' : 'failed',
    attempt,
    took,
    error: stored,
  }
  const budget = forward ? step.forward : step.undo
  const failedState: State = {
    ...state,
    progress: { ...progress, attempt, intent: false, problem: stored },
    marks: mark(state.marks, record),
  }

  const cancelled = forward && progress.cancel !== undefined
  const retryIn = cancelled ? undefined : retryDelay(budget, error, progress, random)
  if (retryIn !== undefined) {
    const recorded = attempt <= RECORDED_FAILURES || attempt % 100 === 0
    return {
      progress: { ...failedState.progress, delay: retryIn },
      ...(recorded && { record }),
      retryIn,
      notices: ['stepRetry'],
    }
  }

  if (!forward) return withRecord(stuck(failedState, stored), record, 'stepUndoFailed')
  // When the pivot may have happened, nothing may be undone.
  if (progress.committed || (step.pivot && inDoubt))
    return withRecord(stuck(failedState, stored), record, inDoubt ? 'stepInDoubt' : 'stepFailed')

  const cause = cancelled ? storeError(new SagaCancelledError(progress.cancel as string)) : stored
  return withRecord(unwind(plan, failedState, cause), record, inDoubt ? 'stepInDoubt' : 'stepFailed')
}

/**
 * Whether a step that failed may be applied all the same. Doubt stays: a refusal speaks for its own attempt, and the
 * request of an earlier one may still be on its way. An undo that finds nothing costs little, a missing one does not.
 *
 * The pivot has no undo to clear a doubt, so its author is taken at his word: under the same key, what it throws means
 * no, unless an attempt timed out, whose request may still be running; and StepRejectedError means no even then.
 */
function mayBeApplied({ marks, begunBefore }: State, step: PlannedStep, error: unknown): boolean {
  if (step.transactional || step.inDoubt === 'assume-not-applied') return false

  const rejected = isStepRejectedError(error)
  const doubted = marks.get(step.name)?.state === 'in-doubt'
  return step.pivot ? !rejected && (doubted || isStepTimeoutError(error)) : !rejected || doubted || begunBefore
}

/** The wait before another attempt; undefined when there is to be none. Callbacks that throw give none. */
function retryDelay(budget: Budget, error: unknown, before: Progress, random: () => number): number | undefined {
  const attempt = before.attempt + 1
  if (attempt >= budget.attempts) return undefined
  if (isStepRejectedError(error) || isNonRetryableError(error) || isSagaDeadlineError(error)) return undefined
  try {
    if (!budget.shouldRetry({ ok: false, error }, attempt)) return undefined
    const delay = budget.backoff(attempt - 1, before.delay, random)
    return delay > 0 ? Math.min(delay, 2 ** 31 - 1) : 0
  } catch {
    return undefined
  }
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
  if (cursor < plan.steps.length) return { progress, record, notices }

  return finish(plan, { ...state, progress }, record, notices)
}

function finish(plan: Plan, state: State, record: NewRecord | undefined, notices: readonly Notice[]): Decision {
  try {
    const result = plan.returns({ input: fromJson(state.input), results: resultsOf(plan, state.marks) })
    const progress: Progress = { ...settled(state.progress), status: 'completed' }
    return { progress, record, output: toJson(result), notices: [...notices, 'sagaCompleted'] }
  } catch (error) {
    const after = state.progress.committed ? stuck(state, storeError(error)) : unwind(plan, state, storeError(error))
    return { ...after, record, notices: [...notices, ...after.notices] }
  }
}

/** Turns round: the step at the cursor is undone too when it is, or when `inDoubt` says it may be, applied. */
function unwind(plan: Plan, state: State, cause: StoredError, inDoubt = false): Decision {
  const step = plan.steps[state.progress.cursor]
  const turned: Progress = { ...settled(state.progress), status: 'compensating', direction: 'backward', cause }
  if (!step || !inDoubt || step.transactional || step.inDoubt === 'assume-not-applied')
    return turnedRound(backward(plan, { ...state, progress: turned }, state.progress.cursor))

  const record: NewRecord = {
    name: step.name,
    kind: 'do',
    outcome: 'in_doubt',
    attempt: state.progress.attempt + 1,
    took: 0,
    error: cause,
  }
  const marks = mark(state.marks, record)
  const after = turnedRound(backward(plan, { ...state, progress: turned, marks }, state.progress.cursor))
  return { ...after, record, notices: ['stepInDoubt', ...after.notices] }
}

function turnedRound(decision: Decision): Decision {
  return { ...decision, notices: ['sagaCompensating', ...decision.notices] }
}

/** Back to the nearest step at or below `from` that has something to undo, or to the end of the unwinding. */
function backward(plan: Plan, state: State, from: number): Decision {
  for (let cursor = Math.min(from, plan.steps.length - 1); cursor >= 0; cursor--) {
    const step = plan.steps[cursor] as PlannedStep
    const known = state.marks.get(step.name)?.state
    if (step.compensate && (known === 'applied' || known === 'in-doubt'))
      return { progress: { ...state.progress, status: 'compensating', cursor }, notices: [] }
  }

  const cancelled = state.progress.cause?.code === 'MSX_SAGA_CANCELLED'
  return {
    progress: { ...state.progress, status: cancelled ? 'cancelled' : 'compensated', cursor: 0 },
    notices: [cancelled ? 'sagaCancelled' : 'sagaCompensated'],
  }
}

function stuck({ progress }: State, problem: StoredError | string): Decision {
  const stored = typeof problem === 'string' ? { name: 'Error', message: problem } : problem
  return { progress: { ...progress, status: 'stuck', problem: stored }, notices: ['sagaStuck'] }
}

/** The counters of the step at the cursor, back to nothing. */
function settled(progress: Progress): Progress {
  return { ...progress, attempt: 0, delay: 0, intent: false, problem: undefined }
}

function withRecord(decision: Decision, record: NewRecord, notice: Notice): Decision {
  return { ...decision, record, notices: [notice, ...decision.notices] }
}

/** Whether the step at the cursor may be applied already, without a record that says so. */
function mayHaveHappened({ progress, marks }: State, step: PlannedStep, mayBeRunning: boolean): boolean {
  if (step.transactional) return false
  return mayBeRunning || progress.intent || marks.get(step.name)?.state === 'in-doubt'
}

/** What `cancel` answers. */
export type CancelAnswer = 'compensating' | 'refused-after-pivot' | 'already-finished'

/** The answer to a cancel, without its effect. */
export function cancelAnswer(plan: Plan, state: State, mayBeRunning: boolean): CancelAnswer {
  const { progress } = state
  const step = plan.steps[progress.cursor]

  if (isFinished(progress)) return 'already-finished'
  if (progress.direction === 'backward') return 'compensating'
  if (progress.committed || (step?.pivot && mayHaveHappened(state, step, mayBeRunning))) return 'refused-after-pivot'
  return 'compensating'
}

function cancel(
  plan: Plan,
  state: State,
  { reason, mayBeRunning }: Happening & { type: 'cancel' },
): Decision | undefined {
  const { progress } = state
  if (cancelAnswer(plan, state, mayBeRunning) !== 'compensating') return undefined
  if (progress.direction === 'backward' || progress.cancel !== undefined) return undefined

  // The turn itself waits for the step that may be running: its result is what there is to undo.
  return { progress: { ...progress, status: 'compensating', cancel: reason }, notices: [] }
}

function resume(plan: Plan, state: State, decision: Resume): Decision {
  const { progress } = state
  const name = currentStep(plan, progress)
  const step = plan.steps[progress.cursor]
  const forward = progress.direction === 'forward'
  const refuse = (why: string): never => {
    throw new SagaConflictError(state.id, `saga ${state.id} cannot be resumed with '${decision.do}': ${why}`)
  }

  if (progress.status !== 'stuck') refuse(`it is ${progress.status}, not stuck`)
  if (decision.step !== name) refuse(`it is stuck at '${name}', not at '${decision.step}'`)

  const note = { do: decision.do, by: decision.by, reason: decision.reason }
  const base = { name, kind: 'operator', attempt: progress.attempt, took: 0, note } as const
  const running = { ...settled(progress), status: forward ? 'running' : 'compensating' } as const

  switch (decision.do) {
    case 'retry':
      return { progress: running, record: { ...base, outcome: 'started' }, notices: [] }

    case 'abandon':
      return {
        progress: { ...progress, status: 'abandoned' },
        record: { ...base, outcome: 'skipped' },
        notices: ['sagaAbandoned'],
      }

    case 'compensate': {
      if (!forward) return refuse(`it is being compensated already: 'retry' tries the compensation again`)
      if (progress.committed) return refuse('it is past its pivot, and nothing is undone after that')

      const doubtful = step && !step.transactional && !step.pivot
      const record = { ...base, outcome: doubtful ? 'in_doubt' : 'failed', error: progress.problem } as const
      const after: State = { ...state, progress: running, marks: step ? mark(state.marks, record) : state.marks }
      const cause = progress.problem ?? { name: 'Error', message: decision.reason }
      return { ...unwind(plan, after, cause), record }
    }

    case 'skip':
    case 'complete': {
      if (!step) return decision.do === 'skip' ? refuse('all its steps are done') : completedBy(running, decision, base)
      const complete = forward && decision.do === 'complete'
      const record: NewRecord = forward
        ? { ...base, outcome: complete ? 'ok' : 'skipped', ...(complete && { output: toJson(decision.result) }) }
        : { ...base, kind: 'undo', outcome: 'skipped' }
      const after: State = { ...state, progress: running, marks: mark(state.marks, record) }
      if (!forward) return { ...backward(plan, after, progress.cursor - 1), record }

      const committed = progress.committed || step.pivot
      return forwardTo(plan, { ...after, progress: { ...running, committed } }, progress.cursor + 1, record, [])
    }
  }
}

/** An operator gives the result that `returns` could not. */
function completedBy(
  progress: Progress,
  decision: Resume,
  base: Pick<NewRecord, 'name' | 'kind' | 'attempt' | 'took' | 'note'>,
): Decision {
  const output = decision.do === 'complete' ? toJson(decision.result) : undefined
  return {
    progress: { ...progress, status: 'completed' },
    record: { ...base, outcome: 'ok', output },
    output,
    notices: ['sagaCompleted'],
  }
}
