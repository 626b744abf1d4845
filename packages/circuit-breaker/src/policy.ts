/** What an operation is given. `signal` is made when it is first read, so a call that ignores it pays nothing. */
export interface PolicyContext {
  readonly signal: AbortSignal
}

/** The work a policy guards. It may answer at once, later, or throw. */
export type Operation<T, C extends PolicyContext = PolicyContext> = (context: C) => PromiseLike<T> | T

/** Options of one call. The context another policy handed down is a valid value, extra fields included. */
export interface ExecuteOptions {
  readonly signal?: AbortSignal | undefined
}

/** What every policy of the suite looks like; packages know each other by this shape alone. */
export interface Policy<F = never> {
  execute<T>(operation: Operation<T>, options?: ExecuteOptions): Promise<T | F>
  /** For the type checker only; never set. */
  readonly '~fallback'?: (() => F) | undefined
}

/** How an operation ended. */
export type Outcome = { readonly ok: true; readonly value: unknown } | { readonly ok: false; readonly error: unknown }

/** Monotonic time in milliseconds. `after` runs a function once and returns what cancels it; without it, real timers. */
export interface Clock {
  now(): number
  readonly after?: ((ms: number, run: () => void) => () => void) | undefined
}
