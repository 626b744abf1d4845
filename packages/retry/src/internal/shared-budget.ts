import type { ExecuteOptions } from '../policy.js'
import type { RetryBudget } from '../retry-budget.js'
import type { CallContext } from './context.js'
import { hasMethods } from './has-methods.js'
import { wrong } from './validate.js'

/**
 * Tells the budget of a request, unless an outer policy has: a retry around a hedge that share a budget make one
 * request, not one for each attempt.
 */
export function countRequest(budget: RetryBudget | undefined, options: ExecuteOptions | undefined): void {
  if (budget !== undefined && (options as Partial<CallContext> | undefined)?.countedBy !== budget) budget.deposit()
}

/** Lets inner policies know that the budget has heard of the request. */
export function marked<C extends CallContext>(budget: RetryBudget | undefined, context: C): C {
  if (budget !== undefined) context.countedBy = budget
  return context
}

export function budgetOption(option: string, budget: RetryBudget | undefined): RetryBudget | undefined {
  if (budget === undefined || hasMethods<RetryBudget>(budget, 'deposit', 'tryWithdraw')) return budget

  throw wrong(option, budget, 'a retryBudget()')
}
