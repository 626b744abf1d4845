/*
 * The decisions, and nothing else: no clock, no I/O. `decide(plan, state, happening)` answers what a saga becomes.
 *
 *              done            done at the end
 *   ┌──────► running ◄──► waiting ──────────────► completed
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
 * was applied or may have been, in reverse order of start, once. The branches of a `parallel` are steps of the list like
 * any others; the cursor stays at the first of them until all are done.
 */
import {
  isNonRetryableError,
  isSagaDeadlineError,
  isStepRejectedError,
  isStepTimeoutError,
  SagaCancelledError,
  SagaDeadlineError,
  type StoredError,
  storeError,
  UnkeptResultError,
} from './errors.js'
import { duration } from './internal/check.js'
import { cancel, type Resume, resume } from './intervene.js'
import {
  backward,
  type Decision,
  finish,
  mayHaveHappened,
  type Notice,
  onFrom,
  stuck,
  stuckIn,
  unwind,
} from './moves.js'
import type { Budget, Group, Plan, PlannedStep } from './plan.js'
import {
  After,
  counterOf,
  isAtRest,
  isCancelled,
  isKnown,
  isTurning,
  isWaiting,
  mark,
  openBranches,
  type State,
  settled,
  stateOf,
  withCounter,
} from './state.js'
import type { NewRecord, Progress } from './store.js'

export type Happening =
  /** Claimed by a worker that may be the second one to run the step at the cursor. */
  | { readonly type: 'claimed'; readonly claims: number; readonly overdue: boolean; readonly shape: string }
  | { readonly type: 'announced'; readonly step?: string }
  /** A step began to wait: for `due` milliseconds, for an event, for a child. */
  | { readonly type: 'begun'; readonly step: string; readonly due?: number | undefined; readonly child?: string }
  /** Nothing to do for `wakeIn` milliseconds, or, when that is undefined, until an event or a child wakes it. */
  | { readonly type: 'parked'; readonly wakeIn: number | undefined }
  | { readonly type: 'skipped'; readonly step: string }
  | { readonly type: 'done'; readonly output: string | undefined; readonly took: number; readonly step?: string }
  | { readonly type: 'failed'; readonly error: unknown; readonly took: number; readonly step?: string }
  /** Nothing runs any more of what is to be unwound: of a group that is to end, of a saga that was cancelled. */
  | { readonly type: 'turned' }
  /** The deadline passed between two steps. */
  | { readonly type: 'overdue' }
  | { readonly type: 'finish' }
  /** The parent of a completed saga takes it back. */
  | { readonly type: 'recalled'; readonly cause: StoredError }
  | { readonly type: 'cancel'; readonly reason: string; readonly mayBeRunning: boolean }
  | { readonly type: 'resume'; readonly decision: Resume }

export type Task =
  | { readonly type: 'do'; readonly step: PlannedStep }
  | { readonly type: 'undo'; readonly step: PlannedStep }
  | { readonly type: 'group'; readonly group: Group; readonly open: readonly PlannedStep[] }
  /** A cancel was accepted: nothing more begins, what is there is looked at anew. */
  | { readonly type: 'turn' }
  | { readonly type: 'finish' }
  | { readonly type: 'rest' }

/** Claims without an accepted write in between, after which a saga is taken to be what kills its workers. */
export const CLAIM_LIMIT = 10

/** Of a step that is tried without end, the first failures are recorded, then one in a hundred. */
const RECORDED_FAILURES = 20

const DONE: readonly Notice[] = ['stepDone']

/** What is to be done now. */
export function next(plan: Plan, state: State): Task {
  const { progress } = state
  if (isAtRest(progress)) return { type: 'rest' }

  const step = plan.steps[progress.cursor]
  if (!step) return { type: 'finish' }
  if (progress.direction === 'backward') return { type: 'undo', step }
  // Branches end by themselves, and a child is told and waited for.
  if (isCancelled(progress) && !step.group && !(step.kind === 'child' && isWaiting(state, step)))
    return { type: 'turn' }
  return step.group
    ? { type: 'group', group: step.group, open: openBranches(plan, state, step.group) }
    : { type: 'do', step }
}

/** What the saga becomes; undefined when nothing needs to be written. */
export function decide(plan: Plan, state: State, happening: Happening, random: () => number): Decision | undefined {
  switch (happening.type) {
    case 'claimed':
      return claimed(plan, state, happening)
    case 'announced':
      return announced(plan, state, stepAt(plan, state, happening.step))
    case 'begun':
      return begun(stepAt(plan, state, happening.step), state, happening)
    case 'parked':
      return parked(state, happening.wakeIn)
    case 'skipped':
      return skipped(plan, state, stepAt(plan, state, happening.step))
    case 'done':
      return done(plan, state, happening)
    case 'failed':
      return failed(plan, state, happening, random)
    case 'turned':
      return turned(plan, state)
    case 'overdue':
      return unwind(plan, state, storeError(new SagaDeadlineError(state.id)), state.begunBefore)
    case 'finish':
      return isCancelled(state.progress) ? turned(plan, state) : finish(plan, state, undefined, [])
    case 'recalled':
      return recalled(plan, state, happening.cause)
    case 'cancel':
      return cancel(plan, state, happening)
    case 'resume':
      return resume(plan, state, happening.decision)
  }
}

/** The branch of that name, or the step at the cursor. */
function stepAt(plan: Plan, { progress }: State, name: string | undefined): PlannedStep {
  const step = name === undefined ? plan.steps[progress.cursor] : plan.steps.find((known) => known.name === name)
  if (!step) throw new Error(`saga '${plan.name}' has no step '${name ?? progress.cursor}'`)
  return step
}

function claimed(plan: Plan, before: State, now: Happening & { type: 'claimed' }): Decision | undefined {
  const begunBefore = now.claims > 1
  const state = begunBefore ? doubted(plan, before) : before
  const { progress } = state
  const step = plan.steps[progress.cursor]

  if (!isKnown(progress))
    return stuck(state, `its status is '${progress.status}', which only a newer version of @msx/saga knows`)
  if (now.shape !== plan.shape)
    return stuck(
      state,
      `saga '${plan.name}' version ${plan.version} was started with the shape ${now.shape} and is registered with ${plan.shape}: raise the version when the list of steps changes`,
    )
  if (progress.cursor > plan.steps.length)
    return stuck(
      state,
      `it is at step ${progress.cursor + 1} of ${plan.steps.length}: its row was changed by somebody else`,
    )
  if (now.claims > CLAIM_LIMIT)
    return stuck(state, `claimed ${now.claims} times without progress: it seems to end the processes that run it`)
  if (progress.direction === 'backward') return undefined
  if (step?.group) return claimedInGroup(state, state === before)
  // The child is told, and waited for: what it has done is what there is to undo.
  if (step?.kind === 'child' && isWaiting(state, step)) return undefined

  const inDoubt = begunBefore || progress.intent
  if (isCancelled(progress)) return unwind(plan, state, storeError(new SagaCancelledError(progress.cancel)), inDoubt)
  if (progress.intent) return stuck(state, `the process ended while '${step?.name}' ran: it may or may not be applied`)
  if (now.overdue && !progress.committed && !(step?.pivot && mayHaveHappened(state, step, begunBefore)))
    return unwind(plan, state, storeError(new SagaDeadlineError(state.id)), inDoubt)
  return undefined
}

/** An earlier owner may have begun any branch that is not done. */
function doubted(plan: Plan, state: State): State {
  const { progress } = state
  const group = progress.direction === 'forward' ? plan.steps[progress.cursor]?.group : undefined
  if (!group) return state

  const doubt = openBranches(plan, state, group)
    .filter(({ kind, transactional, inDoubt }) => kind === 'step' && !transactional && inDoubt === 'compensate')
    .map(({ name }) => name)
  return { ...state, progress: { ...progress, lanes: { counters: {}, ...progress.lanes, doubt } } }
}

function claimedInGroup(state: State, isKnown: boolean): Decision | undefined {
  const { progress } = state
  const announced = Object.entries(progress.lanes?.counters ?? {}).find(([, { intent }]) => intent)?.[0]
  if (announced !== undefined && !isTurning(progress)) {
    const error = storeError(new Error(`the process ended while '${announced}' ran: it may or may not be applied`))
    return stuckIn(state, announced, error)
  }
  return isKnown ? undefined : { progress, notices: [] }
}

function announced(plan: Plan, state: State, step: PlannedStep): Decision {
  const { progress } = state
  if (isCancelled(progress) && !step.group) return turned(plan, state)

  const counter = counterOf(progress, step)
  const record = { name: step.name, kind: 'do', outcome: 'started', attempt: counter.attempt + 1, took: 0 } as const
  return { progress: withCounter(progress, step, { ...counter, intent: true }), record, notices: [] }
}

function begun(step: PlannedStep, { progress }: State, { due, child }: Happening & { type: 'begun' }): Decision {
  const backward = progress.direction === 'backward'
  const record: NewRecord = {
    name: step.name,
    kind: backward ? 'undo' : kindOf(step),
    outcome: 'started',
    attempt: counterOf(progress, step).attempt + 1,
    took: 0,
    due,
    child,
  }
  if (step.group && !backward) return { progress, record, notices: [] }
  return { ...parked({ progress }, due), record }
}

function parked({ progress }: Pick<State, 'progress'>, wakeIn: number | undefined): Decision {
  const status = progress.status === 'running' ? 'waiting' : progress.status
  return { progress: { ...progress, status }, park: wakeIn ?? Infinity, notices: ['sagaWaiting'] }
}

function kindOf({ kind }: PlannedStep): NewRecord['kind'] {
  return kind === 'step' ? 'do' : kind
}

function skipped(plan: Plan, state: State, step: PlannedStep): Decision {
  const record: NewRecord = { name: step.name, kind: kindOf(step), outcome: 'skipped', attempt: 1, took: 0 }
  const after: State = {
    ...state,
    progress: settled(state.progress, step),
    marks: mark(state.marks, record, 0),
  }
  if (isCancelled(state.progress) && !step.group) return withRecord(turned(plan, after), record, 'stepSkipped')
  return onFrom(plan, after, step, record, ['stepSkipped'])
}

function done(plan: Plan, state: State, { output, took, step: name }: Happening & { type: 'done' }): Decision {
  const { progress } = state
  const step = stepAt(plan, state, name)
  const forward = progress.direction === 'forward'
  const record: NewRecord = {
    name: step.name,
    kind: forward ? kindOf(step) : 'undo',
    outcome: 'ok',
    attempt: counterOf(progress, step).attempt + 1,
    output: forward ? output : undefined,
    took,
  }
  if (
    forward &&
    !step.group &&
    progress.cancel === undefined &&
    (progress.cursor + 1 < plan.steps.length || plan.returns)
  ) {
    // Field by field, as everywhere on the way of a plain step: a spread costs several times as much.
    const on: Progress = {
      status: 'running',
      direction: 'forward',
      cursor: progress.cursor + 1,
      committed: progress.committed || step.pivot,
      attempt: 0,
      delay: 0,
      intent: false,
      cause: progress.cause,
      lanes: progress.lanes,
    }
    if (on.cursor < plan.steps.length) return { progress: on, record, notices: DONE }
    return finish(plan, new After(state, on, record), record, DONE)
  }

  const after: State = { ...state, progress: settled(progress, step), marks: mark(state.marks, record, 0) }
  if (!forward) return withRecord(backward(plan, after, progress.cursor - 1), record, 'stepUndone')
  if (isCancelled(progress) && !step.pivot && !step.group)
    return withRecord(unwind(plan, after, storeError(new SagaCancelledError(progress.cancel))), record, 'stepDone')

  const committed = progress.committed || step.pivot
  return onFrom(plan, { ...after, progress: { ...after.progress, committed } }, step, record, ['stepDone'])
}

function failed(
  plan: Plan,
  state: State,
  { error, took, step: name }: Happening & { type: 'failed' },
  random: () => number,
): Decision {
  const { progress } = state
  const step = stepAt(plan, state, name)
  const forward = progress.direction === 'forward'
  const before = counterOf(progress, step)
  const attempt = before.attempt + 1
  const inDoubt = forward && mayBeApplied(state, step, error)
  const ending = forward && (step.group ? isTurning(progress) : isCancelled(progress))
  const again = ending ? undefined : retryDelay(step, forward ? step.forward : step.undo, error, before, random)
  const retryIn = typeof again === 'number' ? again : undefined
  const stored = storeError(again instanceof Error ? again : error)
  const record: NewRecord = {
    name: step.name,
    kind: forward ? kindOf(step) : 'undo',
    outcome: inDoubt ? 'in_doubt' : 'failed',
    attempt,
    took,
    error: stored,
  }
  const counted = withCounter(progress, step, { attempt, delay: before.delay, intent: false })
  const failedState: State = {
    ...state,
    progress: { ...counted, problem: stored },
    marks: mark(state.marks, record, 0),
  }

  if (retryIn !== undefined) {
    // A doubt is written down when it comes up: the attempts after it have to know.
    const isNews = inDoubt && stateOf(state, step) !== 'in-doubt'
    const recorded = isNews || attempt <= RECORDED_FAILURES || attempt % 100 === 0
    return {
      progress: withCounter(failedState.progress, step, { attempt, delay: retryIn, intent: false }),
      ...(recorded && { record }),
      retryIn,
      ...(!(step.group && forward) && { park: retryIn }),
      notices: ['stepRetry'],
    }
  }

  const notice = forward ? (inDoubt ? 'stepInDoubt' : 'stepFailed') : 'stepUndoFailed'
  if (!forward) return withRecord(stuck(failedState, stored), record, notice)
  if (step.group) {
    const lanes = { ...settled(progress, step).lanes, counters: settled(progress, step).lanes?.counters ?? {} }
    const failing = lanes.failing ?? { step: step.name, error: stored }
    return { progress: { ...failedState.progress, lanes: { ...lanes, failing } }, record, notices: [notice] }
  }
  // When the pivot may have happened, nothing may be undone.
  if (progress.committed || (step.pivot && inDoubt)) return withRecord(stuck(failedState, stored), record, notice)

  const cause = ending ? storeError(new SagaCancelledError(progress.cancel as string)) : stored
  return withRecord(unwind(plan, failedState, cause), record, notice)
}

function turned(plan: Plan, state: State): Decision {
  const { progress } = state
  const failing = progress.lanes?.failing
  if (progress.committed && failing) return stuckIn(state, failing.step, failing.error)

  const cancelled = isCancelled(progress) && storeError(new SagaCancelledError(progress.cancel))
  return unwind(plan, state, cancelled || (failing as NonNullable<typeof failing>).error)
}

/**
 * Whether a step that failed may be applied all the same. Doubt stays: a refusal speaks for its own attempt, and the
 * request of an earlier one may still be on its way. An undo that finds nothing costs little, a missing one does not.
 *
 * The pivot has no undo to clear a doubt, so its author is taken at his word: under the same key, what it throws means
 * no, unless another request may still be running: that of an attempt that timed out, or of an earlier owner, who was
 * perhaps only stopped. StepRejectedError means no even then. And when it has thrown nothing, only its result is no good,
 * it has happened.
 */
function mayBeApplied(state: State, step: PlannedStep, error: unknown): boolean {
  if (step.kind !== 'step' || step.transactional || step.inDoubt === 'assume-not-applied') return false

  const rejected = isStepRejectedError(error)
  const doubted = stateOf(state, step) === 'in-doubt'
  const begunBefore = state.begunBefore && !step.group
  const mayComeStill = doubted || begunBefore
  if (!step.pivot) return !rejected || mayComeStill
  return !rejected && (mayComeStill || isStepTimeoutError(error) || error instanceof UnkeptResultError)
}

/**
 * The wait before another attempt; undefined when there is to be none. Nor is there when a callback throws or the back-off
 * gives no time: then the step fails with that, and its own error is the cause.
 */
function retryDelay(
  { name }: PlannedStep,
  budget: Budget,
  error: unknown,
  before: Pick<Progress, 'attempt' | 'delay'>,
  random: () => number,
): number | Error | undefined {
  const attempt = before.attempt + 1
  if (attempt >= budget.attempts) return undefined
  if (isStepRejectedError(error) || isNonRetryableError(error) || isSagaDeadlineError(error)) return undefined
  try {
    if (!budget.shouldRetry({ ok: false, error }, attempt)) return undefined
    return duration('what backoff returns', budget.backoff(attempt - 1, before.delay, random), Number.NaN)
  } catch (mistake) {
    const why = storeError(mistake).message
    return new Error(`step '${name}' failed, and so did what decides on another attempt: ${why}`, { cause: error })
  }
}

function recalled(plan: Plan, state: State, cause: StoredError): Decision | undefined {
  const { status, committed } = state.progress
  if (status !== 'completed' || committed) return undefined

  return unwind(plan, { ...state, progress: { ...state.progress, cursor: plan.steps.length } }, cause)
}

function withRecord(decision: Decision, record: NewRecord, notice: Notice): Decision {
  return { ...decision, record, notices: [notice, ...decision.notices] }
}
