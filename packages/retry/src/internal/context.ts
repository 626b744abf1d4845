import type { ExecuteOptions, PolicyContext } from '../policy.js'
import type { RetryBudget } from '../retry-budget.js'

/** Marks the contexts of every @msx package: their `aborted` and `reason` can be asked without making a controller. */
const CONTEXT: unique symbol = Symbol.for('msx.context')

/** Options that are the context of an outer policy. */
interface BrandedContext extends PolicyContext {
  readonly [CONTEXT]: true
  readonly aborted: boolean
  readonly reason: unknown
}

/**
 * What an operation sees. It answers for the caller's signal, makes one of its own only when it is read and the caller
 * gave none, and carries on every further field of the options it was made from (`attempt`).
 */
export class CallContext implements PolicyContext {
  static {
    Object.defineProperty(CallContext.prototype, CONTEXT, { value: true })
  }

  readonly #caller: ExecuteOptions | undefined
  #signal: AbortSignal | undefined
  /** Set by a retry. Here and not in a class of its own, which would cost every call 15 ns. */
  declare readonly attempt?: number
  /** The budget that has counted this request. */
  declare countedBy?: RetryBudget

  constructor(caller: ExecuteOptions | undefined, attempt?: number) {
    this.#caller = caller
    if (attempt !== undefined) this.attempt = attempt
    if (caller) carryOn(caller as Fields, this as unknown as Fields)
  }

  get aborted(): boolean {
    return isAborted(this.#caller)
  }

  get reason(): unknown {
    return abortReason(this.#caller)
  }

  get signal(): AbortSignal {
    this.#signal ??= this.#caller?.signal ?? new AbortController().signal
    return this.#signal
  }

  /** The signal that `signal` would return, as long as none has to be made for it. */
  static existingSignal(options: ExecuteOptions | undefined): AbortSignal | undefined {
    if (!options) return undefined
    if (!isBranded(options)) return options.signal
    if (!(#caller in options)) return undefined

    return options.#signal ?? CallContext.existingSignal(options.#caller)
  }
}

/** The context to call an operation with: that of the outer policy as it is, or a new one. */
export function contextOf(options: ExecuteOptions | undefined): PolicyContext {
  return options && isBranded(options) ? options : new CallContext(options)
}

/** Whether the caller gave up; makes no controller. Untyped callers say null for no options. */
export function isAborted(options: ExecuteOptions | undefined): boolean {
  return options ? callerOf(options)?.aborted === true : false
}

export function abortReason(options: ExecuteOptions | undefined): unknown {
  return options ? callerOf(options)?.reason : undefined
}

/** What says whether, and why, the caller gave up. */
function callerOf(options: ExecuteOptions): BrandedContext | AbortSignal | undefined {
  return isBranded(options) ? options : options.signal
}

export function isBranded(options: ExecuteOptions): options is BrandedContext {
  return (options as Partial<BrandedContext>)[CONTEXT] === true
}

/** What an {@link AbortableContext} belongs to. */
export interface SignalOwner {
  /** The operation reads its signal for the first time: from now on it has to follow the caller's. */
  signalRead(): void
}

/** A context with an abort of its own, besides the caller's. Its controller is made when the signal is first read. */
export class AbortableContext extends CallContext {
  readonly #owner: SignalOwner
  #controller: AbortController | undefined
  #abortedWith: { readonly reason: unknown } | undefined

  constructor(caller: ExecuteOptions | undefined, owner: SignalOwner) {
    super(caller)
    this.#owner = owner
  }

  abort(reason: unknown): void {
    this.#abortedWith ??= { reason }
    this.#controller?.abort(reason)
  }

  override get aborted(): boolean {
    return this.#abortedWith !== undefined || super.aborted
  }

  override get reason(): unknown {
    return this.#abortedWith === undefined ? super.reason : this.#abortedWith.reason
  }

  override get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController()
      if (this.#abortedWith === undefined) this.#owner.signalRead()
      else this.#controller.abort(this.#abortedWith.reason)
    }

    return this.#controller.signal
  }
}

/** A context that says of its work: this must not be done twice. */
export class OnceContext extends CallContext {
  readonly repeatable = false
}

/** Whether the work may be repeated: see {@link OnceContext}, which may have been carried on by contexts in between. */
export function isRepeatable(options: ExecuteOptions | undefined): boolean {
  return (options as { readonly repeatable?: unknown } | undefined)?.repeatable !== false
}

/** Copies the fields that are not a context's own. `for in` sees no accessors of a prototype, so `signal` is not read. */
function carryOn(from: Fields, to: Fields): void {
  for (const field in from) {
    if (!(field in to)) to[field] = from[field]
  }
}

type Fields = Record<string, unknown>
