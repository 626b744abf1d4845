import { count, shown, text } from './internal/check.js'
import { type Plan, type PlannedStep, planStep, RETURNS, type StepDraft, shapeOf } from './plan.js'
import type { Prettify, Queryable, Stored } from './shapes.js'
import type { ForwardOptions, Run, StepOptions, TxRun, TxStepOptions } from './step.js'

/** A step's name, or, when an earlier step has it, a type that says so. */
export type Fresh<R, N extends string> = N extends keyof R ? `'${N}' is the name of an earlier step` : N

/** An intersection: flattening at each step would stop the compiler at half the number of steps. */
export type Add<R, N extends string, T> = R & { readonly [K in N]: T }

export interface Steps<I, R, Tx, Undo extends boolean> {
  /**
   * A step whose effect is outside this database: applied at least once, recorded once. Use `key` to make the effect
   * idempotent. The name is the durable identity of the step.
   */
  step<N extends string, T>(
    name: Fresh<R, N>,
    run: Run<I, R, T>,
    options?: Undo extends true ? StepOptions<I, R, T> : ForwardOptions,
  ): Chain<I, Add<R, N, Stored<T>>, Tx, Undo>

  /** A step that commits in one transaction with its checkpoint: applied exactly once on that database. */
  txStep<N extends string, T>(
    name: Fresh<R, N>,
    run: TxRun<I, R, T, Tx>,
    options?: Undo extends true ? TxStepOptions<I, R, T, Tx> : ForwardOptions,
  ): Chain<I, Add<R, N, Stored<T>>, Tx, Undo>
}

/** A saga being written down. `Undo` is true before the pivot; after it, `compensate` and a second pivot do not compile. */
export interface Chain<I, R, Tx, Undo extends boolean> extends Steps<I, R, Tx, Undo> {
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
}

const plans = Symbol.for('msx.saga.plan')

/** The plan inside a definition; a TypeError when the value is no definition. */
export function planOf(definition: Definition<never, unknown, unknown, never>): Plan {
  const plan = (definition as { [plans]?: Plan } | undefined)?.[plans]
  if (!plan) throw new TypeError(`a saga definition made by saga().…returns() was expected, not ${shown(definition)}`)

  return plan
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
  const version = count(`saga '${name}': version`, options.version, 1)

  return chain(name, version, []) as unknown as Chain<I, {}, Tx, true>
}

type AddStep = (stepName: string, run: StepDraft['run'], options?: StepDraft['options']) => object

function chain(name: string, version: number, steps: readonly PlannedStep[]): object {
  const afterPivot = steps.some((step) => step.pivot)

  const adding =
    (transactional: boolean, pivot: boolean): AddStep =>
    (stepName, run, options) => {
      text(`saga '${name}': the name of a step`, stepName)
      if (stepName === RETURNS) throw new TypeError(`saga '${name}': '${RETURNS}' cannot be the name of a step`)
      if (steps.some((step) => step.name === stepName))
        throw new TypeError(`saga '${name}': '${stepName}' is the name of an earlier step`)
      if (pivot && afterPivot) throw new TypeError(`saga '${name}': '${stepName}' would be a second pivot`)

      return chain(name, version, [
        ...steps,
        planStep({ name: stepName, transactional, pivot, afterPivot, run, options }),
      ])
    }

  return {
    step: adding(false, false),
    txStep: adding(true, false),
    pivot: adding(false, true),
    txPivot: adding(true, true),
    returns(result: Plan['returns']) {
      if (typeof result !== 'function')
        throw new TypeError(`saga '${name}': returns needs a function, not ${shown(result)}`)

      const shape = shapeOf(steps)
      const plan: Plan = { name, version, shape, steps, returns: result }
      return Object.freeze(Object.defineProperty({ name, version, shape }, plans, { value: plan }))
    },
  }
}
