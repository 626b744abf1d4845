import type { PolicyContext } from '../policy.js'
import type { RetryBudget } from '../retry-budget.js'
import { wrong } from './validate.js'

/** On a context: the budget that knows of this call already. */
const counted = Symbol('counted')

interface Counted {
  [counted]?: RetryBudget
}

/**
 * Tells the budget of a request, once: a retry around a hedge that share a budget are one request, not one for each
 * attempt. `context` is the policy's own; what the caller handed in is behind it.
 */
export function countRequest(budget: RetryBudget, context: PolicyContext): void {
  if ((context as Counted)[counted] !== budget) budget.deposit()
  markCounted(budget, context)
}
