import { count, duration, MAX_INT, optionalFunction, shown, text } from './internal/check.js'
import {
  type Group,
  LONGEST,
  type Plan,
  type PlannedStep,
  type PlannedWait,
  planPause,
  planStep,
  RETURNS,
  type StepDraft,
  shapeOf,
} from './plan.js'
import type { Prettify, Queryable, Stored } from './shapes.js'
import type {
  EventType,
  ForwardOptions,
  Run,
  StepContext,
  StepOptions,
  TxRun,
  TxStepOptions,
  WaitOptions,
} from './step.js'

/** A step's name, or, when an earlier step has it, a type that says so. */
export type Fresh<R, N extends string> = N extends keyof R ? `'${N}' is the name of an earlier step` : N

/** An intersection: flattening at each step would stop the compiler at half the number of steps. */
export type Add<R, N extends string, T> = R & { readonly [K in N]: T }

/** The result of a step that `when` may leave out. */
export type Conditional<C extends boolean, T> = C extends true ? T | undefined : T

declare const branchResult: unique symbol

/** One branch of a `parallel`; the key that it is given there is its durable name. */
export interface Branch<T> {
  readonly [branchResult]: T
}

/** What branches are made of. None sees the results of the others. */
export interface Branches<I, R, Tx, Undo extends boolean> {
  step<T>(run: Run<I, R, T>, options?: Undo extends true ? StepOptions<I, R, T> : ForwardOptions): Branch<Stored<T>>

  /** It runs alone for as long as its transaction takes. */
  txStep<T>(
    run: TxRun<I, R, T, Tx>,
    options?: Undo extends true ? TxStepOptions<I, R, T, Tx> : ForwardOptions,
  ): Branch<Stored<T>>

  child<CI, CR, CO>(
    definition: Definition<CI, CR, CO, Tx>,
    input: (c: StepContext<I, R>) => NoInfer<CI>,
  ): Branch<Stored<CO>>

  waitFor<T, O extends 'fail' | 'continue' = 'fail'>(
    event: EventType<T>,
    options: WaitOptions<I, R, O>,
  ): Branch<Stored<T> | (O extends 'continue' ? undefined : never)>
}

export type BranchResults<B> = { readonly [K in keyof B]: B[K] extends Branch<infer T> ? T : never }

export type FreshAll<R, B> = {
  [K in keyof B]: K extends keyof R ? `'${K & string}' is the name of an earlier step` : B[K]
}

/** `Maybe` is true after `when`: the step may be left out, and its result is undefined then. */
export interface Steps<I, R, Tx, Undo extends boolean, Maybe extends boolean = false> {
  /**
   * A step whose effect is outside this database: applied at least once, recorded once. Use `key` to make the effect
   * idempotent. The name is the durable identity of the step.
   */
  step<N extends string, T>(
    name: Fresh<R, N>,
    run: Run<I, R, T>,
    options?: Undo extends true ? StepOptions<I, R, T> : ForwardOptions,
  ): Chain<I, Add<R, N, Conditional<Maybe, Stored<T>>>, Tx, Undo>

  /** A step that commits in one transaction with its checkpoint: applied exactly once on that database. */
  txStep<N extends string, T>(
    name: Fresh<R, N>,
    run: TxRun<I, R, T, Tx>,
    options?: Undo extends true ? TxStepOptions<I, R, T, Tx> : ForwardOptions,
  ): Chain<I, Add<R, N, Conditional<Maybe, Stored<T>>>, Tx, Undo>

  /**
   * Another saga, whose result is the result of this step. It is unwound to undo it; when it is past its own pivot it
   * cannot be, and an operator has to say what becomes of this one.
   */
  child<N extends string, CI, CR, CO>(
    name: Fresh<R, N>,
    definition: Definition<CI, CR, CO, Tx>,
    input: (c: StepContext<I, R>) => NoInfer<CI>,
  ): Chain<I, Add<R, N, Conditional<Maybe, Stored<CO>>>, Tx, Undo>

  /** Waits for an event that `engine.send` brings, even one that was sent before. Nothing of it is kept in this process. */
  waitFor<N extends string, T, O extends 'fail' | 'continue' = 'fail'>(
    name: Fresh<R, N>,
    event: EventType<T>,
    options: WaitOptions<I, R, O>,
  ): Chain<I, Add<R, N, Conditional<Maybe, Stored<T> | (O extends 'continue' ? undefined : never)>>, Tx, Undo>

  /** Waits for so many milliseconds by the store's clock, however often its processes die meanwhile. */
  sleep<N extends string>(
    name: Fresh<R, N>,
    ms: number | ((c: StepContext<I, R>) => number),
  ): Chain<I, Add<R, N, undefined>, Tx, Undo>
}

/** A saga being written down. `Undo` is true before the pivot; after it, `compensate` and a second pivot do not compile. */
export interface Chain<I, R, Tx, Undo extends boolean> extends Steps<I, R, Tx, Undo> {
  /**
   * Branches that run at the same time, at most `concurrency` of them (default: all). When one fails for good the others
   * are aborted and waited for, and then all that was applied is undone, the last branch first.
   */
  parallel<B extends Record<string, Branch<unknown>>>(
    branches: (b: Branches<I, R, Tx, Undo>) => B & FreshAll<R, NoInfer<B>>,
    options?: { readonly concurrency?: number | undefined },
  ): Chain<I, Prettify<R & BranchResults<B>>, Tx, Undo>

  /** The next step is left out when this says no. Use nothing but what it is given: it may be asked again. */
  when(condition: (c: StepContext<I, R>) => boolean): Steps<I, R, Tx, Undo, true>

  /** The point of no return: when it has succeeded nothing is undone any more, and what follows is tried until done. */
  pivot: Undo extends true
    ? <N extends string, T>(
        name: Fresh<R, N>,
        run: Run<I, R, T>,
        options?: ForwardOptions,
      ) => Chain<I, Add<R, N, Stored<T>>, Tx, false>
    : never

  /** A pivot that commits in one transaction with its checkpoint. */
  txPivot: Undo extends true
    ? <N extends string, T>(
        name: Fresh<R, N>,
        run: TxRun<I, R, T, Tx>,
        options?: ForwardOptions,
      ) => Chain<I, Add<R, N, Stored<T>>, Tx, false>
    : never

  /** Ends the definition with what the saga's `result()` is. */
  returns<O>(
    result: (c: { readonly input: Stored<I>; readonly results: Readonly<R> }) => O,
  ): Definition<I, Prettify<R>, O, Tx>
}

/** A finished saga definition, ready for `createSagaEngine`. */
export interface Definition<I, R, O, Tx = Queryable> {
  readonly name: string
  readonly version: number
  /** A hash of the steps' names, kinds and order. A changed shape needs a new `version`. */
  readonly shape: string
  /** Types only; never set. */
  readonly '~types'?:
    | {
        readonly input: (input: I) => void
        readonly results: R
        readonly output: O
        readonly tx: (tx: Tx) => void
      }
    | undefined
}

export interface SagaOptions {
  /** From 1. Raise it when the list of steps changes; keep the old definition registered until its sagas are done. Default 1. */
  readonly version?: number | undefined
  /** Sagas of this name (of all its versions) that run at a time, on all workers together. Default: as many as fit. */
  readonly maxRunning?: number | undefined
}

const plans = Symbol.for('msx.saga.plan')

/** The plan inside a definition; a TypeError when the value is no definition. */
export function planOf(definition: unknown): Plan {
  const plan = (definition as { [plans]?: Plan } | undefined)?.[plans]
  if (!plan) throw new TypeError(`a saga definition made by saga().…returns() was expected, not ${shown(definition)}`)

  return plan
}

/** A definition of this plan. */
export function definitionOf(plan: Plan): Definition<never, unknown, unknown, never> {
  const { name, version, shape } = plan
  return Object.freeze(Object.defineProperty({ name, version, shape }, plans, { value: plan }))
}

/**
 * Begins the definition of a saga: a list of steps, each with the compensation that undoes it.
 *
 * @example
 * const checkout = saga<{ orderId: string }>('checkout')
 *   .step('reserve', async ({ key }) => stock.reserve(key), { compensate: async ({ forwardKey }) => stock.release(forwardKey) })
 *   .pivot('charge', async ({ input, key }) => payments.charge(input.orderId, key))
 *   .step('ship', async ({ input, key }) => shipping.ship(input.orderId, key))
 *   .returns(({ results }) => results.ship)
 */
export function saga<I, Tx = Queryable>(name: string, options: SagaOptions = {}): Chain<I, {}, Tx, true> {
  text('the name of a saga', name)
  const version = count(`saga '${name}': version`, options.version, 1, MAX_INT)
  const maxRunning =
    options.maxRunning === undefined ? undefined : count(`saga '${name}': maxRunning`, options.maxRunning, 1)

  return chain({ name, version, maxRunning }, [], undefined) as unknown as Chain<I, {}, Tx, true>
}

type Callback = StepDraft['run']
/** A step without its place: told its name and whether it comes after the pivot. */
type Draft = (name: string, afterPivot: boolean) => PlannedStep

const drafts = {
  step:
    (transactional: boolean, pivot: boolean, run: Callback, options: StepDraft['options']): Draft =>
    (name, afterPivot) =>
      planStep({ name, transactional, pivot, afterPivot, run, options }),

  child:
    (definition: unknown, input: Callback): Draft =>
    (name, afterPivot) => {
      if (typeof input !== 'function')
        throw new TypeError(`step '${name}': input must be a function, not ${shown(input)}`)
      return planPause(name, afterPivot, { kind: 'child', child: { plan: planOf(definition), input } })
    },

  wait:
    (event: EventType<unknown>, options: WaitOptions<never, never, 'fail' | 'continue'>): Draft =>
    (name, afterPivot) => {
      const at = `step '${name}':`
      text(`${at} the event's name`, event?.name)
      if (typeof options?.key !== 'function')
        throw new TypeError(`${at} key must be a function, not ${shown(options?.key)}`)
      const { timeout, onTimeout = 'fail' } = options
      if (onTimeout !== 'fail' && onTimeout !== 'continue')
        throw new TypeError(`${at} onTimeout must be 'fail' or 'continue', not ${shown(onTimeout)}`)
      if (timeout !== undefined) duration(`${at} timeout`, timeout, 0, 0, LONGEST)
      const key = options.key as Callback as PlannedWait['key']
      return planPause(name, afterPivot, { kind: 'wait', wait: { event: event.name, key, timeout, onTimeout } })
    },

  sleep:
    (ms: unknown): Draft =>
    (name, afterPivot) => {
      const at = `step '${name}': a sleep`
      const check = (value: unknown): number => duration(at, value as number, Number.NaN, 0, LONGEST)
      if (typeof ms !== 'function') check(ms ?? Number.NaN)
      const sleep = (c: unknown): number => check(typeof ms === 'function' ? ms(c) : ms)
      return planPause(name, afterPivot, { kind: 'sleep', sleep })
    },
}

function chain(
  saga: { readonly name: string; readonly version: number; readonly maxRunning: number | undefined },
  steps: readonly PlannedStep[],
  when: PlannedStep['when'],
): object {
  const { name } = saga
  const afterPivot = steps.some((step) => step.pivot)

  const named = (stepName: string, earlier: readonly PlannedStep[]): void => {
    text(`saga '${name}': the name of a step`, stepName)
    if (stepName === RETURNS) throw new TypeError(`saga '${name}': '${RETURNS}' cannot be the name of a step`)
    if (earlier.some((step) => step.name === stepName))
      throw new TypeError(`saga '${name}': '${stepName}' is the name of an earlier step`)
  }
  const add = (stepName: string, draft: Draft): object => {
    named(stepName, steps)
    return chain(saga, [...steps, { ...draft(stepName, afterPivot), when }], undefined)
  }
  const pivot = (transactional: boolean) => (stepName: string, run: Callback, options?: StepDraft['options']) => {
    if (afterPivot) throw new TypeError(`saga '${name}': '${stepName}' would be a second pivot`)
    return add(stepName, drafts.step(transactional, true, run, options))
  }

  const optional = {
    step: (stepName: string, run: Callback, options?: StepDraft['options']) =>
      add(stepName, drafts.step(false, false, run, options)),
    txStep: (stepName: string, run: Callback, options?: StepDraft['options']) =>
      add(stepName, drafts.step(true, false, run, options)),
    child: (stepName: string, definition: unknown, input: Callback) => add(stepName, drafts.child(definition, input)),
    waitFor: (stepName: string, event: EventType<unknown>, options: WaitOptions<never, never, 'fail'>) =>
      add(stepName, drafts.wait(event, options)),
    sleep: (stepName: string, ms: unknown) => add(stepName, drafts.sleep(ms)),
  }
  if (when) return optional

  return {
    ...optional,
    pivot: pivot(false),
    txPivot: pivot(true),

    when(condition: Callback) {
      optionalFunction(`saga '${name}': the condition of when`, condition ?? null)
      return chain(saga, steps, (c) => Boolean(condition(c)))
    },

    parallel(branches: Callback, options: { readonly concurrency?: number | undefined } = {}) {
      if (typeof branches !== 'function')
        throw new TypeError(`saga '${name}': parallel needs a function, not ${shown(branches)}`)
      const given = Object.entries(
        branches({
          step: (run: Callback, o?: StepDraft['options']) => drafts.step(false, false, run, o),
          txStep: (run: Callback, o?: StepDraft['options']) => drafts.step(true, false, run, o),
          child: drafts.child,
          waitFor: drafts.wait,
        }) as Record<string, Draft>,
      )
      if (given.length === 0) throw new TypeError(`saga '${name}': parallel needs at least one branch`)

      const concurrency = count(`saga '${name}': concurrency`, options.concurrency, given.length)
      const group: Group = { start: steps.length, end: steps.length + given.length, concurrency }
      const members = given.map(([stepName, draft]) => {
        named(stepName, steps)
        return { ...draft(stepName, afterPivot), group }
      })
      return chain(saga, [...steps, ...members], undefined)
    },

    returns(result: Plan['returns']) {
      if (typeof result !== 'function')
        throw new TypeError(`saga '${name}': returns needs a function, not ${shown(result)}`)

      return definitionOf({ ...saga, shape: shapeOf(steps), steps, returns: result })
    },
  }
}
