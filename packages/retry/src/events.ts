import type { Outcome } from './policy.js'

/** What a {@link RetryPolicy} tells its listeners. */
export interface RetryEvents {
  /** An attempt failed and another follows after `delay` milliseconds. */
  retry: { readonly attempt: number; readonly delay: number; readonly outcome: Outcome }
  /** An attempt failed in a way worth a retry, and there is none left; `outcome` is what the caller gets. */
  exhausted: { readonly attempt: number; readonly outcome: Outcome; readonly reason: ExhaustedReason }
  /** The budget refused the retry; `outcome` is what the caller gets. */
  budgetExhausted: { readonly attempt: number; readonly outcome: Outcome }
  /** An attempt succeeded: the first, or one that retrying was for. */
  success: { readonly attempt: number }
}

/**
 * What ran out: the attempts, the time until the deadline, or the patience with a Retry-After longer than
 * `maxRetryAfter`.
 */
export type ExhaustedReason = 'attempts' | 'deadline' | 'retryAfter'
