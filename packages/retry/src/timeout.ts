import { TimeoutError } from './errors.js'
import { AbortWatch, CallerWatcher } from './internal/abort-watch.js'
import { AbortableContext, abortReason, CallContext, isAborted, type SignalOwner } from './internal/context.js'
import { type Deadline, DeadlineQueue } from './internal/deadline-queue.js'
import { invoke } from './internal/invoke.js'
import { afterPoll, clockOption } from './internal/time.js'
import { duration, optionsObject, stringOption, wrong } from './internal/validate.js'
import type { Clock, ExecuteOptions, Operation, Policy } from './policy.js'

export interface TimeoutOptions {
  /**
   * When the event loop was blocked past the deadline, look for what arrived meanwhile before giving up: a reply that
   * waits in the socket is not late, we are. Default true.
   */
  readonly loopGrace?: boolean | undefined
  /** For the message of the error. */
  readonly name?: string | undefined
  readonly clock?: Clock | undefined
}

/**
 * A policy that rejects with {@link TimeoutError} when the operation takes longer than `ms` milliseconds, and aborts the
 * operation's `signal` with that error. It does not wait for the operation to stop: what comes later is dropped, a late
 * rejection too. An abort by the caller rejects with the caller's reason.
 *
 * `ms` may be a function, asked at each call.
 *
 * @throws TypeError for options out of range.
 * @example
 * const policy = timeout(2_000)
 * const response = await policy.execute(({ signal }) => fetch('https://api.example.com/orders', { signal }))
 */
export function timeout(ms: number | (() => number), options: TimeoutOptions = {}): Policy {
  optionsObject('timeout', options)

  return new Timeout(ms, options)
}

/** A timer later than this says that the event loop was blocked. Milliseconds. */
const BLOCKED = 5

class Timeout implements Policy {
  readonly name: string | undefined
  readonly clock: Clock
  readonly loopGrace: boolean
  readonly watch: AbortWatch = new AbortWatch()
  readonly #duration: number | (() => number)
  readonly #queue: DeadlineQueue
  /** See {@link RetrySettings.kept}. Once for all policies, for some are made for a single call. */
  static #kept: unknown

  constructor(ms: number | (() => number), options: TimeoutOptions) {
    this.#duration = typeof ms === 'function' ? ms : duration('timeout: ms', ms)
    this.name = options.name === undefined ? undefined : stringOption('timeout: name', options.name)
    this.clock = clockOption('timeout: clock', options.clock)
    // Under a clock with timers of its own, a late timer says nothing about the event loop.
    this.loopGrace =
      booleanOption('timeout: loopGrace', options.loopGrace === undefined ? true : options.loopGrace) &&
      this.clock.after === undefined
    this.#queue = new DeadlineQueue(this.clock)
    // Contexts within a retry have a shape of their own.
    Timeout.#kept ??= [undefined, new CallContext(undefined, 1)].map((caller) => new Race(this, this.#queue, 0, caller))
  }

  execute<T>(operation: Operation<T>, options?: ExecuteOptions): Promise<T> {
    if (isAborted(options)) return Promise.reject(abortReason(options))

    const fixed = typeof this.#duration === 'number'
    let ms: number
    try {
      ms = fixed ? (this.#duration as number) : duration('timeout: what ms returns', (this.#duration as () => number)())
    } catch (mistake) {
      return Promise.reject(mistake)
    }

    // The queue is sorted because its durations are equal; a duration of its own takes a queue of its own.
    const queue = fixed ? this.#queue : new DeadlineQueue(this.clock)
    return new Race<T>(this, queue, ms, options).run(operation)
  }
}

/** One call: the operation against the clock and against the caller's abort. The first to come settles it. */
class Race<T> extends CallerWatcher implements Deadline, SignalOwner {
  readonly at: number
  previous: Deadline | undefined = undefined
  next: Deadline | undefined = undefined
  readonly #policy: Timeout
  readonly #queue: DeadlineQueue
  readonly #ms: number
  readonly #caller: ExecuteOptions | undefined
  readonly #context: AbortableContext
  #over = false
  #resolve!: (value: T) => void
  #reject!: (error: unknown) => void

  constructor(policy: Timeout, queue: DeadlineQueue, ms: number, caller: ExecuteOptions | undefined) {
    super(policy.watch)
    this.#policy = policy
    this.#queue = queue
    this.#ms = ms
    this.#caller = caller
    this.#context = new AbortableContext(caller, this)
    this.at = policy.clock.now() + ms
  }

  run(operation: Operation<T>): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      this.#resolve = resolve
      this.#reject = reject

      // Before the operation, which may make calls under this very policy: the queue wants them in the order of their start.
      this.#queue.add(this)
      this.follow(CallContext.existingSignal(this.#caller))
      invoke(operation, this.#context).then(
        (value) => this.#succeeded(value),
        (error: unknown) => this.#failed(error),
      )
    })
  }

  #succeeded(value: T): void {
    if (this.#over) return

    this.#finish()
    this.#resolve(value)
  }

  #failed(error: unknown): void {
    if (this.#over) return

    this.#finish()
    this.#reject(error)
  }

  expire(late: number): void {
    if (this.#policy.loopGrace && late > BLOCKED) afterPoll(() => this.#timeOut())
    else this.#timeOut()
  }

  #timeOut(): void {
    const caller = this.#caller
    // The caller may have aborted before, through a context that nobody had to listen to.
    this.aborted(isAborted(caller) ? abortReason(caller) : new TimeoutError(this.#ms, this.#policy.name))
  }

  override aborted(reason: unknown): void {
    if (this.#over) return

    this.#finish()
    this.#reject(reason)
    this.#context.abort(reason)
  }

  signalRead(): void {
    if (!this.#over) this.follow(this.#caller?.signal)
  }

  #finish(): void {
    this.#over = true
    this.#queue.remove(this)
    this.unfollow()
  }
}

function booleanOption(option: string, value: unknown): boolean {
  if (typeof value === 'boolean') return value

  throw wrong(option, value, 'true or false')
}
