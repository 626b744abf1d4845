/** What an operation is called with. */
export interface PolicyContext {
  /**
   * Aborts when the work is no longer wanted. A lazy getter: an operation that never reads it costs no
   * `AbortController`.
   */
  readonly signal: AbortSignal
}

/** Work that a policy runs. It may be called more than once. */
export type Operation<T, C extends PolicyContext = PolicyContext> = (context: C) => PromiseLike<T> | T

/** Options of one call. The context of an outer policy is itself valid: `inner.execute(operation, context)`. */
export interface ExecuteOptions {
  /** The caller's abort. Its `reason` is what the call rejects with, the same object. */
  readonly signal?: AbortSignal | undefined
}

/** Anything that runs an operation under a rule. `F` is what it may resolve with instead of the operation's result. */
export interface Policy<F = never> {
  execute<T>(operation: Operation<T>, options?: ExecuteOptions): Promise<T | F>
  /** Types only, never set: carries `F` through {@link pipeline}. */
  readonly '~fallback'?: (() => F) | undefined
}

/** How an attempt ended. */
export type Outcome = { ok: true; value: unknown } | { ok: false; error: unknown }

/** Time, for tests and simulations. */
export interface Clock {
  /** Monotonic milliseconds. */
  now(): number
  /** Runs `run` after `ms` and returns what cancels it. Without it, real timers. */
  after?(ms: number, run: () => void): () => void
}
