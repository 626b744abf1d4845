import { TimeoutError } from './errors.js'
import { type AbortListener, AbortWatch } from './internal/abort-watch.js'
import { abortReason, CallContext, isAborted } from './internal/context.js'
import { type Deadline, DeadlineQueue } from './internal/deadline-queue.js'
import { invoke } from './internal/invoke.js'
import { afterPoll, clockOption } from './internal/time.js'
import { duration, optionalString, optionsObject, wrong } from './internal/validate.js'
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

  constructor(ms: number | (() => number), options: TimeoutOptions) {
    this.#duration = typeof ms === 'function' ? ms : duration('timeout: ms', ms)
    this.name = optionalString('timeout: name', options.name)
    this.clock = clockOption('timeout: clock', options.clock)
    // Under a clock with timers of its own, a late timer says nothing about the event loop.
    this.loopGrace = booleanOption('timeout: loopGrace', options.loopGrace ?? true) && this.clock.after === undefined
    this.#queue = new DeadlineQueue(this.clock)
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
class Race<T> implements Deadline, AbortListener, RaceState {
  readonly at: number
  previous: Deadline | undefined = undefined
  next: Deadline | undefined = undefined
  readonly #policy: Timeout
  readonly #queue: DeadlineQueue
  readonly #ms: number
  readonly #caller: ExecuteOptions | undefined
  #watched: AbortSignal | undefined
  #controller: AbortController | undefined
  #over = false
  #abortedWith: { readonly reason: unknown } | undefined
  #resolve!: (value: T) => void
  #reject!: (error: unknown) => void

  constructor(policy: Timeout, queue: DeadlineQueue, ms: number, caller: ExecuteOptions | undefined) {
    this.#policy = policy
    this.#queue = queue
    this.#ms = ms
    this.#caller = caller
    this.at = policy.clock.now() + ms
  }

  run(operation: Operation<T>): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      this.#resolve = resolve
      this.#reject = reject

      this.#watchCaller(CallContext.existingSignal(this.#caller))
      const work = invoke(operation, new RaceContext(this.#caller, this))
      if (!this.#over) this.#queue.add(this)
      work.then(this.#succeeded, this.#failed)
    })
  }

  readonly #succeeded = (value: T): void => {
    if (this.#over) return

    this.#finish()
    this.#resolve(value)
  }

  readonly #failed = (error: unknown): void => {
    if (this.#over) return

    this.#finish()
    this.#reject(error)
  }

  expire(late: number): void {
    if (this.#policy.loopGrace && late > BLOCKED) afterPoll(this.#timeOut)
    else this.#timeOut()
  }

  readonly #timeOut = (): void => {
    if (this.#over) return
    // The caller may have aborted before, through a context that nobody had to listen to.
    const reason = isAborted(this.#caller) ? abortReason(this.#caller) : new TimeoutError(this.#ms, this.#policy.name)
    this.aborted(reason)
  }

  aborted(reason: unknown): void {
    if (this.#over) return

    this.#finish()
    this.#abortedWith = { reason }
    this.#reject(reason)
    this.#controller?.abort(reason)
  }

  #finish(): void {
    this.#over = true
    this.#queue.remove(this)
    this.#stopWatching()
  }

  /** Made when the operation first asks for it; from then on the caller's signal is listened to as well. */
  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController()
      if (this.#abortedWith !== undefined) this.#controller.abort(this.#abortedWith.reason)
      else if (!this.#over) this.#watchCaller(this.#caller?.signal)
    }

    return this.#controller.signal
  }

  get abortedWith(): { readonly reason: unknown } | undefined {
    return this.#abortedWith
  }

  #watchCaller(signal: AbortSignal | undefined): void {
    if (signal === undefined || signal === this.#watched) return
    if (signal.aborted) {
      this.aborted(signal.reason)
      return
    }

    this.#stopWatching()
    this.#watched = signal
    this.#policy.watch.add(signal, this)
  }

  #stopWatching(): void {
    if (this.#watched !== undefined) this.#policy.watch.remove(this.#watched, this)
    this.#watched = undefined
  }
}

/** What the context asks of its race. */
interface RaceState {
  readonly signal: AbortSignal
  readonly abortedWith: { readonly reason: unknown } | undefined
}

class RaceContext extends CallContext {
  readonly #race: RaceState

  constructor(caller: ExecuteOptions | undefined, race: RaceState) {
    super(caller)
    this.#race = race
  }

  override get aborted(): boolean {
    return this.#race.abortedWith !== undefined || super.aborted
  }

  override get reason(): unknown {
    const { abortedWith } = this.#race
    return abortedWith === undefined ? super.reason : abortedWith.reason
  }

  override get signal(): AbortSignal {
    return this.#race.signal
  }
}

function booleanOption(option: string, value: unknown): boolean {
  if (typeof value === 'boolean') return value

  throw wrong(option, value, 'true or false')
}
