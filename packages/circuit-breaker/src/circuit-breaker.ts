import { CircuitMachine, REFUSED } from './circuit-machine.js'
import { defaultClassify, type Verdict, verdictOf } from './classify.js'
import { type CircuitOpenDetails, CircuitOpenError, type RejectingState, withoutFrames } from './errors.js'
import type { CircuitEvents, CircuitState, Listener } from './events.js'
import { call, rejected } from './internal/call.js'
import { monotonic } from './internal/clock.js'
import { type CallContext, contextOf } from './internal/context.js'
import { Listeners, listenersOf } from './internal/listeners.js'
import { callback, clockOption, integer, milliseconds, object, typed, wrong } from './internal/validate.js'
import { parseOpenDuration } from './open-duration.js'
import type { CircuitBreakerOptions, HalfOpenOptions } from './options.js'
import type { Clock, ExecuteOptions, Operation, Outcome, Policy } from './policy.js'
import { type Protected, protectService } from './protect.js'
import { type CircuitSnapshot, checkSnapshot } from './snapshot.js'
import { createJudge, DEFAULT_TRIP } from './trip.js'
import { wrapFunction } from './wrap.js'

/** Stops calling a service that fails, and tries again, carefully, after a while. */
export interface CircuitBreaker extends Policy {
  readonly name: string
  /** What the next call would meet: `half-open` as soon as the open duration is over. Reading it costs no trial. */
  readonly state: CircuitState
  readonly metrics: CircuitMetrics

  /**
   * Runs the operation if the circuit lets it through.
   *
   * A throw is a rejection. The operation is handed the caller's signal; when that is aborted already, the operation is
   * not called.
   *
   * @throws {CircuitOpenError} the circuit is open or isolated, or half-open with all trials taken; its stack is one line,
   *   where it came from is the stack of its `cause`
   */
  execute<T>(operation: Operation<T>, options?: ExecuteOptions): Promise<T>

  /** The same function behind this circuit. Types, overloads, generics, `this` and arguments stay as they are. */
  wrap<F extends (...args: never[]) => PromiseLike<unknown>>(fn: F): F
  /** The same function behind this circuit, answering with a promise. */
  wrap<A extends unknown[], R>(fn: (...args: A) => R): (...args: A) => Promise<Awaited<R>>

  /**
   * A stand-in for a client: every method goes through this circuit. `then`, `constructor` and symbols do not. Methods
   * run on the client itself.
   */
  protect<S extends object>(service: S): Protected<S>

  /** Asks for one call, for work that does not fit a function. Undefined when it would be rejected. */
  tryAcquire(): Permit | undefined

  /** Rejects everything until each holder has let go, by `release()` or `using`. */
  isolate(): Isolation
  /** Lets everything through and remembers nothing, until {@link enable}. */
  disable(): void
  /** Ends {@link disable}: closed, with an empty window. */
  enable(): void
  /** Closes the circuit and forgets all it knew. What was set by hand stays. */
  reset(): void

  /** The circuit as plain JSON, for `initialState` of another one. */
  snapshot(): CircuitSnapshot

  /** Listens to an event and returns what stops it. A listener that throws is ignored. */
  on<E extends keyof CircuitEvents>(event: E, listener: Listener<CircuitEvents[E]>): () => void
}

/** A call that was let through. Its first word counts, later ones are ignored. */
export interface Permit {
  succeed(): void
  fail(error?: unknown): void
  /** Neither: gives a trial back. */
  ignore(): void
}

/** A hold on an isolated circuit. */
export interface Isolation extends Disposable {
  /** Lets go. Letting go twice is letting go once. */
  release(): void
}

/** The numbers of a circuit, for tests, metrics and consoles. */
export interface CircuitMetrics {
  /** Completed calls in the window; ignored ones are not in it. */
  readonly calls: number
  readonly failures: number
  readonly slow: number
  /** 0 to 1; 0 without calls. */
  readonly failureRate: number
  /** 0 to 1; 0 without calls. */
  readonly slowRate: number
  /** Calls rejected since the circuit was made. */
  readonly rejected: number
  readonly inFlight: number
  /** Milliseconds until a call may be let through, 0 when one may be now. */
  readonly retryAfter: number
  /** When the circuit opened, in milliseconds of its clock; absent while closed. */
  readonly openedAt?: number | undefined
}

const DEFAULT_NAME = 'unnamed'
const DEFAULT_TRIALS = 1
const DEFAULT_TRIAL_TIMEOUT = 30_000

/**
 * Makes a circuit breaker: it lets calls through while the service works, rejects them at once while it does not, and
 * tries it again with few calls after a while. It has no timers and needs no closing.
 *
 * @example
 * const inventory = circuitBreaker({ name: 'inventory', trip: { failures: 5 }, openDuration: 10_000 })
 * const stock = await inventory.execute(({ signal }) => fetch('http://inventory/stock/1', { signal }))
 *
 * @throws {TypeError} an option is wrong
 */
export function circuitBreaker(options: CircuitBreakerOptions = {}): CircuitBreaker {
  return new Circuit(object('circuitBreaker options', options))
}

class Circuit implements CircuitBreaker {
  readonly name: string
  readonly #machine: CircuitMachine
  readonly #clock: Clock
  readonly #slowCall: number
  /** Durations are only taken for those who need them. */
  readonly #timed: boolean
  readonly #classify: (outcome: Outcome) => Verdict
  readonly #dryRun: boolean
  /** Whether callbacks of the user's have a say. Outcomes of successes are only made for them. */
  readonly #asksUser: boolean

  readonly #listeners: { readonly [K in keyof CircuitEvents]: Listeners<CircuitEvents[K]> } = {
    transition: new Listeners(),
    reject: new Listeners(),
    result: new Listeners(),
  }

  /**
   * Never read. V8 throws the optimised code of a shape away when a collection finds no object of it alive, which is at
   * every collection where calls come one by one.
   */
  protected readonly kept: unknown = contextOf(undefined)

  #inFlight = 0
  #rejected = 0
  #lastFailure: unknown

  constructor(options: CircuitBreakerOptions) {
    const {
      name = DEFAULT_NAME,
      trip = DEFAULT_TRIP,
      slowCall,
      dryRun = false,
      clock = monotonic,
      classify = defaultClassify,
      random = Math.random,
      retryAfter,
      initialState,
    } = options
    clockOption(clock)

    this.name = typed('name', name, 'a string')
    this.#clock = clock
    this.#slowCall = slowCall === undefined ? Number.POSITIVE_INFINITY : milliseconds('slowCall', slowCall)
    this.#timed = slowCall !== undefined
    this.#classify = callback('classify', classify)
    this.#dryRun = typed('dryRun', dryRun, 'a boolean')
    this.#asksUser = classify !== defaultClassify || retryAfter !== undefined
    this.#machine = new CircuitMachine({
      judge: createJudge(trip, slowCall, clock),
      openDuration: parseOpenDuration(options.openDuration),
      ...parseHalfOpen(options.halfOpen),
      clock,
      random: callback('random', random),
      retryAfter: callback('retryAfter', retryAfter),
      onTransition: (from, to, reason) => {
        if (to === 'closed') this.#lastFailure = undefined
        this.#listeners.transition.emit({ from, to, reason })
      },
    })

    if (initialState !== undefined) this.#machine.restore(checkSnapshot(initialState))
  }

  get state(): CircuitState {
    return this.#machine.state
  }

  get metrics(): CircuitMetrics {
    const { openedAt, retryAfter, judge } = this.#machine
    judge.window.refresh()
    const { calls, failures, slow } = judge.window

    return {
      calls,
      failures,
      slow,
      failureRate: calls === 0 ? 0 : failures / calls,
      slowRate: calls === 0 ? 0 : slow / calls,
      rejected: this.#rejected,
      inFlight: this.#inFlight,
      retryAfter,
      ...(openedAt !== undefined && { openedAt }),
    }
  }

  execute<T>(operation: Operation<T>, options?: ExecuteOptions): Promise<T> {
    if (typeof operation !== 'function') return Promise.reject(wrong('operation', operation, 'a function'))

    const context = contextOf(options)
    if (context.aborted) return Promise.reject(context.reason)

    const ticket = this.#machine.admit()
    if (ticket === REFUSED) {
      const refusal = this.#refuse()
      if (refusal) return Promise.reject(withoutFrames(() => new CircuitOpenError(refusal)))
    }

    const started = this.#begin()
    return call(operation, context).then(
      (value) => {
        this.#fulfilled(ticket, value, started)
        return value
      },
      (error: unknown) => {
        this.#failed(ticket, error, context, started)
        return rejected(error)
      },
    )
  }

  wrap<F extends (...args: never[]) => PromiseLike<unknown>>(fn: F): F
  wrap<A extends unknown[], R>(fn: (...args: A) => R): (...args: A) => Promise<Awaited<R>>
  wrap(fn: (...args: never[]) => unknown): unknown {
    return wrapFunction(this, typed('fn', fn, 'a function') as () => unknown)
  }

  protect<S extends object>(service: S): Protected<S> {
    return protectService(this, service)
  }

  tryAcquire(): Permit | undefined {
    const ticket = this.#machine.admit()
    if (ticket === REFUSED && this.#refuse() !== undefined) return undefined

    const started = this.#begin()
    let open = true
    const settle = (verdict: Verdict, outcome?: Outcome) => {
      if (!open) return
      open = false
      this.#end(ticket, verdict, started, outcome)
    }
    return {
      succeed: () => settle('success'),
      fail: (error) => settle('failure', { ok: false, error }),
      ignore: () => settle('ignore'),
    }
  }

  isolate(): Isolation {
    const release = this.#machine.isolate()
    // Where the language has no `using` yet, release() is all there is.
    return { release, [Symbol.dispose ?? 'release']: release } as Isolation
  }

  disable(): void {
    this.#machine.disable()
  }

  enable(): void {
    this.#machine.enable()
  }

  reset(): void {
    this.#machine.reset()
  }

  snapshot(): CircuitSnapshot {
    return { version: 1, name: this.name, ...this.#machine.save() }
  }

  on<E extends keyof CircuitEvents>(event: E, listener: Listener<CircuitEvents[E]>): () => void {
    return listenersOf(this.#listeners, event).add(listener)
  }

  /** Notes a refusal and tells of it, unless this is a dry run: that lets the call through, uncounted. */
  #refuse(): CircuitOpenDetails | undefined {
    const { state, retryAfter } = this.#machine
    this.#rejected++
    this.#listeners.reject.emit({ retryAfter })

    if (this.#dryRun && state !== 'isolated') return undefined
    return { circuit: this.name, state: state as RejectingState, retryAfter, cause: this.#lastFailure }
  }

  /** Answers when the call began, or NaN when nobody needs to know. */
  #begin(): number {
    this.#inFlight++
    return this.#timed || this.#listeners.result.any ? this.#clock.now() : Number.NaN
  }

  #fulfilled(ticket: number, value: unknown, started: number): void {
    if (this.#asksUser) this.#judge(ticket, { ok: true, value }, started)
    else this.#end(ticket, 'success', started, undefined)
  }

  #failed(ticket: number, error: unknown, context: CallContext, started: number): void {
    const outcome: Outcome = { ok: false, error }
    if (context.aborted) this.#end(ticket, 'ignore', started, outcome)
    else this.#judge(ticket, outcome, started)
  }

  #judge(ticket: number, outcome: Outcome, started: number): void {
    let verdict: Verdict = 'ignore'
    try {
      verdict = verdictOf(outcome, this.#classify)
    } finally {
      // Also when classify throws: its error reaches the caller, and a trial gets its place back.
      this.#end(ticket, verdict, started, outcome)
    }
  }

  #end(ticket: number, verdict: Verdict, started: number, outcome: Outcome | undefined): void {
    this.#inFlight--
    if (verdict === 'failure') this.#lastFailure = outcome?.ok === false ? outcome.error : undefined

    // A call that was not timed has no duration to tell, and is not slow.
    const timed = !Number.isNaN(started)
    const elapsed = timed ? this.#clock.now() - started : 0
    if (timed && this.#listeners.result.any) this.#listeners.result.emit({ verdict, duration: elapsed })

    this.#machine.settle(ticket, verdict, timed && elapsed >= this.#slowCall, outcome)
  }
}

function parseHalfOpen(options: HalfOpenOptions = {}): Required<{ [K in keyof HalfOpenOptions]: number }> {
  const { trials = DEFAULT_TRIALS, trialTimeout = DEFAULT_TRIAL_TIMEOUT } = object('halfOpen', options)
  integer('halfOpen.trials', trials, 1)
  const { successes = trials } = options

  return {
    trials,
    successes: integer('halfOpen.successes', successes, 1, trials),
    trialTimeout: milliseconds('halfOpen.trialTimeout', trialTimeout),
  }
}
