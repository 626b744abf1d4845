import { isMessagingError } from './errors.js'
import { checkCount, checkDuration, refuse } from './internal/check.js'

/** How often, and when, a message whose handler failed is tried again before it is a dead letter. */
export interface RetryPlan {
  /** Attempts that follow the first one at once, in the same process. Default 1. */
  readonly immediate?: number | undefined
  /** How long to wait before each further attempt, in ms. Default 1 s, 5 s, 30 s, 2 min. */
  readonly delays?: readonly number[] | undefined
}

export type Verdict =
  | { readonly next: 'now' }
  | { readonly next: 'later'; readonly delay: number }
  | { readonly next: 'never' }

/** Between attempts of a message that has no delays but must not be given up, in ms. */
const BLOCKED_DELAY = 1_000

const DEFAULTS: Required<RetryPlan> = { immediate: 1, delays: [1_000, 5_000, 30_000, 120_000] }

/** What follows when attempt number `attempt`, from 1, failed with `error`. */
export function judge(error: unknown, attempt: number, plan: Required<RetryPlan>): Verdict {
  if (isMessagingError(error) && !error.retryable) return { next: 'never' }

  const { immediate = 0, delays = [] } = plan
  if (attempt <= immediate) return { next: 'now' }
  const delay = delays[attempt - immediate - 1]
  return delay === undefined ? { next: 'never' } : { next: 'later', delay }
}

/** Where the rest of a key waits for this message: only what can never succeed is given up. */
export function judgeBlocking(error: unknown, attempt: number, plan: Required<RetryPlan>): Verdict {
  const verdict = judge(error, attempt, plan)
  if (verdict.next !== 'never' || (isMessagingError(error) && !error.retryable)) return verdict

  return { next: 'later', delay: plan.delays?.at(-1) ?? BLOCKED_DELAY }
}

export function completePlan(where: string, retry: RetryPlan | false | undefined): Required<RetryPlan> {
  if (retry === false) return { immediate: 0, delays: [] }
  if (retry === undefined) return DEFAULTS
  if (typeof retry !== 'object' || retry === null) refuse(where, 'retry', retry, '{ immediate, delays } or false')

  const { immediate = DEFAULTS.immediate, delays = DEFAULTS.delays } = retry
  checkCount(where, 'retry.immediate', immediate, 0)
  if (!Array.isArray(delays)) refuse(where, 'retry.delays', delays, 'an array of milliseconds')
  delays.forEach((delay: number, index: number) => {
    if (delay === undefined) refuse(where, `retry.delays[${index}]`, delay, 'a number of milliseconds')
    checkDuration(where, `retry.delays[${index}]`, delay)
  })

  return { immediate, delays: [...delays] }
}
