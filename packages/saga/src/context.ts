import { restoreError } from './errors.js'
import { fromJson } from './internal/json.js'
import type { Scope } from './internal/scope.js'
import type { Plan, PlannedStep } from './plan.js'
import { counterOf, resultsOf, type State } from './state.js'
import type { CompensateContext, StepContext, StepOutcome } from './step.js'

/** What the callbacks of a step are given. */
export function stepContext(
  plan: Plan,
  state: State,
  step: PlannedStep,
  scope: Scope,
  kind: 'do' | 'undo',
): StepContext<unknown, unknown> {
  const { marks } = state
  let input: { readonly value: unknown } | undefined
  let results: ReturnType<typeof resultsOf> | undefined
  // Parsed when they are read: many steps read neither.
  return {
    sagaId: state.id,
    get input() {
      input ??= { value: fromJson(state.input) }
      return input.value as never
    },
    get results() {
      results ??= resultsOf(plan, marks, step)
      return results
    },
    attempt: counterOf(state.progress, step).attempt + 1,
    key: `${state.id}:${step.name}:${kind}`,
    get signal() {
      return scope.signal
    },
  }
}

export function compensateContext(
  plan: Plan,
  state: State,
  step: PlannedStep,
  scope: Scope,
): CompensateContext<unknown, unknown, unknown> {
  const known = state.marks.get(step.name)
  const doubt = known?.error ?? { name: 'Error', message: 'the process ended while the step ran' }
  const outcome: StepOutcome<unknown> =
    known?.state === 'applied'
      ? { known: true, result: fromJson(known.output) as never }
      : { known: false, error: restoreError(doubt) }

  const context = stepContext(plan, state, step, scope, 'undo')
  const { cause } = state.progress
  const own = { outcome, forwardKey: `${state.id}:${step.name}:do`, cause: cause && restoreError(cause) }
  return Object.defineProperties(own, Object.getOwnPropertyDescriptors(context)) as typeof own & typeof context
}
