import { type Backoff, exponential, type Outcome, type RetryBudget, retry, retryBudget } from '@msx/retry'
import type { Attempt, Head } from './attempt.js'
import type { Clock } from './clock.js'
import { ProxyError } from './errors.js'

/**
 * When a request is sent again. Only idempotent methods, or requests with an `Idempotency-Key`, whose body could be
 * kept, and never once a response has begun to reach the client; a request that never left may be sent again
 * whatever its method.
 */
export interface ProxyRetry {
  /** Attempts in all. Default 3. */
  readonly attempts?: number | undefined
  /** Default `exponential({ base: 50, max: 1_000 })`. */
  readonly backoff?: Backoff | undefined
  /** Shared by all requests of the route, so that retries stay a fraction of the traffic. Default `retryBudget()`. */
  readonly budget?: RetryBudget | undefined
  /** The answers that are asked for again. Default 502, 503, 504. */
  readonly statuses?: readonly number[] | undefined
  /** How many bytes of a request's body are kept to be sent again. Default 65_536. */
  readonly replay?: number | undefined
}

/** An attempt that got an answer; `held`: it waits to hear whether it is the one. */
export interface Answer {
  readonly attempt: Attempt
  readonly head: Head
  readonly held: boolean
}

export interface RetryPlan {
  readonly statuses: ReadonlySet<number>
  readonly replay: number
  /** Attempts until one is not worth repeating. What is no `Answer` is taken as it is. */
  run<T>(attempt: () => Promise<T>, signal: AbortSignal): Promise<T>
  /** What an attempt rejects with; `pause`: what the upstream asked for, in milliseconds. */
  failure(error: Error, again: boolean, pause?: number): Error
  /** The reason behind what `run` rejected with. */
  unwrap(error: unknown): ProxyError
}

class AttemptFailure extends Error {
  readonly again: boolean
  readonly pause: number | undefined

  constructor(cause: Error, again: boolean, pause: number | undefined) {
    super(cause.message, { cause })
    this.again = again
    this.pause = pause
  }
}

/** What an attempt failed with, behind what `run` rejected with. */
export const reasonOf = (error: unknown): unknown => (error instanceof AttemptFailure ? error.cause : error)

/** Methods of which twice is as good as once (RFC 9110, 9.2.2). */
export const idempotent: ReadonlySet<string> = new Set(['GET', 'HEAD', 'OPTIONS', 'PUT', 'DELETE'])

/** An upstream that asks for a longer pause than this is not waited for: the client is told instead. */
const LONGEST_PAUSE = 1_000

/** Back-off, budget and count are @msx/retry's; what may be repeated is decided here. */
export function createRetryPlan(options: ProxyRetry, clock: Clock): RetryPlan {
  const policy = retry({
    attempts: options.attempts ?? 3,
    backoff: options.backoff ?? exponential({ base: 50, max: 1_000 }),
    budget: options.budget ?? retryBudget(),
    shouldRetry: (outcome: Outcome) =>
      outcome.ok
        ? (outcome.value as Answer | undefined)?.held === true
        : outcome.error instanceof AttemptFailure && outcome.error.again,
    retryAfter(outcome: Outcome) {
      if (outcome.ok) return (outcome.value as Answer | undefined)?.head.retryAfter

      return outcome.error instanceof AttemptFailure ? outcome.error.pause : undefined
    },
    maxRetryAfter: LONGEST_PAUSE,
    clock,
    discard: (value: unknown) => (value as Answer | undefined)?.attempt.discard(),
  })

  return {
    statuses: new Set(options.statuses ?? [502, 503, 504]),
    replay: options.replay ?? 65_536,
    run: (attempt, signal) => policy.execute(attempt, { signal }),
    failure: (error, again, pause) => new AttemptFailure(error, again, pause),
    unwrap(error) {
      const reason = reasonOf(error)
      return reason instanceof ProxyError ? reason : new ProxyError('internal', 'request', { cause: reason })
    },
  }
}
