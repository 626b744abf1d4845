import { type Backoff, exponential } from './backoff.js'
import type { RetryEventSource } from './events.js'
import { AbortWatch } from './internal/abort-watch.js'
import { abortReason, CallContext, isAborted } from './internal/context.js'
import { type RetrySettings, retryCourse } from './internal/course.js'
import { discardBody } from './internal/discard.js'
import { Emitter } from './internal/emitter.js'
import { invoke } from './internal/invoke.js'
import { retryAfterByDefault, shouldRetryByDefault } from './internal/retry-rules.js'
import { budgetOption, countRequest, marked } from './internal/shared-budget.js'
import { clockOption } from './internal/time.js'
import { duration, functionOption, optionsObject, stringOption, wrong } from './internal/validate.js'
import type { Clock, ExecuteOptions, Operation, Outcome, Policy, PolicyContext } from './policy.js'
import type { RetryBudget } from './retry-budget.js'

export interface RetryOptions {
  /** Attempts in all, the first included; `Infinity` is allowed. Default 3. */
  readonly attempts?: number | undefined
  /** How long to wait before each retry. Default `exponential()`. */
  readonly backoff?: Backoff | undefined
  /**
   * Milliseconds for the whole of `execute`: a retry that would begin after it is not waited for. It aborts no attempt,
   * {@link timeout} does. Default none.
   */
  readonly deadline?: number | undefined
  /** Limits retries to a fraction of the requests; share one between policies that call the same service. */
  readonly budget?: RetryBudget | undefined
  /**
   * Whether an attempt that ended like this is worth another. Default: every rejection except a `TypeError` that is no
   * network error, and a rejection of a circuit breaker, bulkhead or throttle that gives no time to come back. An abort
   * by the caller is never retried, whatever this says.
   */
  readonly shouldRetry?: ((outcome: Outcome, attempt: number) => boolean) | undefined
  /**
   * How long the other side asks us to wait, in milliseconds; the wait is never shorter. Default: `error.retryAfter`,
   * else {@link retryAfterOf} the value or `error.response`.
   */
  readonly retryAfter?: ((outcome: Outcome) => number | undefined) | undefined
  /** Asked to wait longer than this (milliseconds), give up at once. Default 20_000, the longest back-off. */
  readonly maxRetryAfter?: number | undefined
  /**
   * Disposes of a value that is thrown away because the call is retried. Not waited for. Default: reads a response's
   * body to its end, so that its connection is free again.
   */
  readonly discard?: ((value: unknown) => void | Promise<void>) | undefined
  readonly clock?: Clock | undefined
  /** A number in [0, 1), for the jitter. Default `Math.random`. */
  readonly random?: (() => number) | undefined
  /** For metrics and logs. Default 'retry'. */
  readonly name?: string | undefined
}

export interface RetryContext extends PolicyContext {
  /** 1 for the first attempt. */
  readonly attempt: number
}

export interface RetryPolicy extends Policy, RetryEventSource {
  execute<T>(operation: Operation<T, RetryContext>, options?: ExecuteOptions): Promise<T>
}

/**
 * A policy that tries again when an operation fails.
 *
 * When nothing is left to try, it rejects with the last real error, unchanged. When the caller aborts, it stops waiting
 * and rejects with `signal.reason`; an attempt that is running is told through its own `signal`.
 *
 * @throws TypeError for options out of range.
 * @example
 * const policy = retry({ attempts: 5, deadline: 10_000 })
 * const user = await policy.execute(({ signal }) => loadUser('42', { signal }))
 */
export function retry(options: RetryOptions = {}): RetryPolicy {
  optionsObject('retry', options)
  const settings = retrySettings(options)
  const { budget, clock, deadline, events, name } = settings
  const judgesValues = options.shouldRetry !== undefined
  const successListeners = events.listeners('success')

  const firstSucceeded = <T>(value: T): T => {
    events.emit('success', { attempt: 1 })
    return value
  }

  const makeAttempt = <T>(
    operation: Operation<T, RetryContext>,
    options: ExecuteOptions | undefined,
    attempt: number,
  ): Promise<T> => invoke(operation, marked(budget, new CallContext(options, attempt)) as CallContext & RetryContext)

  /** After the first attempt. */
  const goOn = <T>({ operation, options, startedAt }: Call<T>, outcome: Outcome): Promise<T> =>
    new Promise((resolve, reject) => {
      const course = retryCourse(settings, options, startedAt, {
        attempt(number) {
          makeAttempt(operation, options, number).then(succeeded, failed)
        },
        settle: (last) => (last.ok ? resolve(last.value as T) : reject(last.error)),
      })
      const succeeded = (value: unknown) => course.ended({ ok: true, value })
      const failed = (error: unknown) => course.ended({ ok: false, error })

      course.ended(outcome)
    })

  return {
    kind: 'retry',
    name,
    budget,
    on: (event, listener) => events.on(event, listener),

    /** The first attempt is one promise and one function more than the operation itself. */
    execute<T>(operation: Operation<T, RetryContext>, options?: ExecuteOptions): Promise<T> {
      if (isAborted(options)) return Promise.reject(abortReason(options))

      countRequest(budget, options)
      const startedAt = deadline === undefined ? 0 : clock.now()
      const first = makeAttempt(operation, options, 1)
      const failed = (error: unknown): Promise<T> => goOn({ operation, options, startedAt }, { ok: false, error })
      if (judgesValues)
        return first.then((value) => goOn({ operation, options, startedAt }, { ok: true, value }), failed)

      // A promise that has no function to run for a success costs two thirds of one that has.
      return first.then(successListeners.size > 0 ? firstSucceeded : undefined, failed)
    },
  }
}

interface Call<T> {
  readonly operation: Operation<T, RetryContext>
  readonly options: ExecuteOptions | undefined
  readonly startedAt: number
}

/** Checks the options and fills in the defaults. */
export function retrySettings({
  name = 'retry',
  attempts = 3,
  backoff = exponential(),
  deadline,
  maxRetryAfter = 20_000,
  random = Math.random,
  shouldRetry = shouldRetryByDefault,
  retryAfter = retryAfterByDefault,
  discard = discardBody,
  clock,
  budget,
}: RetryOptions): RetrySettings {
  const callbacks = { backoff, random, shouldRetry, retryAfter, discard }
  for (const [option, callback] of Object.entries(callbacks)) functionOption(`retry: ${option}`, callback)
  if (attempts !== Number.POSITIVE_INFINITY && !(Number.isInteger(attempts) && attempts >= 1)) {
    throw wrong('retry: attempts', attempts, 'a whole number from 1, or Infinity')
  }

  return {
    ...callbacks,
    attempts,
    name: stringOption('retry: name', name),
    deadline: deadline === undefined ? undefined : duration('retry: deadline', deadline),
    maxRetryAfter: duration('retry: maxRetryAfter', maxRetryAfter),
    clock: clockOption('retry: clock', clock),
    budget: budgetOption('retry: budget', budget),
    watch: new AbortWatch(),
    kept: new CallContext(undefined, 1),
    events: new Emitter('retry', 'exhausted', 'budgetExhausted', 'success'),
  }
}
