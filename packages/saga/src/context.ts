import { restoreError } from './errors.js'
import { fromJson } from './internal/json.js'
import type { Scope } from './internal/scope.js'
import type { Plan, PlannedStep } from './plan.js'
import { counterOf, resultsOf, type State } from './state.js'
import type { CompensateContext, StepContext, StepOutcome } from './step.js'

/**
 * What the callbacks of a step are given. Input and results are parsed when they are read, as many steps read neither; the
 * getters are those of a class, because an object literal with getters costs more to make than all the rest of a step.
 */
class Context implements StepContext<unknown, unknown> {
  readonly sagaId: string
  readonly attempt: number
  readonly key: string
  readonly #plan: Plan
  readonly #state: State
  readonly #marks: State['marks']
  readonly #step: PlannedStep
  readonly #scope: Scope
  #input: { readonly value: unknown } | undefined
  #results: ReturnType<typeof resultsOf> | undefined

  constructor(plan: Plan, state: State, step: PlannedStep, scope: Scope, kind: 'do' | 'undo') {
    this.sagaId = state.id
    this.attempt = counterOf(state.progress, step).attempt + 1
    this.key = `${state.id}:${step.name}:${kind}`
    this.#plan = plan
    this.#state = state
    this.#marks = state.marks
    this.#step = step
    this.#scope = scope
  }

  get input(): never {
    this.#input ??= { value: fromJson(this.#state.input) }
    return this.#input.value as never
  }

  get results(): Readonly<Record<string, unknown>> {
    this.#results ??= resultsOf(this.#plan, this.#marks, this.#step)
    return this.#results
  }

  get signal(): AbortSignal {
    return this.#scope.signal
  }
}

class UndoContext extends Context implements CompensateContext<unknown, unknown, unknown> {
  readonly outcome: StepOutcome<unknown>
  readonly forwardKey: string
  readonly cause: unknown

  constructor(plan: Plan, state: State, step: PlannedStep, scope: Scope) {
    super(plan, state, step, scope, 'undo')
    const known = state.marks.get(step.name)
    const doubt = known?.error ?? { name: 'Error', message: 'the process ended while the step ran' }
    const { cause } = state.progress
    this.outcome =
      known?.state === 'applied'
        ? { known: true, result: fromJson(known.output) as never }
        : { known: false, error: restoreError(doubt) }
    this.forwardKey = `${state.id}:${step.name}:do`
    this.cause = cause && restoreError(cause)
  }
}

export function stepContext(
  plan: Plan,
  state: State,
  step: PlannedStep,
  scope: Scope,
  kind: 'do' | 'undo',
): StepContext<unknown, unknown> {
  return new Context(plan, state, step, scope, kind)
}

export function compensateContext(
  plan: Plan,
  state: State,
  step: PlannedStep,
  scope: Scope,
): CompensateContext<unknown, unknown, unknown> {
  return new UndoContext(plan, state, step, scope)
}
