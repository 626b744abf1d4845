import type { Outcome } from './policy.js'
import type { RetryBudget } from './retry-budget.js'

/** Something that retries, and tells of it. */
export interface RetryEventSource {
  readonly kind: 'retry'
  /** For metrics and logs. */
  readonly name: string
  readonly budget: RetryBudget | undefined
  /** Returns what removes the listener. A listener that throws does not disturb the call. */
  on<E extends keyof RetryEvents>(event: E, listener: (event: RetryEvents[E]) => void): () => void
}

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

/** What a {@link HedgePolicy} tells its listeners. Copies are numbered from 1. */
export interface HedgeEvents {
  /** A further copy was started: the ones before took longer than `delay` milliseconds, or failed. */
  hedge: { readonly copy: number; readonly delay: number | undefined }
  /** The budget refused a copy; the call goes on with those it has. */
  budgetExhausted: { readonly copy: number }
  /** This copy succeeded, and is what the caller gets. */
  success: { readonly copy: number }
}

/**
 * What ran out: the attempts, the time until the deadline, or the patience with a Retry-After longer than
 * `maxRetryAfter`.
 */
export type ExhaustedReason = 'attempts' | 'deadline' | 'retryAfter'
