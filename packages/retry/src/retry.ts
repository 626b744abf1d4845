import { type Backoff, exponential } from './backoff.js'
import { isHttpStatusError } from './errors.js'
import type { ExhaustedReason, RetryEvents } from './events.js'
import { AbortWatch, CallerWatcher } from './internal/abort-watch.js'
import { abortReason, CallContext, isAborted, isRepeatable } from './internal/context.js'
import { discardBody } from './internal/discard.js'
import { Emitter, isolated } from './internal/emitter.js'
import { invoke } from './internal/invoke.js'
import { decide, type RetryRules, retryAfterByDefault, shouldRetryByDefault } from './internal/retry-rules.js'
import { budgetOption, countRequest, marked } from './internal/shared-budget.js'
import { after, clockOption } from './internal/time.js'
import { optionalDuration, optionalFunction, optionalString, optionsObject, wrong } from './internal/validate.js'
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

export interface RetryPolicy extends Policy {
  readonly kind: 'retry'
  readonly name: string
  readonly budget: RetryBudget | undefined
  execute<T>(operation: Operation<T, RetryContext>, options?: ExecuteOptions): Promise<T>
  /** Returns what removes the listener. A listener that throws does not disturb the call. */
  on<E extends keyof RetryEvents>(event: E, listener: (event: RetryEvents[E]) => void): () => void
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

  return new Retry(options)
}

class Retry implements RetryPolicy {
  readonly kind = 'retry'
  readonly name: string
  readonly rules: RetryRules
  readonly clock: Clock
  readonly budget: RetryBudget | undefined
  readonly discard: (value: unknown) => void | Promise<void>
  readonly watch: AbortWatch = new AbortWatch()
  readonly events: Emitter<RetryEvents> = new Emitter(['retry', 'exhausted', 'budgetExhausted', 'success'])
  readonly #judgesValues: boolean

  constructor(options: RetryOptions) {
    this.name = optionalString('retry: name', options.name) ?? 'retry'
    this.rules = rulesOf(options)
    this.clock = clockOption('retry: clock', options.clock)
    this.budget = budgetOption('retry: budget', options.budget)
    this.discard = optionalFunction('retry: discard', options.discard) ?? discardBody
    this.#judgesValues = options.shouldRetry !== undefined
  }

  on<E extends keyof RetryEvents>(event: E, listener: (event: RetryEvents[E]) => void): () => void {
    return this.events.on(event, listener)
  }

  /**
   * The first attempt is one promise and one function more than the operation itself. A {@link RetryCall} is made only
   * for a call that needs more.
   */
  execute<T>(operation: Operation<T, RetryContext>, options?: ExecuteOptions): Promise<T> {
    if (isAborted(options)) return Promise.reject(abortReason(options))

    countRequest(this.budget, options)
    const startedAt = this.rules.deadline === undefined ? 0 : this.clock.now()
    const first = invoke(operation, this.contextOf(options, 1))
    const failed = (error: unknown): Promise<T> =>
      new RetryCall(this, operation, options, startedAt).begin({ ok: false, error })

    if (!this.#judgesValues) return first.then(this.#firstSucceeded as (value: T) => T, failed)

    return first.then((value) => new RetryCall(this, operation, options, startedAt).begin({ ok: true, value }), failed)
  }

  contextOf(options: ExecuteOptions | undefined, attempt: number): RetryContext {
    return marked(this.budget, new CallContext(options, attempt)) as CallContext & RetryContext
  }

  readonly #firstSucceeded = (value: unknown): unknown => {
    if (this.events.hasListeners('success')) this.events.emit('success', { attempt: 1 })
    return value
  }
}

/** One call from the end of its first attempt on: judge, wait, try again. */
class RetryCall<T> extends CallerWatcher {
  readonly #policy: Retry
  readonly #operation: Operation<T, RetryContext>
  readonly #options: ExecuteOptions | undefined
  readonly #startedAt: number
  #attempt = 1
  #previous = 0
  #cancelTimer: (() => void) | undefined
  #resolve!: (value: T) => void
  #reject!: (error: unknown) => void

  constructor(
    policy: Retry,
    operation: Operation<T, RetryContext>,
    options: ExecuteOptions | undefined,
    startedAt: number,
  ) {
    super(policy.watch)
    this.#policy = policy
    this.#operation = operation
    this.#options = options
    this.#startedAt = startedAt
  }

  /** Takes over after the first attempt. */
  begin(outcome: Outcome): Promise<T> {
    return new Promise((resolve, reject) => {
      this.#resolve = resolve
      this.#reject = reject
      this.#ended(outcome)
    })
  }

  readonly #succeeded = (value: T): void => this.#ended({ ok: true, value })

  readonly #failed = (error: unknown): void => this.#ended({ ok: false, error })

  #ended(outcome: Outcome): void {
    try {
      this.#judge(outcome)
    } catch (mistake) {
      // A callback of the user's options threw.
      this.#reject(mistake)
    }
  }

  #judge(outcome: Outcome): void {
    const { rules, clock } = this.#policy
    if (!outcome.ok && isAborted(this.#options)) {
      this.#reject(abortReason(this.#options))
      return
    }

    if (!isRepeatable(this.#options)) {
      this.#settle(outcome)
      return
    }

    const attempt = this.#attempt
    const elapsed = rules.deadline === undefined ? 0 : clock.now() - this.#startedAt
    const decision = decide(rules, { attempt, outcome, elapsed, previous: this.#previous })
    if (decision.retry) this.#retry(decision, outcome)
    else this.#end(decision.exhausted, outcome)
  }

  #end(exhausted: ExhaustedReason | undefined, outcome: Outcome): void {
    const { events } = this.#policy
    const attempt = this.#attempt
    if (exhausted !== undefined) events.emit('exhausted', { attempt, outcome, reason: exhausted })
    else if (outcome.ok) events.emit('success', { attempt })

    this.#settle(outcome)
  }

  #retry({ delay, backoff }: { readonly delay: number; readonly backoff: number }, outcome: Outcome): void {
    const { budget, events } = this.#policy
    const attempt = this.#attempt
    // Paid before the wait: retries in back-off are load to come (envoyproxy/envoy#30205).
    if (budget !== undefined && !budget.tryWithdraw()) {
      events.emit('budgetExhausted', { attempt, outcome })
      this.#settle(outcome)
      return
    }

    this.#throwAway(outcome)
    events.emit('retry', { attempt, delay, outcome })
    this.#previous = backoff
    this.#wait(delay)
  }

  #settle(outcome: Outcome): void {
    if (outcome.ok) this.#resolve(outcome.value as T)
    else this.#reject(outcome.error)
  }

  /** Before the wait, so that a connection is free again for the next attempt. */
  #throwAway(outcome: Outcome): void {
    if (outcome.ok) isolated(this.#policy.discard, outcome.value)
    else if (isHttpStatusError(outcome.error)) discardBody(outcome.error.response)
  }

  #wait(delay: number): void {
    // No wait, no timer; but an endless loop of immediate failures must let the event loop turn, or nobody can abort it.
    if (delay === 0 && this.#attempt % 100 !== 0) {
      queueMicrotask(this.#tryAgain)
      return
    }

    this.#cancelTimer = after(this.#policy.clock, delay, this.#tryAgain)
    this.follow(this.#options?.signal)
  }

  override aborted(reason: unknown): void {
    this.#cancelTimer?.()
    this.unfollow()
    this.#reject(reason)
  }

  readonly #tryAgain = (): void => {
    this.unfollow()
    // Without a wait, nobody listened to the signal.
    if (isAborted(this.#options)) {
      this.#reject(abortReason(this.#options))
      return
    }

    this.#attempt += 1
    invoke(this.#operation, this.#policy.contextOf(this.#options, this.#attempt)).then(this.#succeeded, this.#failed)
  }
}

function rulesOf(options: RetryOptions): RetryRules {
  return {
    attempts: attemptsOf(options.attempts),
    backoff: optionalFunction('retry: backoff', options.backoff) ?? exponential(),
    deadline: optionalDuration('retry: deadline', options.deadline),
    maxRetryAfter: optionalDuration('retry: maxRetryAfter', options.maxRetryAfter) ?? 20_000,
    random: optionalFunction('retry: random', options.random) ?? Math.random,
    shouldRetry: optionalFunction('retry: shouldRetry', options.shouldRetry) ?? shouldRetryByDefault,
    retryAfter: optionalFunction('retry: retryAfter', options.retryAfter) ?? retryAfterByDefault,
  }
}

function attemptsOf(value: unknown = 3): number {
  if (value === Number.POSITIVE_INFINITY || (Number.isInteger(value) && (value as number) >= 1)) return value as number

  throw wrong('retry: attempts', value, 'a whole number from 1, or Infinity')
}
