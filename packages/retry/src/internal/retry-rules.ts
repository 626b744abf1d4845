import type { Backoff } from '../backoff.js'
import type { ExhaustedReason } from '../events.js'
import type { Outcome } from '../policy.js'
import { retryAfterOf } from '../retry-after.js'
import { isNetworkError } from './network-error.js'
import { isDelay, wrong } from './validate.js'

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
  | { readonly retry: true; readonly delay: number; readonly backoff: number }
  | { readonly retry: false; readonly exhausted: ExhaustedReason | undefined }

const REFUSED: Decision = { retry: false, exhausted: undefined }

/**
 * Whether to try again. A server's hint only ever lengthens the wait; where we would not wait that long, we give up
 * rather than come back early.
 */
export function decide(rules: RetryRules, progress: Progress): Decision {
  const { attempt, outcome, elapsed, previous } = progress
  if (!rules.shouldRetry(outcome, attempt)) return REFUSED
  if (attempt >= rules.attempts) return { retry: false, exhausted: 'attempts' }

  const hint = readHint(rules.retryAfter(outcome))
  if (hint > rules.maxRetryAfter) return { retry: false, exhausted: 'retryAfter' }

  const backoff = rules.backoff(attempt - 1, previous, rules.random)
  if (!isDelay(backoff)) throw wrong('retry: what backoff returns', backoff, 'milliseconds from 0 to 2147483647')

  const delay = Math.max(backoff, hint)
  if (rules.deadline !== undefined && elapsed + delay > rules.deadline) return { retry: false, exhausted: 'deadline' }

  return { retry: true, delay, backoff }
}

/** Every rejection, except a mistake in the program and a rejection of our own policies that does not say for how long. */
export function shouldRetryByDefault(outcome: Outcome): boolean {
  if (outcome.ok || isMistake(outcome.error)) return false

  return !isRefusal(outcome.error) || typeof (outcome.error as { retryAfter?: unknown }).retryAfter === 'number'
}

/** The program is wrong, which no repetition mends. */
export function isMistake(error: unknown): boolean {
  return error instanceof TypeError && !isNetworkError(error)
}

const REFUSALS: ReadonlySet<unknown> = new Set(['MSX_CIRCUIT_OPEN', 'MSX_BULKHEAD_FULL', 'MSX_THROTTLED'])

/**
 * A circuit breaker, bulkhead or throttle let nothing through. Known by code, because packages know each other by shape.
 * Whether the time it names fits is up to {@link decide}.
 */
export function isRefusal(error: unknown): boolean {
  return REFUSALS.has((Object(error) as { code?: unknown }).code)
}

/** `error.retryAfter`, else the header of the value or of `error.response`. */
export function retryAfterByDefault(outcome: Outcome): number | undefined {
  if (outcome.ok) return headerHint(outcome.value)

  const { retryAfter, response } = Object(outcome.error) as { retryAfter?: unknown; response?: unknown }
  return typeof retryAfter === 'number' ? retryAfter : headerHint(response)
}

function headerHint(value: unknown): number | undefined {
  return retryAfterOf(Object(value))
}

/** What cannot be read, or is negative, is no hint. */
function readHint(hint: number | undefined): number {
  return typeof hint === 'number' && hint > 0 ? hint : 0
}
