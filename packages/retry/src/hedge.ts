import type { HedgeEvents } from './events.js'
import { AbortWatch, CallerWatcher } from './internal/abort-watch.js'
import {
  AbortableContext,
  abortReason,
  CallContext,
  isAborted,
  isRepeatable,
  type SignalOwner,
} from './internal/context.js'
import { discardBody } from './internal/discard.js'
import { Emitter, isolated } from './internal/emitter.js'
import { invoke } from './internal/invoke.js'
import { LatencyWindow } from './internal/latency-window.js'
import { isMistake, isRefusal } from './internal/retry-rules.js'
import { budgetOption, countRequest, marked } from './internal/shared-budget.js'
import { after, clockOption } from './internal/time.js'
import { duration, functionOption, optionsObject, stringOption, wrong } from './internal/validate.js'
import type { Clock, ExecuteOptions, Operation, Policy } from './policy.js'
import type { RetryBudget } from './retry-budget.js'

export interface HedgeOptions {
  /**
   * How long to wait for a copy before another is started, in milliseconds. `'p95'`: as long as 95 % of this policy's
   * own last 100 calls took; until it has seen 20, no copy is started for being late.
   */
  readonly delay: number | 'p95'
  /** Copies in all, the first included. Default 2. */
  readonly max?: number | undefined
  /** Limits copies to a fraction of the requests; may be the budget of a {@link retry}, also of one around this. */
  readonly budget?: RetryBudget | undefined
  /**
   * Disposes of the value of a copy that came too late. Not waited for. Default: reads a response's body to its end, so
   * that its connection is free again.
   */
  readonly discard?: ((value: unknown) => void | Promise<void>) | undefined
  readonly clock?: Clock | undefined
  /** For metrics and logs. Default 'hedge'. */
  readonly name?: string | undefined
}

export interface HedgePolicy extends Policy {
  readonly kind: 'hedge'
  readonly name: string
  readonly budget: RetryBudget | undefined
  /** Returns what removes the listener. A listener that throws does not disturb the call. */
  on<E extends keyof HedgeEvents>(event: E, listener: (event: HedgeEvents[E]) => void): () => void
}

/**
 * A policy that starts the operation again when an answer is late, and takes the first that comes; the signals of the
 * other copies abort. For operations that may happen twice, and only where few calls are slow.
 *
 * A copy that fails does not fail the call while others run: the next is started at once, and the call rejects with the
 * last error when all have failed. A mistake in the program (a `TypeError` that is no network error) ends the call; the
 * rejection of a circuit breaker, bulkhead or throttle starts no copy. (After gRPC's hedging, gRFC A6.)
 *
 * @throws TypeError for options out of range.
 * @example
 * const policy = hedge({ delay: 'p95', budget: retryBudget({ ratio: 0.05 }) })
 * const response = await policy.execute(({ signal }) => fetch('https://api.example.com/stock', { signal }))
 */
export function hedge(options: HedgeOptions): HedgePolicy {
  optionsObject('hedge', options)

  return new Hedge(options)
}

class Hedge implements HedgePolicy {
  readonly kind = 'hedge'
  readonly name: string
  readonly max: number
  readonly budget: RetryBudget | undefined
  readonly clock: Clock
  readonly discard: (value: unknown) => void | Promise<void>
  readonly watch: AbortWatch = new AbortWatch()
  readonly events: Emitter<HedgeEvents> = new Emitter('hedge', 'budgetExhausted', 'success')
  readonly latencies: LatencyWindow | undefined
  readonly #fixedDelay: number | undefined

  constructor(options: HedgeOptions) {
    const { name = 'hedge', max = 2, discard = discardBody } = options
    this.name = stringOption('hedge: name', name)
    this.max = maxOption(max)
    this.budget = budgetOption('hedge: budget', options.budget)
    this.clock = clockOption('hedge: clock', options.clock)
    this.discard = functionOption('hedge: discard', discard)
    if (options.delay === 'p95') this.latencies = new LatencyWindow()
    else this.#fixedDelay = duration(`hedge: delay that is not 'p95'`, options.delay)
  }

  /** `undefined`: not known yet. */
  get delay(): number | undefined {
    return this.latencies === undefined ? this.#fixedDelay : this.latencies.p95
  }

  on<E extends keyof HedgeEvents>(event: E, listener: (event: HedgeEvents[E]) => void): () => void {
    return this.events.on(event, listener)
  }

  execute<T>(operation: Operation<T>, options?: ExecuteOptions): Promise<T> {
    if (isAborted(options)) return Promise.reject(abortReason(options))

    countRequest(this.budget, options)
    return new HedgedCall(this, operation, options).run()
  }
}

/** One call: its copies against each other and against the caller's abort. */
class HedgedCall<T> extends CallerWatcher implements SignalOwner {
  readonly #policy: Hedge
  readonly #operation: Operation<T>
  readonly #caller: ExecuteOptions | undefined
  readonly #startedAt: number
  readonly #running = new Map<number, AbortableContext>()
  #started = 0
  #over = false
  #cancelTimer: (() => void) | undefined
  #resolve!: (value: T) => void
  #reject!: (error: unknown) => void

  constructor(policy: Hedge, operation: Operation<T>, caller: ExecuteOptions | undefined) {
    super(policy.watch)
    this.#policy = policy
    this.#operation = operation
    this.#caller = caller
    this.#startedAt = policy.latencies === undefined ? 0 : policy.clock.now()
  }

  run(): Promise<T> {
    return new Promise((resolve, reject) => {
      this.#resolve = resolve
      this.#reject = reject

      this.follow(CallContext.existingSignal(this.#caller))
      this.#start()
    })
  }

  #start(): void {
    const copy = ++this.#started
    const context = marked(this.#policy.budget, new AbortableContext(this.#caller, this))
    this.#running.set(copy, context)
    invoke(this.#operation, context).then(
      (value) => this.#succeeded(copy, value),
      (error: unknown) => this.#failed(copy, error),
    )

    const { delay, clock } = this.#policy
    // The operation may have ended the call, by aborting the caller's signal.
    if (this.#over || delay === undefined || !this.#mayStartAnother) return
    this.#cancelTimer = after(clock, delay, () => this.#startAnother(delay))
  }

  get #mayStartAnother(): boolean {
    return this.#started < this.#policy.max && isRepeatable(this.#caller)
  }

  /** Returns whether it did. `delay` is what a copy was late by. */
  #startAnother(delay?: number): boolean {
    this.#cancelTimer?.()
    if (this.#over || !this.#mayStartAnother) return false
    if (isAborted(this.#caller)) {
      this.aborted(abortReason(this.#caller))
      return false
    }

    const { budget, events } = this.#policy
    const copy = this.#started + 1
    if (budget !== undefined && !budget.tryWithdraw()) {
      events.emit('budgetExhausted', { copy })
      return false
    }

    events.emit('hedge', { copy, delay })
    // Rare enough to have a signal made by the outer policy, so that its abort ends this call too.
    this.follow(this.#caller?.signal)
    if (!this.#over) this.#start()
    return true
  }

  #succeeded(copy: number, value: T): void {
    if (this.#over) {
      isolated(this.#policy.discard, value)
      return
    }

    this.#recordLatency(copy !== 1)
    this.#running.delete(copy)
    this.#finish(this.#running.size === 0 ? undefined : new DOMException('Another copy was faster', 'AbortError'))
    this.#policy.events.emit('success', { copy })
    this.#resolve(value)
  }

  #failed(copy: number, error: unknown): void {
    if (this.#over) return

    this.#running.delete(copy)
    if (isAborted(this.#caller)) this.aborted(abortReason(this.#caller))
    else if (isMistake(error)) this.aborted(error)
    else if ((isRefusal(error) || !this.#startAnother()) && this.#running.size === 0) this.aborted(error)
  }

  signalRead(): void {
    if (!this.#over) this.follow(this.#caller?.signal)
  }

  /** Ends the call with `reason`, and tells the copies. */
  override aborted(reason: unknown): void {
    if (this.#over) return

    if (this.#started > 1) this.#recordLatency(true)
    this.#reject(reason)
    this.#finish(reason)
  }

  #finish(reason: unknown): void {
    this.#over = true
    this.#cancelTimer?.()
    this.unfollow()
    for (const context of this.#running.values()) context.abort(reason)
  }

  /** That of the first copy alone: the others run only for calls that are slow. */
  #recordLatency(lost: boolean): void {
    const { latencies, clock } = this.#policy
    if (this.#running.has(1)) latencies?.record((clock.now() - this.#startedAt) * (lost ? CUT_SHORT : 1))
  }
}

/**
 * A copy that lost took longer than it was given, nobody knows how much. Taken at what it was given, the percentile could
 * hardly rise again and would sink: in simulations (log-normal, Pareto, uniform tails) 6 to 10 calls of 100 then get a
 * copy, and 5 to 7 with twice as long.
 */
const CUT_SHORT = 2

function maxOption(value: unknown): number {
  if (Number.isInteger(value) && (value as number) >= 1) return value as number

  throw wrong('hedge: max', value, 'a whole number from 1')
}
