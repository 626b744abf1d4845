import { isHttpStatusError } from '../errors.js'
import type { ExhaustedReason, RetryEvents } from '../events.js'
import type { Clock, ExecuteOptions, Outcome } from '../policy.js'
import type { RetryBudget } from '../retry-budget.js'
import type { AbortWatch } from './abort-watch.js'
import { abortReason, isAborted, isRepeatable } from './context.js'
import { discardBody } from './discard.js'
import { type Emitter, isolated } from './emitter.js'
import { decide, type RetryRules } from './retry-rules.js'
import { after } from './time.js'

/** The options of a retry, checked and complete. */
export interface RetrySettings extends RetryRules {
  readonly name: string
  readonly clock: Clock
  readonly budget: RetryBudget | undefined
  readonly discard: (value: unknown) => void | Promise<void>
  readonly watch: AbortWatch
  readonly events: Emitter<RetryEvents>
  /**
   * Never used. When a garbage collection finds no object of a shape, V8 throws away the code it has optimised for it;
   * with calls that come one by one, that would be at each.
   */
  readonly kept: unknown
}

/** Who makes the attempts, and tells the course how each ended. */
export interface Attempter {
  attempt(number: number): void
  /** The call is over; this is what the caller gets. */
  settle(outcome: Outcome): void
}

/** A call on its way through its attempts. */
export interface RetryCourse {
  /** An attempt did. */
  ended(outcome: Outcome): void
  /** Nobody waits for the call any more. */
  aborted(reason: unknown): void
}

/**
 * One call from the end of its first attempt on: judge, wait, try again.
 *
 *   ended -> refused, or nothing left -> settle
 *         -> wait -> attempt -> ended ...
 *                 -> the deadline passed meanwhile -> settle with what there was
 *                 -> the caller aborts -> settle with its reason
 */
export function retryCourse(
  settings: RetrySettings,
  options: ExecuteOptions | undefined,
  startedAt: number,
  { attempt, settle }: Attempter,
): RetryCourse {
  const { budget, clock, deadline, events, watch } = settings
  let number = 1
  let previous = 0
  /** How the last attempt ended, until it is thrown away. */
  let held: Outcome | undefined
  let cancelTimer: (() => void) | undefined
  /** The caller's, during the wait. */
  let signal: AbortSignal | undefined

  const course = { ended, aborted }
  return course

  function ended(outcome: Outcome): void {
    held = outcome
    try {
      judge(outcome)
    } catch (mistake) {
      // A callback of the user's options threw.
      aborted(mistake)
    }
  }

  function aborted(reason: unknown): void {
    endWait()
    throwAway()
    settle({ ok: false, error: reason })
  }

  function judge(outcome: Outcome): void {
    if (!outcome.ok && isAborted(options)) aborted(abortReason(options))
    else if (!isRepeatable(options)) settle(outcome)
    else {
      const decision = decide(settings, { attempt: number, outcome, elapsed: elapsed(), previous })
      if (decision.delay === undefined) end(outcome, decision.exhausted)
      else retry(outcome, decision.delay, decision.backoff)
    }
  }

  function retry(outcome: Outcome, delay: number, backoff: number): void {
    // Paid before the wait: retries in back-off are load to come (envoyproxy/envoy#30205).
    if (budget !== undefined && !budget.tryWithdraw()) {
      events.emit('budgetExhausted', { attempt: number, outcome })
      settle(outcome)
      return
    }

    // Before the wait, so that a connection is free again. With a deadline, it may yet be what the caller gets.
    if (deadline === undefined) throwAway()
    events.emit('retry', { attempt: number, delay, outcome })
    previous = backoff
    wait(delay)
  }

  /** Milliseconds since the call began, which nobody asks for without a deadline. */
  function elapsed(): number {
    return deadline === undefined ? 0 : clock.now() - startedAt
  }

  function end(outcome: Outcome, reason: ExhaustedReason | undefined): void {
    if (reason !== undefined) events.emit('exhausted', { attempt: number, outcome, reason })
    else if (outcome.ok) events.emit('success', { attempt: number })

    settle(outcome)
  }

  function wait(delay: number): void {
    // No wait, no timer; but an endless loop of immediate failures must let the event loop turn, or nobody can abort it.
    if (delay === 0 && number % 100 !== 0) {
      queueMicrotask(tryAgain)
      return
    }

    cancelTimer = after(clock, delay, tryAgain)
    signal = options?.signal
    if (signal?.aborted) aborted(signal.reason)
    else if (signal !== undefined) watch.add(signal, course)
  }

  function endWait(): void {
    cancelTimer?.()
    if (signal !== undefined) watch.remove(signal, course)
  }

  function tryAgain(): void {
    endWait()
    // Without a wait, nobody listened to the signal.
    if (isAborted(options)) aborted(abortReason(options))
    // The timer came late: the event loop was blocked, or the machine slept.
    else if (held !== undefined && elapsed() > (deadline ?? Number.POSITIVE_INFINITY)) end(held, 'deadline')
    else {
      throwAway()
      attempt(++number)
    }
  }

  function throwAway(): void {
    if (held?.ok) isolated(settings.discard, held.value)
    else if (isHttpStatusError(held?.error)) discardBody(held.error.response)
    held = undefined
  }
}
