import { SagaConflictError } from './errors.js'
import { jsonOf } from './internal/json.js'
import { backward, type Decision, mayHaveHappened, onFrom, unwind } from './moves.js'
import type { Plan } from './plan.js'
import { currentStep, isCancelled, isFinished, mark, type State, settled } from './state.js'
import type { NewRecord, Progress } from './store.js'

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

/** What `cancel` answers. */
export type CancelAnswer = 'compensating' | 'refused-after-pivot' | 'already-finished'

/** The answer to a cancel, without its effect. */
export function cancelAnswer(plan: Plan, state: State, mayBeRunning: boolean): CancelAnswer {
  const { progress } = state
  const step = plan.steps[progress.cursor]

  if (isFinished(progress)) return 'already-finished'
  // Twice asked is once answered: what runs meanwhile is no pivot, for none begins after a cancel.
  if (progress.direction === 'backward' || isCancelled(progress)) return 'compensating'
  if (progress.committed || (step?.pivot && mayHaveHappened(state, step, mayBeRunning))) return 'refused-after-pivot'
  return 'compensating'
}

export function cancel(
  plan: Plan,
  state: State,
  { reason, mayBeRunning }: { readonly reason: string; readonly mayBeRunning: boolean },
): Decision | undefined {
  const { progress } = state
  if (cancelAnswer(plan, state, mayBeRunning) !== 'compensating') return undefined
  if (progress.direction === 'backward' || progress.cancel !== undefined) return undefined

  // The turn itself waits for the step that may be running: its result is what there is to undo.
  return { progress: { ...progress, status: 'compensating', cancel: reason }, notices: [] }
}

export function resume(plan: Plan, state: State, decision: Resume): Decision {
  const { progress } = state
  const name = currentStep(plan, progress)
  const step = plan.steps.find((known) => known.name === name)
  const forward = progress.direction === 'forward'
  const refuse = (why: string): never => {
    throw new SagaConflictError(state.id, `saga ${state.id} cannot be resumed with '${decision.do}': ${why}`)
  }

  if (progress.status !== 'stuck') refuse(`it is ${progress.status}, not stuck`)
  if (decision.step !== name) refuse(`it is stuck at '${name}', not at '${decision.step}'`)

  const note = { do: decision.do, by: decision.by, reason: decision.reason }
  const base = { name, kind: 'operator', attempt: progress.attempt, took: 0, note } as const
  const lanes = progress.lanes && { ...progress.lanes, counters: {}, failing: undefined }
  const status = forward ? 'running' : 'compensating'
  const running: Progress = { ...settled(progress), status, lanes: forward ? lanes : progress.lanes }

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

      const doubtful = step?.kind === 'step' && !step.transactional && !step.pivot
      const record = { ...base, outcome: doubtful ? 'in_doubt' : 'failed', error: progress.problem } as const
      const after: State = { ...state, progress: running, marks: step ? mark(state.marks, record, 0) : state.marks }
      const cause = progress.problem ?? { name: 'Error', message: decision.reason }
      return { ...unwind(plan, after, cause), record }
    }

    case 'skip':
    case 'complete': {
      if (!step) return decision.do === 'skip' ? refuse('all its steps are done') : completedBy(running, decision, base)
      const complete = forward && decision.do === 'complete'
      const record: NewRecord = forward
        ? {
            ...base,
            outcome: complete ? 'ok' : 'skipped',
            ...(complete && { output: jsonOf('resume: result', decision.result) }),
          }
        : { ...base, kind: 'undo', outcome: 'skipped' }
      const after: State = { ...state, progress: running, marks: mark(state.marks, record, 0) }
      if (!forward) return { ...backward(plan, after, progress.cursor - 1), record }

      const committed = progress.committed || step.pivot
      return onFrom(plan, { ...after, progress: { ...running, committed } }, step, record, [])
    }
  }
}

/** An operator gives the result that `returns` could not. */
function completedBy(
  progress: Progress,
  decision: Resume,
  base: Pick<NewRecord, 'name' | 'kind' | 'attempt' | 'took' | 'note'>,
): Decision {
  const output = decision.do === 'complete' ? jsonOf('resume: result', decision.result) : undefined
  return {
    progress: { ...progress, status: 'completed' },
    record: { ...base, outcome: 'ok', output },
    output,
    notices: ['sagaCompleted'],
  }
}
