import { abortReason, contextOf, isAborted } from './internal/context.js'
import { invoke } from './internal/invoke.js'
import { policyArgument } from './internal/validate.js'
import type { ExecuteOptions, Operation, Policy } from './policy.js'

/** What a policy, or any of a union of policies, may resolve with instead of the operation's result. */
export type FallbackOf<P> = P extends { execute: unknown; readonly '~fallback'?: infer M }
  ? NonNullable<M> extends () => infer F
    ? F
    : never
  : never

/**
 * One policy out of several, the outermost first. Each runs the next with its own context, so the operation's `signal`
 * is that of the innermost policy and aborts for the reasons of all.
 *
 * The order that serves most calls: fallback, bulkhead, timeout of the whole, retry, circuit breaker, timeout of an
 * attempt.
 *
 * @throws TypeError for what is no policy.
 * @example
 * const policy = pipeline(timeout(5_000), retry(), timeout(1_000))
 * const user = await policy.execute(({ signal }) => loadUser('42', { signal }))
 */
export function pipeline<const P extends readonly Policy<unknown>[]>(
  ...outermostFirst: P
): Policy<FallbackOf<P[number]>> {
  for (const policy of outermostFirst) policyArgument('pipeline: each', policy)

  return outermostFirst.reduceRight(around, bare) as Policy<FallbackOf<P[number]>>
}

function around(inner: Policy<unknown>, outer: Policy<unknown>): Policy<unknown> {
  if (inner === bare) return outer

  return {
    execute(operation, options) {
      return outer.execute((context) => inner.execute(operation, context), options)
    },
  }
}

/** The pipeline of no policies. */
const bare: Policy<unknown> = {
  execute<T>(operation: Operation<T>, options?: ExecuteOptions): Promise<T> {
    return isAborted(options) ? Promise.reject(abortReason(options)) : invoke(operation, contextOf(options))
  },
}
