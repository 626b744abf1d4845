import { text } from './internal/check.js'
import type { Backoff, Outcome, Stored } from './shapes.js'

/** What a step is given. */
export interface StepContext<I, R> {
  readonly sagaId: string
  /** The input as JSON gives it back. */
  readonly input: Stored<I>
  /** The results of the earlier steps, by name. */
  readonly results: Readonly<R>
  /** From 1. Durable: a crash does not set it back. */
  readonly attempt: number
  /** The idempotency key of this step in this saga: the same in every attempt and on every worker. */
  readonly key: string
  /** Aborts at the step's timeout, at the saga's deadline, on cancel, and when the lease is lost. */
  readonly signal: AbortSignal
}

/** What is known of the step that is being undone: its result, or only the error that left it in doubt. */
export type StepOutcome<T> =
  | { readonly known: true; readonly result: Stored<T> }
  | { readonly known: false; readonly error: unknown }

/** What a compensation is given. Its `key` is its own; `forwardKey` is the one the step itself had. */
export interface CompensateContext<I, R, T> extends StepContext<I, R> {
  readonly outcome: StepOutcome<T>
  readonly forwardKey: string
  /** Why the saga is being unwound. */
  readonly cause: unknown
}

/** @msx/retry's words. */
export interface StepRetry {
  /** Attempts in all. Default 3 up to the pivot, Infinity after it, 3 for a compensation. */
  readonly attempts?: number | undefined
  /** Default `exponential()` of @msx/retry. */
  readonly backoff?: Backoff | undefined
  /** Asked after a failed attempt that the budget would repeat. Default: always. */
  shouldRetry?(outcome: Outcome, attempt: number): boolean
}

export interface ForwardOptions {
  readonly retry?: StepRetry | undefined
  /** Milliseconds for one attempt. From 1 000 on it may end up to 50 later. Default 60 000. */
  readonly timeout?: number | undefined
  /**
   * Write down that the step is about to run, before it runs (one more write). After a crash it is then not run again:
   * the saga is stuck, and an operator finds out what happened. For calls that cannot be made idempotent.
   */
  readonly intent?: boolean | undefined
}

export interface UndoPolicy {
  /** Retries of the compensation; its budget is its own. */
  readonly undoRetry?: StepRetry | undefined
  /** Milliseconds for one attempt of the compensation. Default 60 000. */
  readonly undoTimeout?: number | undefined
  /** What to take a failed step for that may or may not have been applied. Default 'compensate'. */
  readonly inDoubt?: 'compensate' | 'assume-not-applied' | undefined
}

export interface StepOptions<I, R, T> extends ForwardOptions, UndoPolicy {
  readonly compensate?: ((c: CompensateContext<I, R, T>) => void | Promise<void>) | undefined
}

export interface TxStepOptions<I, R, T, Tx> extends ForwardOptions, UndoPolicy {
  readonly compensate?: ((tx: Tx, c: CompensateContext<I, R, T>) => void | Promise<void>) | undefined
}

export type Run<I, R, T> = (c: StepContext<I, R>) => T | PromiseLike<T>
export type TxRun<I, R, T, Tx> = (tx: Tx, c: StepContext<I, R>) => T | PromiseLike<T>

declare const eventData: unique symbol

/** An event that sagas wait for, with the type of what it brings. */
export interface EventType<T> {
  readonly name: string
  readonly [eventData]?: T
}

/**
 * Names an event for `waitFor` and `engine.send`.
 *
 * @example
 * const paid = eventType<{ amount: number }>('paid')
 */
export function eventType<T>(name: string): EventType<T> {
  return Object.freeze({ name: text('the name of an event', name) })
}

export interface WaitOptions<I, R, O extends 'fail' | 'continue'> {
  /** Which of the events of this name: the `key` that it is sent under. Use nothing but what it is given. */
  readonly key: (c: { readonly sagaId: string; readonly input: Stored<I>; readonly results: Readonly<R> }) => string
  /** Milliseconds, by the store's clock. Default: without end. */
  readonly timeout?: number | undefined
  /** `fail` fails the step with StepTimeoutError; `continue` goes on with a result of undefined. Default 'fail'. */
  readonly onTimeout?: O | undefined
}
