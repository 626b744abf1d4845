import { abortReason, contextOf, isAborted } from './internal/context.js'
import { invoke } from './internal/invoke.js'
import { functionOption } from './internal/validate.js'
import type { ExecuteOptions, Operation, Outcome, Policy } from './policy.js'

/**
 * A policy that resolves with something else when the operation fails. `value` gets how it failed; what it throws is
 * what the caller gets. A call that the caller aborted rejects with the caller's reason: nobody waits for an answer.
 *
 * Outermost in a {@link pipeline}, it answers for everything inside.
 *
 * @throws TypeError when `value` is no function.
 * @example
 * const policy = pipeline(fallback(() => []), retry())
 * const recommendations = await policy.execute(() => loadRecommendations('42'))
 */
export function fallback<F>(value: (outcome: Outcome) => F | PromiseLike<F>): Policy<F> {
  functionOption('fallback: value', value)

  return {
    execute<T>(operation: Operation<T>, options?: ExecuteOptions): Promise<T | F> {
      if (isAborted(options)) return Promise.reject(abortReason(options))

      return invoke(operation, contextOf(options)).then<T, F>(undefined, (error: unknown) => {
        if (isAborted(options)) throw abortReason(options)

        return value({ ok: false, error })
      })
    },
  }
}
