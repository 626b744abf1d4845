import { exponential } from '@msx/retry'
import { type Limit, runAttempt } from './attempt.js'
import type { Committer } from './committer.js'
import {
  type Decision,
  decide,
  type Happening,
  isAtRest,
  isFinished,
  type Mark,
  mark,
  next,
  resultsOf,
  type State,
} from './decide.js'
import {
  LeaseLostError,
  NonRetryableError,
  restoreError,
  SagaCancelledError,
  SagaDeadlineError,
  StepTimeoutError,
} from './errors.js'
import { type Emit, isStepNotice } from './events.js'
import { fromJson, toJson } from './internal/json.js'
import { Scope } from './internal/scope.js'
import type { Timers } from './internal/timers.js'
import type { Plan, PlannedStep } from './plan.js'
import type { CompensateContext, StepContext, StepOutcome } from './step.js'
import type { Progress, SagaRow, Store, Transition } from './store.js'

export interface RunnerParts {
  readonly store: Store<unknown>
  readonly committer: Committer
  readonly timers: Timers
  readonly random: () => number
  readonly emit: Emit
  /** True once the engine wants its sagas back at the next checkpoint. */
  readonly isClosing: () => boolean
  /** Told after each accepted write that ends a run. */
  readonly onRelease: (saga: Held, wakeIn: number | undefined) => void
}

/** A saga as this process knows it. */
export interface Held {
  readonly row: SagaRow
  readonly state: State
  /** The deadline on the engine's clock. */
  readonly deadline: number | undefined
}

interface Written {
  readonly transition: Transition
  readonly decision: Decision
}

/** A step that lives has timed out by itself before the database loses patience with its transaction. Milliseconds. */
const IDLE_SLACK = 5_000
const storeBackoff = exponential({ base: 50, max: 2_000 })

export function hold(row: SagaRow, timers: Timers): Held {
  const marks = row.records.reduce<ReadonlyMap<string, Mark>>((before, record) => mark(before, record), new Map())
  const state: State = { id: row.id, input: row.input, progress: row.progress, marks, begunBefore: row.claims > 1 }
  return { row, state, deadline: row.deadlineIn === undefined ? undefined : timers.now() + row.deadlineIn }
}

/** What remains of the deadline, in milliseconds; undefined when there is none, or none that still counts. */
function remaining({ deadline }: Held, progress: Progress, timers: Timers): number | undefined {
  if (deadline === undefined || progress.committed || progress.direction === 'backward') return undefined
  return deadline - timers.now()
}

/** What is known of a saga after an accepted write. */
export function advanced(held: Held, transition: Transition): Held {
  const { record, progress } = transition
  const marks = record ? mark(held.state.marks, record) : held.state.marks
  return {
    ...held,
    row: {
      ...held.row,
      rev: held.row.rev + 1,
      token: transition.token,
      claims: transition.claims,
      worker: transition.keep ? held.row.worker : undefined,
      output: transition.output ?? held.row.output,
      progress,
    },
    state: { ...held.state, progress, marks, begunBefore: transition.claims > 1 },
  }
}

export function emitNotices(emit: Emit, { row }: Held, { progress, record, notices, retryIn }: Decision): void {
  for (const notice of notices) {
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

/**
 * Runs one owned saga until it rests, waits for a retry, is lost, or the engine closes. `owner` is aborted when the
 * worker no longer owns it; `cancelled` asks the running step to hurry up.
 */
export class Run {
  readonly id: string
  readonly owner: Scope = new Scope()
  readonly #plan: Plan
  readonly #parts: RunnerParts
  #step: Scope | undefined
  #held: Held
  /** Writes that the store may have accepted or may still accept: their answers were lost. */
  #unanswered: Written[] = []

  constructor(parts: RunnerParts, plan: Plan, row: SagaRow) {
    this.id = row.id
    this.#parts = parts
    this.#plan = plan
    this.#held = hold(row, parts.timers)
  }

  /** Tells the running step that nobody wants it any more; what it answers is still recorded. */
  hurry(reason: string): void {
    if (this.#held.state.progress.direction === 'forward') this.#step?.abort(new SagaCancelledError(reason))
  }

  async go(): Promise<void> {
    const { row } = this.#held
    const overdue = row.deadlineIn !== undefined && row.deadlineIn <= 0

    try {
      let owned = await this.#write({ type: 'claimed', claims: row.claims, overdue, shape: row.shape })
      while (owned && !this.owner.aborted && !this.#parts.isClosing()) owned = await this.#advance()
    } catch (error) {
      if (!this.owner.aborted) throw error
    }
  }

  /** One step, one checkpoint. Answers whether the saga is still ours to run. */
  async #advance(): Promise<boolean> {
    const task = next(this.#plan, this.#held.state)
    if (task.type === 'rest') return false
    if (task.type === 'finish') return this.#write({ type: 'finish' })

    const { progress } = this.#held.state
    const left = remaining(this.#held, progress, this.#parts.timers)
    if (left !== undefined && left <= 0 && !task.step.pivot) return this.#write({ type: 'overdue' })
    if (task.type === 'do' && task.step.intent && !task.step.transactional && !progress.intent) {
      if (!(await this.#write({ type: 'announced' }))) return false
    }

    this.#parts.emit('stepStarted', {
      sagaId: this.id,
      name: this.#plan.name,
      step: task.step.name,
      attempt: progress.attempt + 1,
      direction: progress.direction,
    })
    return task.step.transactional ? this.#doInTransaction(task.step) : this.#do(task.step)
  }

  async #do(step: PlannedStep): Promise<boolean> {
    const began = this.#parts.timers.now()
    const took = (): number => this.#parts.timers.now() - began

    let happening: Happening
    try {
      const output = await this.#attempt(step, undefined)
      happening = { type: 'done', output, took: took() }
    } catch (error) {
      if (this.owner.aborted) return false
      happening = { type: 'failed', error, took: took() }
    }
    return this.#write(happening)
  }

  /** The step and its checkpoint in one transaction: a failed attempt leaves nothing behind but its own record. */
  async #doInTransaction(step: PlannedStep): Promise<boolean> {
    const { store, timers } = this.#parts
    const budget = this.#held.state.progress.direction === 'forward' ? step.forward : step.undo

    for (let failures = 0; ; failures++) {
      const held = this.#held
      const began = timers.now()
      let entered = false
      let settled: Written | undefined

      try {
        const work = async (tx: unknown): Promise<Transition> => {
          entered = true
          const output = await this.#attempt(step, tx)
          const done = this.#transition(held, { type: 'done', output, took: timers.now() - began }) as Written
          settled = done
          return done.transition
        }
        const accepted = await store.commitWith(guardOf(held), work, budget.timeout + IDLE_SLACK)
        if (accepted && settled) return this.#accepted(settled)
        // Refused before it began: lost, or changed by a cancel. `claimed` looks at what is there now.
        const found = await this.#reload()
        return found === 'changed' ? this.#write(this.#lookAgain()) : found === 'written'
      } catch (error) {
        if (this.owner.aborted) return false
        if (settled) {
          this.#unanswered.push(settled)
          const found = await this.#reload()
          if (found !== 'changed') return found === 'written'
        }
        if (entered) return this.#write({ type: 'failed', error, took: timers.now() - began })
        await this.#pause('commitWith', error, failures)
      }
    }
  }

  #attempt(step: PlannedStep, tx: unknown): Promise<string | undefined> {
    const { timers } = this.#parts
    const { state } = this.#held
    const forward = state.progress.direction === 'forward'
    const timeout = (forward ? step.forward : step.undo).timeout
    const limits: Limit[] = [{ ms: timeout, reason: () => new StepTimeoutError(step.name, timeout) }]
    const left = remaining(this.#held, state.progress, timers)
    if (left !== undefined && !step.pivot) limits.push({ ms: left, reason: () => new SagaDeadlineError(this.id) })

    return runAttempt(timers, this.owner, limits, async (scope) => {
      this.#step = scope
      try {
        if (!forward) {
          await step.compensate?.(tx, this.#compensateContext(step, scope))
          return undefined
        }
        return storable(step, await step.run(tx, this.#context(step, scope, 'do')))
      } finally {
        if (this.#step === scope) this.#step = undefined
      }
    })
  }

  #context(step: PlannedStep, scope: Scope, kind: 'do' | 'undo'): StepContext<unknown, unknown> {
    const { state } = this.#held
    return {
      sagaId: this.id,
      input: fromJson(state.input) as never,
      results: resultsOf(this.#plan, state.marks),
      attempt: state.progress.attempt + 1,
      key: `${this.id}:${step.name}:${kind}`,
      get signal() {
        return scope.signal
      },
    }
  }

  #compensateContext(step: PlannedStep, scope: Scope): CompensateContext<unknown, unknown, unknown> {
    const { marks, progress } = this.#held.state
    const known = marks.get(step.name)
    const doubt = known?.error ?? { name: 'Error', message: 'the process ended while the step ran' }
    const outcome: StepOutcome<unknown> =
      known?.state === 'applied'
        ? { known: true, result: fromJson(known.output) as never }
        : { known: false, error: restoreError(doubt) }

    const context = this.#context(step, scope, 'undo')
    const own = {
      outcome,
      forwardKey: `${this.id}:${step.name}:do`,
      cause: progress.cause && restoreError(progress.cause),
    }
    return Object.defineProperties(own, Object.getOwnPropertyDescriptors(context)) as typeof own & typeof context
  }

  /** Decides and writes until the store has accepted it. Answers whether the saga is still ours to run. */
  async #write(happening: Happening): Promise<boolean> {
    for (;;) {
      const settled = this.#transition(this.#held, happening)
      if (!settled) return true
      if (await this.#commit(settled)) return this.#accepted(settled)

      const found = await this.#reload()
      if (found !== 'changed') return found === 'written'
    }
  }

  #transition(held: Held, happening: Happening): Written | undefined {
    const { timers, random, isClosing } = this.#parts
    const decision = decide(this.#plan, held.state, happening, random)
    if (!decision) return undefined

    const { progress, retryIn } = decision
    const resting = isAtRest(progress)
    const left = remaining(held, progress, timers)
    const due = retryIn === undefined ? 0 : Math.min(retryIn, Math.max(0, left ?? retryIn))
    const keep = !resting && retryIn === undefined && !isClosing()
    const transition: Transition = {
      ...guardOf(held),
      token: crypto.randomUUID(),
      keep,
      wakeIn: resting || keep ? undefined : due,
      claims: keep ? 1 : 0,
      progress,
      output: decision.output,
      finished: isFinished(progress),
      record: decision.record,
    }
    return { transition, decision }
  }

  #accepted({ transition, decision }: Written): boolean {
    this.#unanswered = []
    this.#held = advanced(this.#held, transition)
    emitNotices(this.#parts.emit, this.#held, decision)
    if (!transition.keep) this.#parts.onRelease(this.#held, transition.wakeIn)
    return transition.keep
  }

  /** Tries until the store has answered, or the lease is gone. */
  async #commit(written: Written): Promise<boolean> {
    for (let failures = 0; ; failures++) {
      if (this.owner.aborted) throw this.owner.reason
      try {
        return await this.#parts.committer.commit(written.transition, failures > 0)
      } catch (error) {
        if (!this.#unanswered.includes(written)) this.#unanswered.push(written)
        await this.#pause('commit', error, failures)
      }
    }
  }

  /**
   * Looks at the saga after a refused write. `written`: an earlier write of ours was accepted and its answer lost, so what
   * happened is told already; `changed`: still ours, in a state to decide anew from; `gone`: no longer ours to run.
   */
  async #reload(): Promise<'written' | 'changed' | 'gone'> {
    const row = await this.#load()
    const written = row && this.#unanswered.find((candidate) => isIn(row, candidate.transition))
    if (row && written) {
      const keeps = this.#accepted(written)
      // A cancel may have come on top of it.
      if (keeps) this.#held = hold(row, this.#parts.timers)
      return keeps ? 'written' : 'gone'
    }

    if (row && row.fence === this.#held.row.fence && row.worker !== undefined) {
      this.#held = hold(row, this.#parts.timers)
      return 'changed'
    }
    this.owner.abort(new LeaseLostError(`saga ${this.id} is owned by another worker`))
    return 'gone'
  }

  #lookAgain(): Happening {
    const { row } = this.#held
    return { type: 'claimed', claims: row.claims, overdue: (row.deadlineIn ?? 1) <= 0, shape: row.shape }
  }

  async #load(): Promise<SagaRow | undefined> {
    for (let failures = 0; ; failures++) {
      if (this.owner.aborted) throw this.owner.reason
      try {
        return await this.#parts.store.load(this.id)
      } catch (error) {
        await this.#pause('load', error, failures)
      }
    }
  }

  async #pause(during: string, error: unknown, failures: number): Promise<void> {
    this.#parts.emit('storeError', { during, error })
    await this.#parts.timers.sleep(storeBackoff(failures, 0, this.#parts.random))
  }
}

/**
 * Whether the store accepted this write. Its token is there until the next write, which under the same fence can only be
 * a cancel, and a cancel leaves no record: so a record of the rev that the write would have made tells as well.
 */
function isIn(row: SagaRow, { fence, rev, token, record }: Transition): boolean {
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

function guardOf({ row }: Held): { id: string; fence: number; rev: number } {
  return { id: row.id, fence: row.fence, rev: row.rev }
}

/** The result as JSON text. The effect is there already, so a result without JSON leaves the step in doubt. */
function storable(step: PlannedStep, result: unknown): string | undefined {
  try {
    return toJson(result)
  } catch (cause) {
    throw new NonRetryableError(`the result of step '${step.name}' has no JSON form`, { cause })
  }
}
