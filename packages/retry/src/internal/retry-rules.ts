import type { Backoff } from '../backoff.js'
import type { ExhaustedReason } from '../events.js'
import type { Outcome } from '../policy.js'
import { type HeadersLike, retryAfterOf } from '../retry-after.js'
import { isNetworkError } from './network-error.js'
import { safely } from './safely.js'
import { duration } from './validate.js'

/** When to try again, and how long to wait: the part of the options that decides. */
export interface RetryRules {
  readonly attempts: number
  readonly backoff: Backoff
  readonly deadline: number | undefined
  readonly maxRetryAfter: number
  readonly random: () => number
  shouldRetry(outcome: Outcome, attempt: number): boolean
  retryAfter(outcome: Outcome): number | undefined
}

/** Where a call stands after an attempt. */
export interface Progress {
  /** The attempt that ended with `outcome`, 1 at first. */
  readonly attempt: number
  readonly outcome: Outcome
  /** Milliseconds since the call began. */
  readonly elapsed: number
  /** What the back-off returned before. */
  readonly previous: number
}

export type Decision =
  | { readonly delay: number; readonly backoff: number }
  | { readonly delay?: never; readonly exhausted?: ExhaustedReason }

/**
 * Whether to try again, that is after which delay. A server's hint only ever lengthens the wait; where we would not wait
 * that long, we give up rather than come back early.
 */
export function decide(rules: RetryRules, { attempt, outcome, elapsed, previous }: Progress): Decision {
  if (!rules.shouldRetry(outcome, attempt)) return {}
  if (attempt >= rules.attempts) return { exhausted: 'attempts' }

  const hint = readHint(rules.retryAfter(outcome))
  if (hint > rules.maxRetryAfter) return { exhausted: 'retryAfter' }

  const backoff = duration('retry: what backoff returns', rules.backoff(attempt - 1, previous, rules.random))
  const delay = Math.max(backoff, hint)
  return elapsed + delay > (rules.deadline ?? Number.POSITIVE_INFINITY) ? { exhausted: 'deadline' } : { delay, backoff }
}

/** Every rejection, except a mistake in the program and a rejection of our own policies that does not say for how long. */
export function shouldRetryByDefault(outcome: Outcome): boolean {
  if (outcome.ok || isMistake(outcome.error)) return false

  return !isRefusal(outcome.error) || typeof (outcome.error as { retryAfter?: unknown }).retryAfter === 'number'
}

/** The program is wrong, which no repetition mends. */
export function isMistake(error: unknown): boolean {
  return safely(() => error instanceof TypeError && !isNetworkError(error), false)
}

const REFUSALS: readonly unknown[] = ['MSX_CIRCUIT_OPEN', 'MSX_BULKHEAD_FULL', 'MSX_THROTTLED']

/**
 * A circuit breaker, bulkhead or throttle let nothing through. Known by code, because packages know each other by shape.
 * Whether the time it names fits is up to {@link decide}.
 */
export function isRefusal(error: unknown): boolean {
  return safely(() => REFUSALS.includes(Object(error).code), false)
}

/** `error.retryAfter`, else the header of the value or of `error.response`. */
export function retryAfterByDefault(outcome: Outcome): number | undefined {
  return safely(() => {
    if (outcome.ok) return retryAfterOf(outcome.value as HeadersLike)

    const { retryAfter, response } = Object(outcome.error)
    return typeof retryAfter === 'number' ? retryAfter : retryAfterOf(response)
  }, undefined)
}

/** What cannot be read, or is negative, is no hint. */
function readHint(hint: number | undefined): number {
  return typeof hint === 'number' && hint > 0 ? hint : 0
}
