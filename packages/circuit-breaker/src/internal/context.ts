import type { ExecuteOptions, PolicyContext } from '../policy.js'

/** Marks the contexts of every package of the suite: they tell whether they were aborted without making a signal. */
export const CONTEXT: unique symbol = Symbol.for('msx.context') as never

/** A context that can be asked about the caller's abort at no cost. */
export interface CallContext extends PolicyContext {
  readonly aborted: boolean
  readonly reason: unknown
}

/**
 * The context of a call. One handed down by another policy is passed on as it is: asking it for its signal would make
 * an AbortController per policy and call.
 */
export function contextOf(options: ExecuteOptions | undefined): CallContext {
  // Untyped callers say null for "none", also for the signal, as fetch lets them.
  if (!options) return new OwnContext(undefined)
  if (isContext(options)) return options

  const context = new OwnContext(options.signal ?? undefined)
  for (const key of Object.keys(options)) {
    if (!(key in context)) Object.assign(context, { [key]: options[key as keyof ExecuteOptions] })
  }
  return context
}

function isContext(options: ExecuteOptions): options is CallContext {
  return (options as { readonly [CONTEXT]?: unknown })[CONTEXT] === true
}

class OwnContext implements CallContext {
  #signal: AbortSignal | undefined

  constructor(signal: AbortSignal | undefined) {
    this.#signal = signal
  }

  get [CONTEXT](): true {
    return true
  }

  get signal(): AbortSignal {
    this.#signal ??= new AbortController().signal
    return this.#signal
  }

  get aborted(): boolean {
    return this.#signal?.aborted === true
  }

  get reason(): unknown {
    return this.#signal?.reason
  }
}
