import type { ExecuteOptions, Operation } from './policy.js'
import { type RetryContext, type RetryOptions, retry } from './retry.js'
import { timeout } from './timeout.js'

/**
 * Waits for `work` at most `ms` milliseconds, then rejects with {@link TimeoutError}. An operation gets a `signal` that
 * aborts with that error; a promise cannot be stopped, its late result is dropped. Where many calls share a limit,
 * {@link timeout} once is cheaper.
 *
 * @throws TypeError when `ms` is out of range.
 * @example
 * const user = await withTimeout(({ signal }) => loadUser('42', { signal }), 2_000)
 */
export function withTimeout<T>(work: PromiseLike<T> | Operation<T>, ms: number = 5_000): Promise<T> {
  return timeout(ms).execute(typeof work === 'function' ? work : () => work)
}

/**
 * {@link retry} for one call.
 *
 * @throws TypeError for options out of range.
 * @example
 * const user = await retryWithBackoff(() => loadUser('42'), { attempts: 5 })
 */
export function retryWithBackoff<T>(
  operation: Operation<T, RetryContext>,
  options: RetryOptions & ExecuteOptions = {},
): Promise<T> {
  return retry(options).execute(operation, { signal: options.signal })
}
