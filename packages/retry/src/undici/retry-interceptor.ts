import { AsyncResource } from 'node:async_hooks'
import type { IncomingHttpHeaders } from 'node:http'
import type { Duplex } from 'node:stream'
import type { Dispatcher } from 'undici'
import { HttpStatusError } from '../errors.js'
import type { RetryEventSource } from '../events.js'
import { OnceContext } from '../internal/context.js'
import { type RetryCourse, type RetrySettings, retryCourse } from '../internal/course.js'
import { IDEMPOTENT, RETRY_ON, statuses } from '../internal/request-facts.js'
import { countRequest } from '../internal/shared-budget.js'
import { optionsObject, wrong } from '../internal/validate.js'
import type { Outcome } from '../policy.js'
import { type RetryOptions, retrySettings } from '../retry.js'
import { Drain } from './drain.js'
import { type Controller, type Handler, modern, RequestController } from './handler.js'
import { hasIdempotencyKey, isAnswer, isCallersFault, isReplayable, responseHead } from './request.js'

/** Those of {@link retry}, and which requests and which responses are worth another attempt. */
export interface RetryInterceptorOptions extends Omit<RetryOptions, 'discard'> {
  /**
   * Methods that may be sent twice. Default those that are idempotent by RFC 9110: GET, HEAD, OPTIONS, PUT, DELETE,
   * TRACE, and QUERY. A request with an Idempotency-Key may always.
   */
  readonly methods?: readonly string[] | undefined
  /** Statuses that count as failures. Default 408, 425, 429, 502, 503, 504. */
  readonly statusCodes?: readonly number[] | undefined
}

/** An interceptor for `dispatcher.compose()`. It has the events of a {@link retry}, and can be measured like one. */
export interface RetryInterceptor extends Dispatcher.DispatcherComposeInterceptor, RetryEventSource {
  readonly name: string
}

/**
 * Sends requests of an undici dispatcher again that fail, or are answered with a status that says "not now". What the
 * caller gets in the end is the last response or the last error, as it is.
 *
 * Only what may be sent twice is: see `methods`. Its body must be one that undici reads anew for each request: none, a
 * string, bytes, a Blob or a FormData. Once a response has begun to reach the caller, nothing is sent again. Responses that
 * are thrown away are read to their end, so that connections are free again, or cut off when they are long. An
 * upgrade or a CONNECT passes as it is.
 *
 * Inside `shouldRetry`, a status of `statusCodes` is an `HttpStatusError`, any other a value, a `ResponseHead`. When a
 * timer comes so late that the `deadline` has passed, a response that was already thrown away becomes its `HttpStatusError`.
 *
 * @throws TypeError for options out of range.
 * @example
 * const agent = new Agent().compose(retryInterceptor({ attempts: 4, deadline: 10_000 }))
 * const { body } = await request('http://inventory/stock/1', { dispatcher: agent })
 */
export function retryInterceptor(options: RetryInterceptorOptions = {}): RetryInterceptor {
  optionsObject('retryInterceptor', options)
  const { methods = [...IDEMPOTENT], statusCodes = RETRY_ON } = options
  if (!Array.isArray(methods) || !methods.every((method) => typeof method === 'string')) {
    throw wrong('retryInterceptor: methods', methods, 'an array of methods')
  }

  const settings = retrySettings(options)
  const policy: InterceptorPolicy = {
    settings,
    methods: new Set(methods.map((method) => method.toUpperCase())),
    failing: statuses('retryInterceptor: statusCodes', statusCodes),
  }

  const interceptor = (dispatch: Dispatcher.Dispatch): Dispatcher.Dispatch =>
    function retryDispatch(options, handler) {
      if (options.method === 'CONNECT' || options.upgrade) return dispatch(options, handler)

      return new Exchange(policy, dispatch, options, modern(handler)).start()
    }
  Object.defineProperty(interceptor, 'name', { value: settings.name })
  return Object.assign(interceptor, {
    kind: 'retry' as const,
    budget: settings.budget,
    on: settings.events.on.bind(settings.events),
  })
}

interface InterceptorPolicy {
  readonly settings: RetrySettings
  readonly methods: ReadonlySet<string>
  readonly failing: ReadonlySet<number>
}

/**
 * One request of the caller: up to several attempts, of which one reaches its handler. The {@link retryCourse} decides
 * within the call that tells it of a response, so that no part of a response has to be held back.
 */
class Exchange {
  readonly handler: Handler
  readonly controller: RequestController
  readonly failing: ReadonlySet<number>
  readonly #dispatch: Dispatcher.Dispatch
  readonly #options: Dispatcher.DispatchOptions
  readonly #course: RetryCourse
  /** Responses arrive in the async context of their socket; events belong in that of the call, where its span is. */
  readonly #caller = new AsyncResource('MSX_RETRY')
  /** The handler has its controller. */
  #started = false
  /** What becomes of the request is decided. */
  #settled: Outcome | undefined
  #judging = false

  constructor(
    { settings, methods, failing }: InterceptorPolicy,
    dispatch: Dispatcher.Dispatch,
    options: Dispatcher.DispatchOptions,
    handler: Handler,
  ) {
    this.handler = handler
    this.failing = failing
    this.#dispatch = dispatch
    this.#options = options
    this.controller = new RequestController((reason) => this.#course.aborted(reason))

    const allowed = methods.has(String(options.method).toUpperCase()) || hasIdempotencyKey(options.headers)
    const once = allowed && isReplayable(options.body) ? undefined : new OnceContext(undefined)
    const startedAt = settings.deadline === undefined ? 0 : settings.clock.now()
    countRequest(settings.budget, undefined)
    this.#course = retryCourse(settings, once, startedAt, {
      attempt: () => this.#tryAgain(),
      settle: (outcome) => this.#settle(outcome),
    })
  }

  get over(): boolean {
    return this.#settled !== undefined
  }

  /** Answers what undici's `dispatch` does: false to wait for a drain. */
  start(): boolean {
    return this.#dispatch(this.#options, new Attempt(this))
  }

  #tryAgain(): void {
    if (this.over) return

    try {
      this.#dispatch(this.#options, new Attempt(this))
    } catch (error) {
      this.#course.aborted(error)
    }
  }

  /** Gives the handler its controller, once. What it throws ends the request. */
  introduce(context?: unknown): void {
    if (this.#started) return

    this.#started = true
    this.tell(() => this.handler.onRequestStart?.(this.controller, context))
  }

  /** Runs a part of the caller's handler. What it throws is no reason to try again. */
  tell(report: () => void): void {
    try {
      report()
    } catch (error) {
      this.#settled ??= { ok: false, error }
      throw error
    }
  }

  /** Whether the attempt that ended like this is the one the caller gets. If not, there will be another, or an error. */
  keeps(outcome: Outcome): boolean {
    this.#judging = true
    this.#caller.runInAsyncScope(() => this.#course.ended(outcome))
    this.#judging = false

    const settled = this.#settled
    if (settled === undefined) this.#expectAbort()
    else if (settled !== outcome) this.#fail(settled)
    return settled === outcome
  }

  /** The caller is to be heard during the wait, also when no connection has been made yet. */
  #expectAbort(): void {
    this.controller.target = undefined
    try {
      this.introduce()
    } catch (error) {
      this.#settled = undefined
      this.#course.aborted(error)
    }
  }

  /** Ends the request with an error that no retry mends. */
  giveUp(error: Error): void {
    this.#settled ??= { ok: false, error }
    this.handler.onResponseError?.(this.controller, error)
  }

  #settle(outcome: Outcome): void {
    if (this.over) return

    this.#settled = outcome
    if (!this.#judging) this.#fail(outcome)
  }

  #fail(outcome: Outcome): void {
    const error = outcome.ok ? new HttpStatusError(outcome.value as never) : outcome.error
    this.handler.onResponseError?.(this.controller, error as Error)
  }
}

/** One attempt, as the handler of its own request. */
class Attempt implements Handler {
  readonly #exchange: Exchange
  #controller: Controller | undefined
  #state: 'waiting' | 'delivering' | 'over' = 'waiting'
  #drain: Drain | undefined

  constructor(exchange: Exchange) {
    this.#exchange = exchange
  }

  onRequestStart(controller: Controller, context: unknown): void {
    const { over, controller: callers } = this.#exchange
    if (over) {
      // The caller gave up while the connection was made.
      this.#state = 'over'
      controller.abort(callers.reason ?? new Error('The request was given up'))
      return
    }

    this.#attach(controller)
    this.#exchange.introduce(context)
  }

  onRequestUpgrade(controller: Controller, status: number, headers: IncomingHttpHeaders, socket: Duplex): void {
    this.#state = 'delivering'
    this.#attach(controller)
    const { handler, controller: callers } = this.#exchange
    handler.onRequestUpgrade?.(callers, status, headers, socket)
  }

  onResponseStart(controller: Controller, status: number, headers: IncomingHttpHeaders, message?: string): void {
    if (this.#state === 'over') return

    const exchange = this.#exchange
    this.#attach(controller)
    const begin = () => exchange.handler.onResponseStart?.(exchange.controller, status, headers, message)
    if (status < 200) {
      exchange.tell(begin)
      return
    }

    const head = responseHead(status, headers)
    const failed = exchange.failing.has(status)
    if (exchange.keeps(failed ? { ok: false, error: new HttpStatusError(head) } : { ok: true, value: head })) {
      this.#state = 'delivering'
      exchange.controller.deliver()
      begin()
    } else {
      this.#state = 'over'
      this.#drain = new Drain(controller, headers['content-length'])
    }
  }

  onResponseData(_: Controller, chunk: Buffer): void {
    const { handler, controller } = this.#exchange
    if (this.#state === 'delivering') handler.onResponseData?.(controller, chunk)
    else this.#drain?.read(chunk.length)
  }

  onResponseEnd(_: Controller, trailers: IncomingHttpHeaders): void {
    const { handler, controller } = this.#exchange
    this.#drain?.end()
    if (this.#state === 'delivering') handler.onResponseEnd?.(controller, trailers)
  }

  onResponseError(_: Controller, error: Error): void {
    const exchange = this.#exchange
    this.#drain?.end()
    if (this.#state === 'over') return

    this.#state = 'over'
    const ours = exchange.over || exchange.controller.aborted || isCallersFault(error)
    if (ours || isAnswer(error, exchange.failing)) exchange.giveUp(error)
    else if (exchange.keeps({ ok: false, error })) exchange.handler.onResponseError?.(exchange.controller, error)
  }

  #attach(controller: Controller): void {
    if (this.#controller === controller) return

    this.#controller = controller
    this.#exchange.controller.target = controller
  }
}
