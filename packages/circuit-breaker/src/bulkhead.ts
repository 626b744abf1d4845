import { BulkheadFullError } from './errors.js'
import { AbortListeners } from './internal/abort-listeners.js'
import { after, monotonic } from './internal/clock.js'
import { type CallContext, contextOf } from './internal/context.js'
import { clockOption, duration, integer, object, text, wrong } from './internal/validate.js'
import type { Clock, ExecuteOptions, Operation, Policy } from './policy.js'

/** Options of {@link bulkhead}. All durations are milliseconds. */
export interface BulkheadOptions {
  /** Calls that may run at once. */
  readonly concurrency: number
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
}

/** The numbers of a bulkhead. */
export interface BulkheadMetrics {
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
 * @throws {TypeError} an option is wrong
 */
export function bulkhead(options: BulkheadOptions): Bulkhead {
  return new Slots(object('options', options))
}

class Slots implements Bulkhead {
  readonly name: string
  readonly #concurrency: number
  readonly #places: number
  readonly #queueTimeout: number | undefined
  readonly #clock: Clock

  #inFlight = 0
  #rejected = 0
  /** Who waits, oldest first. Each starts when it is called; whoever gave up is no longer here. */
  readonly #queue = new Set<() => void>()
  readonly #aborts = new AbortListeners()

  constructor(options: BulkheadOptions) {
    const { name = DEFAULT_NAME, concurrency, queue = 0, queueTimeout, clock = monotonic } = options

    this.name = text('name', name)
    this.#concurrency = integer('concurrency', concurrency, 1)
    this.#places = integer('queue', queue, 0)
    this.#queueTimeout = queueTimeout === undefined ? undefined : duration('queueTimeout', queueTimeout)
    this.#clock = clockOption(clock)
  }

  get metrics(): BulkheadMetrics {
    return {
      concurrency: this.#concurrency,
      inFlight: this.#inFlight,
      queued: this.#queue.size,
      rejected: this.#rejected,
    }
  }

  execute<T>(operation: Operation<T>, options?: ExecuteOptions): Promise<T> {
    if (typeof operation !== 'function') return Promise.reject(wrong('operation', operation, 'a function'))

    const context = contextOf(options)
    if (context.aborted) return Promise.reject(context.reason)

    if (this.#inFlight < this.#concurrency) {
      this.#inFlight++
      return this.#run(operation, context)
    }
    if (this.#queue.size >= this.#places) return Promise.reject(this.#full(undefined))

    // A promise, not a callback, so that the operation runs in its own caller's async context.
    return this.#wait(options).then(() => this.#runUnlessAborted(operation, context))
  }

  #run<T>(operation: Operation<T>, context: CallContext): Promise<T> {
    let running: T | PromiseLike<T>
    try {
      running = operation(context)
    } catch (error) {
      running = Promise.reject(error)
    }

    return Promise.resolve(running).then(
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
      this.#queue.add(start)

      if (signal !== undefined) {
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
    })
  }

  /** Gives the slot to whoever waits longest, else back. */
  #release(): void {
    const [next] = this.#queue
    if (next === undefined) this.#inFlight--
    else next()
  }

  #full(waited: number | undefined): BulkheadFullError {
    this.#rejected++
    return new BulkheadFullError({ bulkhead: this.name, concurrency: this.#concurrency, queue: this.#places, waited })
  }
}
