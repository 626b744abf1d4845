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
  run(attempt: () => Promise<Answer>, signal: AbortSignal): Promise<Answer>
  /** What an attempt rejects with. */
  failure(error: ProxyError, again: boolean): Error
  /** The reason behind what `run` rejected with. */
  unwrap(error: unknown): ProxyError
}

class AttemptFailure extends Error {
  readonly again: boolean

  constructor(cause: ProxyError, again: boolean) {
    super(cause.message, { cause })
    this.again = again
  }
}

/** An upstream that asks for a longer pause than this is not waited for: the client is told instead. */
const LONGEST_PAUSE = 1_000

/** Back-off, budget and count are @msx/retry's; what may be repeated is decided here. */
export function createRetryPlan(options: ProxyRetry, clock: Clock): RetryPlan {
  const policy = retry({
    attempts: options.attempts ?? 3,
    backoff: options.backoff ?? exponential({ base: 50, max: 1_000 }),
    budget: options.budget ?? retryBudget(),
    shouldRetry: (outcome: Outcome) =>
      outcome.ok ? (outcome.value as Answer).held : outcome.error instanceof AttemptFailure && outcome.error.again,
    retryAfter: (outcome: Outcome) => (outcome.ok ? (outcome.value as Answer).head.retryAfter : undefined),
    maxRetryAfter: LONGEST_PAUSE,
    clock,
    discard: (value: unknown) => (value as Answer).attempt.discard(),
  })

  return {
    statuses: new Set(options.statuses ?? [502, 503, 504]),
    replay: options.replay ?? 65_536,
    run: (attempt, signal) => policy.execute(attempt, { signal }),
    failure: (error, again) => new AttemptFailure(error, again),
    unwrap(error) {
      if (error instanceof AttemptFailure) return error.cause as ProxyError

      return error instanceof ProxyError ? error : new ProxyError('internal', 'request', { cause: error })
    },
  }
}
