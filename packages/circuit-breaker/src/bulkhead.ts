import { AdaptiveLimit, type AdaptiveLimitOptions } from './adaptive-limit.js'
import { type Verdict, verdictOf } from './classify.js'
import { BulkheadFullError } from './errors.js'
import type { Listener } from './events.js'
import { AbortListeners } from './internal/abort-listeners.js'
import { call } from './internal/call.js'
import { after, monotonic } from './internal/clock.js'
import { type CallContext, contextOf } from './internal/context.js'
import { Listeners, listenersOf } from './internal/listeners.js'
import { clockOption, integer, milliseconds, object, typed, wrong } from './internal/validate.js'
import type { Clock, ExecuteOptions, Operation, Outcome, Policy } from './policy.js'

/** Options of {@link bulkhead}. All durations are milliseconds. */
export interface BulkheadOptions {
  /** Calls that may run at once. `'adaptive'`: as many as the service turns out to bear, see `adaptive`. */
  readonly concurrency: number | 'adaptive'
  /** How the limit is found. Only with `concurrency: 'adaptive'`. */
  readonly adaptive?: AdaptiveLimitOptions | undefined
  /** Calls that may wait for a slot, first come first served. Default 0: no waiting. */
  readonly queue?: number | undefined
  /** How long a call may wait. Default: as long as it takes. */
  readonly queueTimeout?: number | undefined
  /** Names the bulkhead in errors and metrics, default `'unnamed'`. */
  readonly name?: string | undefined
  /** Monotonic time, default `performance.now()` and real timers. */
  readonly clock?: Clock | undefined
}

/** Bounds how many calls run at once, so that one slow service cannot take all there is. */
export interface Bulkhead extends Policy {
  readonly name: string
  readonly metrics: BulkheadMetrics

  /**
   * Runs the operation when there is a slot, or once one is free.
   *
   * @throws {BulkheadFullError} no slot and no place in the queue, or none came free within `queueTimeout`
   * @throws the reason of the caller's signal, when it aborts before the operation was called
   */
  execute<T>(operation: Operation<T>, options?: ExecuteOptions): Promise<T>

  /** Listens to an event and returns what stops it. A listener that throws is ignored. */
  on<E extends keyof BulkheadEvents>(event: E, listener: Listener<BulkheadEvents[E]>): () => void
}

/** The events of a {@link Bulkhead}. */
export interface BulkheadEvents {
  /** A call was turned away. `waited`: milliseconds in the queue; undefined when it found that full. */
  readonly reject: { readonly waited: number | undefined }
}

/** The numbers of a bulkhead. */
export interface BulkheadMetrics {
  /** How many calls may run at once now. */
  readonly concurrency: number
  readonly inFlight: number
  readonly queued: number
  /** Calls turned away since the bulkhead was made; those whose caller gave up are not counted. */
  readonly rejected: number
}

const DEFAULT_NAME = 'unnamed'

/**
 * Makes a bulkhead.
 *
 * @example
 * const reports = bulkhead({ concurrency: 4, queue: 20, queueTimeout: 1_000 })
 * await reports.execute(() => render(report))
 *
 * @example
 * const search = bulkhead({ concurrency: 'adaptive', adaptive: { slowCall: 500 } })
 *
 * @throws {TypeError} an option is wrong
 */
export function bulkhead(options: BulkheadOptions): Bulkhead {
  return new Slots(object('bulkhead options', options))
}

class Slots implements Bulkhead {
  readonly name: string
  readonly #fixed: number
  readonly #adaptive: AdaptiveLimit | undefined
  readonly #places: number
  readonly #queueTimeout: number | undefined
  readonly #clock: Clock

  #inFlight = 0
  #rejected = 0
  /** Who waits, oldest first. Each starts when it is called; whoever gave up is no longer here. */
  readonly #queue = new Set<() => void>()
  readonly #aborts = new AbortListeners()
  readonly #listeners = { reject: new Listeners<BulkheadEvents['reject']>() }

  constructor(options: BulkheadOptions) {
    const { name = DEFAULT_NAME, concurrency, queue = 0, queueTimeout, clock = monotonic, adaptive } = options

    this.name = typed('name', name, 'a string')
    this.#adaptive = concurrency === 'adaptive' ? new AdaptiveLimit(adaptive) : undefined
    this.#fixed = concurrency === 'adaptive' ? 0 : fixedConcurrency(concurrency)
    if (adaptive !== undefined && concurrency !== 'adaptive')
      throw wrong('concurrency', concurrency, "'adaptive', because adaptive is set")
    this.#places = integer('queue', queue, 0)
    this.#queueTimeout = queueTimeout === undefined ? undefined : milliseconds('queueTimeout', queueTimeout)
    this.#clock = clockOption(clock)
  }

  get metrics(): BulkheadMetrics {
    return {
      concurrency: this.#concurrency(),
      inFlight: this.#inFlight,
      queued: this.#queue.size,
      rejected: this.#rejected,
    }
  }

  execute<T>(operation: Operation<T>, options?: ExecuteOptions): Promise<T> {
    if (typeof operation !== 'function') return Promise.reject(wrong('operation', operation, 'a function'))

    const context = contextOf(options)
    if (context.aborted) return Promise.reject(context.reason)

    if (this.#inFlight < this.#concurrency()) {
      this.#inFlight++
      return this.#run(operation, context)
    }
    if (this.#queue.size >= this.#places) return Promise.reject(this.#full(undefined))

    // A promise, not a callback, so that the operation runs in its own caller's async context.
    return this.#wait(options).then(() => this.#runUnlessAborted(operation, context))
  }

  on<E extends keyof BulkheadEvents>(event: E, listener: Listener<BulkheadEvents[E]>): () => void {
    return listenersOf(this.#listeners, event).add(listener)
  }

  #concurrency(): number {
    return this.#adaptive?.current ?? this.#fixed
  }

  #run<T>(operation: Operation<T>, context: CallContext): Promise<T> {
    if (this.#adaptive !== undefined) return this.#runAndLearn(this.#adaptive, operation, context)

    return call(operation, context).then(
      (value) => {
        this.#release()
        return value
      },
      (error: unknown) => {
        this.#release()
        throw error
      },
    )
  }

  #runAndLearn<T>(adaptive: AdaptiveLimit, operation: Operation<T>, context: CallContext): Promise<T> {
    const begun = adaptive.begin()
    const started = this.#clock.now()

    const learn = (outcome: Outcome) => {
      let verdict: Verdict = 'ignore'
      try {
        if (outcome.ok || !context.aborted) verdict = verdictOf(outcome, adaptive.classify)
        if (verdict === 'success' && this.#clock.now() - started >= adaptive.slowCall) verdict = 'failure'
      } finally {
        // Also when classify throws: its error reaches the caller, and the slot is free again.
        adaptive.settle(begun, verdict, this.#inFlight)
        this.#release()
      }
    }
    return call(operation, context).then(
      (value) => {
        learn({ ok: true, value })
        return value
      },
      (error: unknown) => {
        learn({ ok: false, error })
        throw error
      },
    )
  }

  /** The caller may have given up between getting the slot and now. */
  #runUnlessAborted<T>(operation: Operation<T>, context: CallContext): Promise<T> {
    if (!context.aborted) return this.#run(operation, context)

    this.#release()
    return Promise.reject(context.reason)
  }

  /** Resolves with a slot in hand. */
  #wait(options: ExecuteOptions | undefined): Promise<void> {
    return new Promise((resolve, reject) => {
      const signal = options?.signal
      const timeout = this.#queueTimeout
      let stopTimer: (() => void) | undefined
      let stopListening: (() => void) | undefined

      const leave = () => {
        this.#queue.delete(start)
        stopTimer?.()
        stopListening?.()
      }
      const start = () => {
        leave()
        resolve()
      }
      if (signal) {
        stopListening = this.#aborts.add(signal, () => {
          leave()
          reject(signal.reason)
        })
      }
      if (timeout !== undefined) {
        stopTimer = after(this.#clock, timeout, () => {
          leave()
          reject(this.#full(timeout))
        })
      }
      // Last: whoever is in the queue will be given a slot, and must be here to take it.
      this.#queue.add(start)
    })
  }

  /** Gives the slot back, and what is free to those who wait longest: none when the limit has fallen, two when it grew. */
  #release(): void {
    this.#inFlight--
    for (const start of this.#queue) {
      if (this.#inFlight >= this.#concurrency()) return

      this.#inFlight++
      start()
    }
  }

  #full(waited: number | undefined): BulkheadFullError {
    this.#rejected++
    this.#listeners.reject.emit({ waited })
    return new BulkheadFullError({ bulkhead: this.name, concurrency: this.#concurrency(), queue: this.#places, waited })
  }
}

function fixedConcurrency(value: number): number {
  if (typeof value === 'string') throw wrong('concurrency', value, "an integer or 'adaptive'")
  return integer('concurrency', value, 1)
}
