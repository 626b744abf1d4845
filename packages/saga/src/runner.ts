import { exponential } from '@msx/retry'
import { isPromise, type Limit, runAttempt } from './attempt.js'
import type { Committer } from './committer.js'
import { compensateContext, stepContext } from './context.js'
import { decide, type Happening, next, type Task } from './decide.js'
import {
  LeaseLostError,
  NonRetryableError,
  restoreError,
  SagaCancelledError,
  SagaDeadlineError,
  SagaFailedError,
  StepRejectedError,
  StepTimeoutError,
  type StoredError,
  UnkeptResultError,
} from './errors.js'
import type { Emit } from './events.js'
import {
  advance,
  emitNotices,
  guardOf,
  type Held,
  hold,
  isIn,
  lookAgain,
  remaining,
  sideEffects,
  storeTime,
} from './held.js'
import { text } from './internal/check.js'
import type { Asker } from './internal/gather.js'
import { toJson } from './internal/json.js'
import { Scope } from './internal/scope.js'
import type { Timers } from './internal/timers.js'
import type { Decision } from './moves.js'
import type { Plan, PlannedChild, PlannedStep, PlannedWait } from './plan.js'
import { counterOf, FRESH, isAtRest, isCancelled, isFinished, isTurning, isWaiting, type State } from './state.js'
import type { NewSaga, SagaRow, Store, Transition, Wait } from './store.js'
import type { RunTelemetry, Telemetry } from './telemetry.js'

export interface RunnerParts {
  readonly store: Store<unknown>
  readonly committer: Committer
  readonly timers: Timers
  readonly random: () => number
  readonly emit: Emit
  readonly nextId: () => string
  /** A mark for a write that no other write has. */
  readonly token: () => string
  /** Characters of JSON that a result may have. */
  readonly maxStepBytes: number
  /** True once the engine wants its sagas back at the next checkpoint. */
  readonly isClosing: () => boolean
  /** Told after each accepted write that ends a run. */
  readonly onRelease: (run: Run, saga: Held, wakeIn: number | undefined) => void
  /** Told when a run is over; `failure` is a mistake of ours. */
  readonly onEnd: (run: Run, failure: { readonly error: unknown } | undefined) => void
  /** Told of each step under way that `expireAt` has to be asked of. */
  readonly onLongLimit: () => void
  /** Told after each child that was started. */
  readonly onSpawn: () => void
  /** Cancels another saga. */
  readonly cancel: (id: string, reason: string) => Promise<unknown>
  readonly telemetry: Telemetry | undefined
  /** Takes a completed child back. */
  readonly recall: (row: SagaRow, plan: Plan, cause: StoredError) => Promise<unknown>
}

/** A decision on what happened, and what is written of it. */
interface Written {
  readonly happening: Happening
  readonly decision: Decision
  readonly transition: Transition
}

/** Hands a transition to the store. */
type Send = (transition: Transition, again: boolean) => Promise<boolean>

/** A plain step under way. */
interface Attempt {
  readonly step: PlannedStep
  readonly scope: Scope
  readonly began: number
  /** When it has taken too long, on the engine's clock, for one with a long limit; others have a timer. */
  until: number
  cancel: (() => void) | undefined
}

/** A step that lives has timed out by itself before the database loses patience with its transaction. Milliseconds. */
const IDLE_SLACK = 5_000
/** Limits from here on are looked at now and then, which costs a step no timer of its own. Milliseconds. */
const LONG = 1_000
/** Two roundings of one moment may differ by so much. Milliseconds. */
const ROUNDING = 1
const storeBackoff = exponential({ base: 50, max: 2_000 })

/**
 * Runs one owned saga until it rests, waits, is lost, or the engine closes. `owner` is aborted when the worker no longer
 * owns it; `hurry` asks the running steps to end soon.
 *
 * The common case, a plain step that succeeds and its checkpoint, is a state machine driven by callbacks, without a promise
 * of its own: most of what a saga costs in this process. All else are async functions that end in `#resume`.
 */
export class Run implements Asker<boolean> {
  readonly id: string
  readonly owner: Scope = new Scope()
  readonly #plan: Plan
  readonly #parts: RunnerParts
  /** Of the steps that run, not of compensations: nobody may hurry those. */
  #steps: Set<Scope> | undefined
  #held: Held
  /** The plain step under way, and the plain write. */
  #attempt: Attempt | undefined
  #writing: Written | undefined
  /** Writes that the store may have accepted or may still accept: their answers were lost. */
  #unanswered: Written[] = []
  /** Branches of a group write one after the other, and a transaction of one is alone. */
  #turn: Promise<unknown> | undefined
  #telemetry: RunTelemetry | undefined
  #over = false
  readonly #resume = (owned: boolean): void => (owned ? this.#proceed() : this.#end())
  readonly #fail = (error: unknown): void => (this.owner.aborted ? this.#end() : this.#end({ error }))

  constructor(parts: RunnerParts, plan: Plan, row: SagaRow) {
    this.id = row.id
    this.#parts = parts
    this.#plan = plan
    this.#held = hold(row, parts.timers)
  }

  /** The saga as this run last saw it, and after it as it left it. */
  get row(): SagaRow {
    return this.#held.row
  }

  /** Tells the running steps that nobody wants them any more; what they answer is still recorded. */
  hurry(reason: string): void {
    const scopes = [...(this.#steps ?? [])]
    if (this.#attempt && this.#held.state.progress.direction === 'forward') scopes.push(this.#attempt.scope)
    for (const scope of scopes) scope.abort(new SagaCancelledError(reason))
  }

  /** The worker owns it no longer: nothing more is written, and nothing waited for. */
  lose(error: LeaseLostError): void {
    this.owner.abort(error)
    const attempt = this.#attempt
    if (!attempt) return

    this.#leave(attempt)
    attempt.scope.abort(error)
    this.#end()
  }

  /** Begins; `onEnd` of the parts hears of its end. */
  go(): void {
    const { row } = this.#held
    const { telemetry } = this.#parts
    if (telemetry) {
      const traced = { sagaId: row.id, name: row.name, version: row.version }
      this.#telemetry = telemetry.run(traced, row.trace)
    }
    try {
      const looked = this.#transition(this.#held, lookAgain(this.#held))
      if (!looked || this.#put(looked)) this.#proceed()
    } catch (error) {
      this.#fail(error)
    }
  }

  /** Goes on for as long as nothing has to be waited for. */
  #proceed(): void {
    try {
      while (!this.owner.aborted && !this.#parts.isClosing()) {
        const task = next(this.#plan, this.#held.state)
        if (task.type !== 'do' || !this.#isPlain(task.step)) {
          this.#advance(task).then(this.#resume, this.#fail)
          return
        }
        if (!this.#begin(task.step)) return
      }
      this.#end()
    } catch (error) {
      this.#fail(error)
    }
  }

  #end(failure?: { readonly error: unknown }): void {
    if (this.#over) return

    this.#over = true
    this.#telemetry?.end(this.#held.state.progress.status)
    this.#parts.onEnd(this, failure)
  }

  #isPlain({ kind, when, group, transactional, intent, pivot }: PlannedStep): boolean {
    if (kind !== 'step' || when || group || transactional || intent || this.#telemetry) return false
    return this.#held.deadline === undefined || pivot || !this.#isOverdue()
  }

  /** Calls a plain step. True when it, and its checkpoint, are done already; otherwise what it ends with carries on. */
  #begin(step: PlannedStep): boolean {
    const { state } = this.#held
    this.#tellStarted(step)
    const attempt: Attempt = {
      step,
      scope: new Scope(),
      began: this.#parts.timers.now(),
      until: Infinity,
      cancel: undefined,
    }
    let result: unknown
    let later: PromiseLike<unknown> | undefined
    try {
      // A step that cancels its own saga is hurried, too.
      this.#attempt = attempt
      result = step.run(undefined, stepContext(this.#plan, state, step, attempt.scope, 'do'))
      if (isPromise(result)) later = result
    } catch (error) {
      return this.#settle(attempt, error)
    }
    if (!later) return this.#settleWith(attempt, result)

    this.#limit(attempt)
    try {
      later.then(
        (value) => this.#ended(attempt, true, value),
        (error: unknown) => this.#ended(attempt, false, error),
      )
    } catch (error) {
      return this.#settle(attempt, error)
    }
    return false
  }

  #ended(attempt: Attempt, succeeded: boolean, value: unknown): void {
    // It has timed out, or its saga is somebody else's: nobody waits for it any more.
    if (this.#attempt !== attempt) return

    try {
      if (succeeded ? this.#settleWith(attempt, value) : this.#settle(attempt, value)) this.#proceed()
    } catch (error) {
      this.#fail(error)
    }
  }

  /** After the step's timeout, or at the saga's deadline, it has failed, whether it listens to its signal or not. */
  #limit(attempt: Attempt): void {
    const { timers, onLongLimit } = this.#parts
    const { timeout } = attempt.step.forward
    const left = this.#leftFor(attempt)
    const ms = left === undefined ? timeout : Math.max(0, Math.min(left, timeout))
    if (timers.isReal && ms >= LONG) {
      attempt.until = attempt.began + ms
      onLongLimit()
    } else {
      attempt.cancel = timers.after(ms, () => this.#expire(attempt))
    }
  }

  /** What the deadline leaves of it. */
  #leftFor({ step }: Attempt): number | undefined {
    return step.pivot ? undefined : remaining(this.#held, this.#held.state.progress, this.#parts.timers)
  }

  #expire(attempt: Attempt): void {
    if (this.#attempt !== attempt) return

    const { step, scope } = attempt
    const left = this.#leftFor(attempt)
    const isDeadline = left !== undefined && left <= 0
    const error = isDeadline ? new SagaDeadlineError(this.id) : new StepTimeoutError(step.name, step.forward.timeout)
    scope.abort(error)
    this.#ended(attempt, false, error)
  }

  /** Ends the step under way when it has taken too long. */
  expireAt(now: number): void {
    if (this.#attempt && this.#attempt.until <= now) this.#expire(this.#attempt)
  }

  #leave(attempt: Attempt): void {
    attempt.cancel?.()
    this.#attempt = undefined
  }

  #settleWith(attempt: Attempt, result: unknown): boolean {
    let output: string | undefined
    try {
      output = this.#storable(attempt.step, result)
    } catch (error) {
      return this.#settle(attempt, error)
    }
    this.#leave(attempt)
    const took = this.#parts.timers.now() - attempt.began
    return this.#putHappening({ type: 'done', output, took, step: attempt.step.name })
  }

  #settle(attempt: Attempt, error: unknown): boolean {
    this.#leave(attempt)
    if (this.owner.aborted) {
      this.#end()
      return false
    }
    const took = this.#parts.timers.now() - attempt.began
    return this.#putHappening({ type: 'failed', error, took, step: attempt.step.name })
  }

  #putHappening(happening: Happening): boolean {
    if (this.owner.aborted) {
      this.#end()
      return false
    }
    const written = this.#transition(this.#held, happening)
    return !written || this.#put(written)
  }

  /** Writes. True when the store has accepted it already and the saga is still ours to run; otherwise its answer carries on. */
  #put(written: Written): boolean {
    // What reaches other rows goes alone, so that no statement touches a row twice.
    if (reachesFar(written.transition)) {
      this.#rewrite(written).then(this.#resume, this.#fail)
      return false
    }
    this.#writing = written
    const accepted = this.#parts.committer.put(written.transition, this)
    if (accepted === undefined) return false

    this.#writing = undefined
    if (accepted && this.#accepted(written)) return true
    if (accepted) this.#end()
    else this.#rewrite(written, { refused: true }).then(this.#resume, this.#fail)
    return false
  }

  /** The store's answer to what was written last. */
  answered(accepted: boolean): void {
    const written = this.#written()
    try {
      if (!accepted) this.#rewrite(written, { refused: true }).then(this.#resume, this.#fail)
      else if (this.#accepted(written)) this.#proceed()
      else this.#end()
    } catch (error) {
      this.#fail(error)
    }
  }

  unanswered(error: unknown): void {
    this.#rewrite(this.#written(), { error }).then(this.#resume, this.#fail)
  }

  #written(): Written {
    // Nobody asks for an answer twice, or without having written.
    const written = this.#writing as Written
    this.#writing = undefined
    return written
  }

  /** One step, one checkpoint. Answers whether the saga is still ours to run. */
  async #advance(task: Task): Promise<boolean> {
    switch (task.type) {
      case 'rest':
        return false
      case 'turn':
        return this.#write(lookAgain(this.#held))
      case 'finish':
        return this.#write({ type: 'finish' })
      case 'group':
        return this.#group(task)
      case 'undo':
        return task.step.child ? this.#undoChild(task.step, task.step.child) : this.#act(task.step)
      case 'do':
        if (this.#isOverdue() && !task.step.pivot && !isWaitingChild(this.#held, task.step))
          return this.#write({ type: 'overdue' })
        return this.#forward(task.step)
    }
  }

  #isOverdue(): boolean {
    const left = remaining(this.#held, this.#held.state.progress, this.#parts.timers)
    return left !== undefined && left <= 0
  }

  /** A step that is to be done, or one that waits and is looked at again. */
  async #forward(step: PlannedStep): Promise<boolean> {
    const begun = isWaiting(this.#held.state, step) || counterOf(this.#held.state.progress, step).attempt > 0
    if (step.when && !begun) {
      const wanted = this.#ask(step, step.when)
      if (!wanted.ok) return this.#write(wanted.failed)
      if (!wanted.value) return this.#write({ type: 'skipped', step: step.name })
    }

    if (step.sleep) return this.#sleep(step, step.sleep)
    if (step.wait) return this.#wait(step, step.wait)
    if (step.child) return this.#child(step, step.child)
    if (step.intent && !step.transactional && !counterOf(this.#held.state.progress, step).intent) {
      if (!(await this.#write({ type: 'announced', step: step.name }))) return false
      // It is to end, or was cancelled meanwhile and has turned round already.
      const { progress } = this.#held.state
      if (isTurning(progress) || !counterOf(progress, step).intent) return true
    }
    return this.#act(step)
  }

  /** Calls what decides about a step before it has any effect. */
  #ask<T>(
    step: PlannedStep,
    question: (c: ReturnType<typeof stepContext>) => T,
  ): { readonly ok: true; readonly value: T } | { readonly ok: false; readonly failed: Happening } {
    try {
      return { ok: true, value: question(stepContext(this.#plan, this.#held.state, step, this.owner, 'do')) }
    } catch (cause) {
      const why = cause instanceof Error ? cause.message : String(cause)
      const error = new StepRejectedError(`step '${step.name}' could not begin: ${why}`, { cause })
      return { ok: false, failed: { type: 'failed', step: step.name, error, took: 0 } }
    }
  }

  async #sleep(step: PlannedStep, length: NonNullable<PlannedStep['sleep']>): Promise<boolean> {
    const left = this.#left(step)
    if (left !== undefined) {
      return left > ROUNDING
        ? this.#write({ type: 'parked', wakeIn: left })
        : this.#write({ type: 'done', step: step.name, output: undefined, took: 0 })
    }

    const asked = this.#ask(step, length)
    return this.#write(asked.ok ? { type: 'begun', step: step.name, due: asked.value } : asked.failed)
  }

  /** Milliseconds until the step has waited long enough: Infinity for never, undefined when it does not wait yet. */
  #left(step: PlannedStep): number | undefined {
    if (!isWaiting(this.#held.state, step)) return undefined

    const dueAt = this.#held.state.marks.get(step.name)?.dueAt
    return dueAt === undefined ? Infinity : dueAt - storeTime(this.#held, this.#parts.timers)
  }

  async #wait(step: PlannedStep, { event, key, timeout, onTimeout }: PlannedWait): Promise<boolean> {
    const asked = this.#ask(step, (c) => text('the key of the event', key(c), 500))
    if (!asked.ok) return this.#write(asked.failed)

    const wait: Wait = { event, key: asked.value, step: step.name }
    const happened = (mail: { readonly payload: string | undefined } | undefined): Happening | undefined => {
      const left = this.#left(step)
      if (mail) return { type: 'done', step: step.name, output: mail.payload, took: 0 }
      if (left === undefined) return { type: 'begun', step: step.name, due: timeout }
      if (left > ROUNDING) return step.group ? undefined : { type: 'parked', wakeIn: finite(left) }
      if (onTimeout === 'continue') return { type: 'done', step: step.name, output: undefined, took: 0 }
      const error = new StepTimeoutError(step.name, timeout as number)
      return { type: 'failed', step: step.name, error, took: 0 }
    }
    return this.#exclusive(() => this.#receive(wait, happened))
  }

  /** Decides under the lock of the mailbox, so that no event comes between the look and the decision. */
  async #receive(
    wait: Wait,
    happened: (mail: { readonly payload: string | undefined } | undefined) => Happening | undefined,
  ): Promise<boolean> {
    for (let failures = 0; ; failures++) {
      if (this.owner.aborted) throw this.owner.reason
      let settled: Written | undefined
      try {
        const accepted = await this.#parts.store.receive(this.id, wait, (mail) => {
          const happening = happened(mail)
          settled = happening && this.#transition(this.#held, happening)
          return settled?.transition
        })
        if (accepted) return settled ? this.#accepted(settled) : true
      } catch (error) {
        if (settled) this.#unanswered.push(settled)
        await this.#pause('receive', error, failures)
      }

      const found = await this.#reload()
      if (found !== 'changed') return found === 'written'
      if (isCancelled(this.#held.state.progress)) return this.#writeNow(lookAgain(this.#held))
    }
  }

  async #child(step: PlannedStep, child: PlannedChild): Promise<boolean> {
    const { state, row } = this.#held
    const known = state.marks.get(step.name)
    if (known?.state !== 'waiting' || known.child === undefined) return this.#startChild(step, child)

    const found = await this.#load(known.child)
    const name = step.name
    if (!found) {
      const error = new NonRetryableError(`saga ${known.child}, started by step '${name}', is gone`)
      return this.#write({ type: 'failed', step: name, error, took: 0 })
    }
    const { status, cause, problem } = found.progress
    const took = storeTime(this.#held, this.#parts.timers) - found.createdAt
    if (status === 'completed') return this.#write({ type: 'done', step: name, output: found.output, took })
    if (isFinished(found.progress)) {
      const why = cause ?? problem
      const error = new SagaFailedError(found.id, status, why && restoreError(why))
      return this.#write({ type: 'failed', step: name, error, took })
    }

    const { cancel, lanes } = state.progress
    const reason = cancel ?? lanes?.failing?.error.message ?? (this.#isOverdue() ? 'the deadline passed' : undefined)
    if (reason !== undefined) await this.#parts.cancel(found.id, reason.slice(0, 1_000) || row.name)
    return step.group ? true : this.#write({ type: 'parked', wakeIn: undefined })
  }

  async #startChild(step: PlannedStep, { plan, input }: PlannedChild): Promise<boolean> {
    const asked = this.#ask(step, (c) => toJson(input(c)))
    if (!asked.ok) return this.#write(asked.failed)

    const { state, row } = this.#held
    const left = remaining(this.#held, state.progress, this.#parts.timers)
    const round = (state.marks.get(step.name)?.children ?? 0) + 1
    const child: NewSaga = {
      id: this.#parts.nextId(),
      name: plan.name,
      version: plan.version,
      shape: plan.shape,
      key: `${this.id}:${step.name}:${round}`,
      input: asked.value,
      tags: row.tags,
      delay: 0,
      deadline: left === undefined ? undefined : Math.max(1, left),
      worker: undefined,
      progress: FRESH,
      parent: this.id,
      trace: row.trace,
    }
    const owned = await this.#write({ type: 'begun', step: step.name, child: child.id }, (transition) =>
      this.#parts.store.spawn(transition, child),
    )
    this.#parts.onSpawn()
    return owned
  }

  async #undoChild(step: PlannedStep, { plan }: PlannedChild): Promise<boolean> {
    const { marks, progress } = this.#held.state
    const id = marks.get(step.name)?.child
    const found = id === undefined ? undefined : await this.#load(id)
    const failed = (why: string): Promise<boolean> =>
      this.#write({ type: 'failed', error: new NonRetryableError(why), took: 0 })

    if (!found) return failed(`saga ${id}, started by step '${step.name}', is gone and cannot be unwound`)
    switch (found.progress.status) {
      case 'compensated':
      case 'cancelled':
        return this.#write({ type: 'done', output: undefined, took: 0 })
      case 'abandoned':
        return failed(`saga ${id}, started by step '${step.name}', was abandoned`)
      case 'completed':
        if (found.progress.committed) return failed(`saga ${id}, started by step '${step.name}', is past its pivot`)
        await this.#parts.recall(found, plan, progress.cause ?? { name: 'Error', message: 'the parent was unwound' })
    }
    return this.#write({ type: 'parked', wakeIn: undefined })
  }

  /** The branches of a group, each from its start to its end, until all are done or the group is to end. */
  async #group({ group }: Task & { type: 'group' }): Promise<boolean> {
    const { timers, isClosing } = this.#parts
    const active = new Map<string, Promise<void>>()
    const retryAt = new Map<string, number>()
    /** What waits is looked at once; what wakes it brings a new run. */
    const looked = new Set<string>()
    let ours = true
    let failure: { readonly error: unknown } | undefined

    /** When this grows something has happened that a look of before does not know of. */
    let nudges = this.#held.row.nudges

    const begin = (step: PlannedStep): void => {
      const before = counterOf(this.#held.state.progress, step).attempt
      const { nudges: known } = this.#held.row
      const going = this.#forward(step)
        .then(
          (owned) => {
            ours &&= owned
            const { attempt, delay } = counterOf(this.#held.state.progress, step)
            if (attempt > before) retryAt.set(step.name, timers.now() + delay)
            else if (isWaiting(this.#held.state, step) && this.#held.row.nudges === known) looked.add(step.name)
          },
          (error: unknown) => {
            ours = false
            failure ??= { error }
          },
        )
        .finally(() => active.delete(step.name))
      active.set(step.name, going)
    }

    this.#turn = Promise.resolve()
    while (ours) {
      const task = next(this.#plan, this.#held.state)
      if (task.type !== 'group' || task.group !== group) break

      if (this.#held.row.nudges !== nudges) looked.clear()
      nudges = this.#held.row.nudges
      const { progress } = this.#held.state
      const ending = isTurning(progress) || this.#isOverdue()
      if (ending) this.hurry(progress.cancel ?? progress.lanes?.failing?.error.message ?? 'the deadline passed')
      const now = timers.now()
      for (const step of task.open) {
        if (active.size >= group.concurrency || isClosing()) break
        if (active.has(step.name) || looked.has(step.name) || (retryAt.get(step.name) ?? 0) > now) continue
        if (!ending || isWaitingChild(this.#held, step)) begin(step)
      }

      const waits = task.open.filter(({ name }) => !active.has(name))
      if (active.size > 0) {
        // What is due already waits for the end of another, not for a time.
        const later = waits.map(({ name }) => retryAt.get(name) ?? Infinity).filter((at) => at > now)
        const soonest = Math.min(...later)
        await this.#firstOf([...active.values()], ending ? Infinity : soonest - now)
      } else if (isClosing()) {
        ours = await this.#write({ type: 'parked', wakeIn: 0 })
      } else if (ending && !task.open.some((step) => isWaitingChild(this.#held, step))) {
        ours = await this.#write(isTurning(progress) ? { type: 'turned' } : { type: 'overdue' })
      } else {
        const until = waits.map((step) => this.#left(step) ?? (retryAt.get(step.name) ?? now) - now)
        ours = await this.#write({ type: 'parked', wakeIn: ending ? undefined : finite(Math.min(...until)) })
      }
    }

    await Promise.all(active.values())
    this.#turn = undefined
    if (failure) throw failure.error
    return ours
  }

  /** Until the first of `promises` is settled, or `ms` have passed. */
  async #firstOf(promises: readonly Promise<void>[], ms: number): Promise<void> {
    if (ms === Infinity) return Promise.race(promises)

    let cancel = (): void => undefined
    const timer = new Promise<void>((resolve) => {
      cancel = this.#parts.timers.after(Math.max(0, ms), resolve)
    })
    await Promise.race([...promises, timer]).finally(cancel)
  }

  #exclusive<T>(work: () => Promise<T>): Promise<T> {
    if (this.#turn === undefined) return work()

    const turn = this.#turn.then(work)
    this.#turn = turn.catch(() => undefined)
    return turn
  }

  #tellStarted(step: PlannedStep): void {
    if (!this.#parts.emit.wanted('stepStarted')) return

    const { progress } = this.#held.state
    this.#parts.emit('stepStarted', {
      sagaId: this.id,
      name: this.#plan.name,
      step: step.name,
      attempt: counterOf(progress, step).attempt + 1,
      direction: progress.direction,
    })
  }

  #act(step: PlannedStep): Promise<boolean> {
    this.#tellStarted(step)
    return step.transactional ? this.#exclusive(() => this.#doInTransaction(step)) : this.#do(step)
  }

  async #do(step: PlannedStep): Promise<boolean> {
    const began = this.#parts.timers.now()
    const took = (): number => this.#parts.timers.now() - began

    let happening: Happening
    try {
      const output = await this.#try(step, undefined)
      happening = { type: 'done', step: step.name, output, took: took() }
    } catch (error) {
      if (this.owner.aborted) return false
      happening = { type: 'failed', step: step.name, error, took: took() }
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
          const output = await this.#try(step, tx)
          const took = timers.now() - began
          const done = this.#transition(held, { type: 'done', step: step.name, output, took }) as Written
          settled = done
          return done.transition
        }
        const accepted = await store.commitWith(guardOf(held), work, budget.timeout + IDLE_SLACK)
        if (accepted && settled) return this.#accepted(settled)
        // Refused before it began: lost, or changed by a cancel. `claimed` looks at what is there now.
        const found = await this.#reload()
        return found === 'changed' ? this.#writeNow(lookAgain(this.#held)) : found === 'written'
      } catch (error) {
        if (this.owner.aborted) return false
        if (settled) {
          this.#unanswered.push(settled)
          const found = await this.#reload()
          if (found !== 'changed') return found === 'written'
        }
        if (entered) return this.#writeNow({ type: 'failed', step: step.name, error, took: timers.now() - began })
        await this.#pause('commitWith', error, failures)
      }
    }
  }

  #try(step: PlannedStep, tx: unknown): Promise<string | undefined> {
    const { timers } = this.#parts
    const { state } = this.#held
    const forward = state.progress.direction === 'forward'
    const timeout = (forward ? step.forward : step.undo).timeout
    const limits: Limit[] = [{ ms: timeout, reason: () => new StepTimeoutError(step.name, timeout) }]
    const left = remaining(this.#held, state.progress, timers)
    if (left !== undefined && !step.pivot) limits.push({ ms: left, reason: () => new SagaDeadlineError(this.id) })

    const work = () => this.#run(step, state, tx, limits)
    if (!this.#telemetry) return work()
    const attempt = counterOf(state.progress, step).attempt + 1
    return this.#telemetry.attempt({ step: step.name, attempt, direction: state.progress.direction }, work)
  }

  #run(step: PlannedStep, state: State, tx: unknown, limits: readonly Limit[]): Promise<string | undefined> {
    return runAttempt(this.#parts.timers, this.owner, limits, (scope) => {
      if (state.progress.direction === 'backward') {
        const undone = step.compensate?.(tx, compensateContext(this.#plan, state, step, scope))
        return isPromise(undone) ? undone.then(() => undefined) : undefined
      }
      this.#steps ??= new Set()
      const steps = this.#steps.add(scope)
      const ended = (): void => void steps.delete(scope)
      try {
        const result = step.run(tx, stepContext(this.#plan, state, step, scope, 'do'))
        if (isPromise(result))
          return Promise.resolve(result)
            .then((kept) => this.#storable(step, kept))
            .finally(ended)
        ended()
        return this.#storable(step, result)
      } catch (error) {
        ended()
        throw error
      }
    })
  }

  /** The result as JSON text. Of one that cannot be kept the effect is there already. */
  #storable(step: PlannedStep, result: unknown): string | undefined {
    let json: string | undefined
    try {
      json = toJson(result)
    } catch (cause) {
      throw new UnkeptResultError(`the result of step '${step.name}' has no JSON form`, { cause })
    }
    const most = this.#parts.maxStepBytes
    if (json === undefined || json.length <= most) return json
    throw new UnkeptResultError(
      `the result of step '${step.name}' has ${json.length} characters of JSON, more than ${most}`,
    )
  }

  #write(happening: Happening, send?: Send): Promise<boolean> {
    return this.#exclusive(() => this.#writeNow(happening, send))
  }

  /** Decides and writes until the store has accepted it. Answers whether the saga is still ours to run. */
  async #writeNow(happening: Happening, send?: Send): Promise<boolean> {
    const written = this.#transition(this.#held, happening)
    return !written || this.#rewrite(written, {}, send)
  }

  /** The same for what was decided, and perhaps tried: it was refused, or its answer was lost. */
  async #rewrite(
    first: Written,
    tried: { readonly refused?: boolean; readonly error?: unknown } = {},
    send?: Send,
  ): Promise<boolean> {
    const { happening } = first
    let { refused = false } = tried
    for (let settled: Written | undefined = first; ; settled = this.#transition(this.#held, happening)) {
      if (!settled) return true
      const lost = settled === first && 'error' in tried ? { error: tried.error } : undefined
      if (!refused && (await this.#commit(settled, send, lost))) return this.#accepted(settled)

      refused = false
      const found = await this.#reload()
      if (found !== 'changed') return found === 'written'
      // Nothing has happened that must not be lost: what is there now is looked at first.
      if (happening.type === 'parked' || happening.type === 'begun') return this.#writeNow(lookAgain(this.#held))
    }
  }

  #transition(held: Held, happening: Happening): Written | undefined {
    const { random, isClosing } = this.#parts
    const decision = decide(this.#plan, held.state, happening, random)
    if (!decision) return undefined

    const { progress, park } = decision
    const resting = isAtRest(progress)
    const inGroup = this.#turn !== undefined && progress.direction === 'forward'
    const keep = !resting && park === undefined && (inGroup || !isClosing())
    const finished = isFinished(progress)
    const wakeIn = resting || keep ? undefined : this.#wakeIn(held, progress, park ?? 0)
    const { unwait, parent, lock } = sideEffects(held, decision, finished)
    // Of what is stuck an earlier owner may still send the request: whoever resumes or cancels it has to know.
    const doubted = progress.status === 'stuck' && held.state.begunBefore
    const transition: Transition = {
      id: held.row.id,
      fence: held.row.fence,
      rev: held.row.rev,
      token: this.#parts.token(),
      keep,
      wakeIn,
      claims: keep || doubted ? 1 : 0,
      progress,
      output: decision.output,
      finished,
      record: decision.record,
      nudges: keep || resting ? undefined : held.row.nudges,
      unwait,
      parent,
      lock,
    }
    return { happening, decision, transition }
  }

  /** When it is to be claimed again: a child is waited for whatever the deadline says. */
  #wakeIn(held: Held, progress: SagaRow['progress'], park: number): number | undefined {
    const step = this.#plan.steps[progress.cursor]
    const left = remaining(held, progress, this.#parts.timers)
    const deadline = step && isWaitingChild(held, step) && (left ?? 1) <= 0 ? undefined : left
    return finite(Math.min(park, deadline === undefined ? park : Math.max(0, deadline)))
  }

  #accepted({ transition, decision }: Written): boolean {
    if (this.#unanswered.length > 0) this.#unanswered = []
    advance(this.#held, transition, this.#parts.timers)
    emitNotices(this.#parts.emit, this.#held, decision)
    if (!transition.keep) this.#parts.onRelease(this, this.#held, transition.wakeIn)
    return transition.keep
  }

  /** Tries until the store has answered, or the lease is gone. `lost` is what the first try ended with. */
  async #commit(written: Written, send?: Send, lost?: { readonly error: unknown }): Promise<boolean> {
    const { transition } = written
    let failed = lost
    for (let failures = 0; ; failures++) {
      if (failed) {
        if (!this.#unanswered.includes(written)) this.#unanswered.push(written)
        await this.#pause('commit', failed.error, failures)
      }
      if (this.owner.aborted) throw this.owner.reason
      try {
        if (send) return await send(transition, failed !== undefined)
        return await this.#parts.committer.commit(transition, reachesFar(transition) || failed !== undefined)
      } catch (error) {
        failed = { error }
      }
    }
  }

  /**
   * Looks at the saga after a refused write. `written`: an earlier write of ours was accepted and its answer lost, so what
   * happened is told already; `changed`: still ours, in a state to decide anew from; `gone`: no longer ours to run.
   */
  async #reload(): Promise<'written' | 'changed' | 'gone'> {
    const row = await this.#load(this.id)
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

  async #load(id: string): Promise<SagaRow | undefined> {
    for (let failures = 0; ; failures++) {
      if (this.owner.aborted) throw this.owner.reason
      try {
        return await this.#parts.store.load(id)
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

function reachesFar({ unwait, parent }: Transition): boolean {
  return unwait === true || parent !== undefined
}

function isWaitingChild({ state }: Held, step: PlannedStep): boolean {
  return step.kind === 'child' && isWaiting(state, step)
}

function finite(ms: number): number | undefined {
  return ms === Infinity ? undefined : ms
}
