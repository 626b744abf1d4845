import type { IncomingHttpHeaders } from 'node:http'
import type { Duplex } from 'node:stream'
import type { Dispatcher } from 'undici'
import { optionsObject } from '../internal/validate.js'
import { type TimeoutOptions, timeout } from '../timeout.js'
import { type Controller, type Handler, modern } from './handler.js'

export interface TimeoutInterceptorOptions extends TimeoutOptions {
  /** Milliseconds from the dispatch to the head of the response; a function is asked for each request. */
  readonly timeout: number | (() => number)
}

/**
 * Fails a request of an undici dispatcher with `TimeoutError` (`MSX_TIMEOUT`) whose response has not begun in time, and
 * aborts it.
 *
 * The time runs from the dispatch: it holds the wait for a free connection, making one, sending the request, and waiting
 * for the head of the response, or for the upgrade. Informational responses (1xx) do not stop it. The body is not
 * bounded; undici's `bodyTimeout` bounds the pauses within it. Around a {@link retryInterceptor} it bounds all attempts
 * together, inside of one each.
 *
 * @throws TypeError for options out of range.
 * @example
 * const agent = new Agent().compose(timeoutInterceptor({ timeout: 1_000 }))
 * const { body } = await request('http://inventory/stock/1', { dispatcher: agent })
 */
export function timeoutInterceptor(options: TimeoutInterceptorOptions): Dispatcher.DispatcherComposeInterceptor {
  optionsObject('timeoutInterceptor', options)
  const policy = timeout(options.timeout, options)

  return (dispatch) =>
    function timeoutDispatch(options, handler) {
      const exchange = new TimedExchange(modern(handler))
      policy
        .execute(() => exchange.decided)
        .catch((error: Error) => {
          exchange.timedOut(error)
        })

      try {
        return dispatch(options, exchange)
      } catch (error) {
        exchange.decide()
        throw error
      }
    }
}

/** One request: its handler, until the time is up. */
class TimedExchange implements Handler {
  /** Resolves when the response has begun, or there will be none. */
  readonly decided: Promise<void>
  decide!: () => void
  readonly #handler: Handler
  #controller: Controller | undefined
  #isDecided = false
  #timedOut: Error | undefined

  constructor(handler: Handler) {
    this.#handler = handler
    this.decided = new Promise((resolve) => {
      this.decide = () => {
        this.#isDecided = true
        resolve()
      }
    })
  }

  timedOut(error: Error): void {
    if (this.#isDecided) return

    this.#timedOut = error
    // Still waiting for its connection, a request cannot be aborted: nobody waits for it any more.
    if (this.#controller === undefined) this.#handler.onResponseError?.(NO_REQUEST, error)
    else this.#controller.abort(error)
  }

  onRequestStart(controller: Controller, context: unknown): void {
    if (this.#timedOut !== undefined) {
      controller.abort(this.#timedOut)
      return
    }

    this.#controller = controller
    this.#handler.onRequestStart?.(controller, context)
  }

  onRequestUpgrade(controller: Controller, status: number, headers: IncomingHttpHeaders, socket: Duplex): void {
    this.decide()
    this.#handler.onRequestUpgrade?.(controller, status, headers, socket)
  }

  onResponseStart(controller: Controller, status: number, headers: IncomingHttpHeaders, message?: string): void {
    if (status >= 200) this.decide()
    this.#handler.onResponseStart?.(controller, status, headers, message)
  }

  onResponseData(controller: Controller, chunk: Buffer): void {
    this.#handler.onResponseData?.(controller, chunk)
  }

  onResponseEnd(controller: Controller, trailers: IncomingHttpHeaders): void {
    this.decide()
    this.#handler.onResponseEnd?.(controller, trailers)
  }

  onResponseError(controller: Controller, error: Error): void {
    // Its handler has heard of the timeout already.
    if (this.#timedOut !== undefined && this.#controller === undefined) return

    this.decide()
    this.#handler.onResponseError?.(controller, error)
  }
}

const NO_REQUEST: Controller = {
  aborted: false,
  paused: false,
  reason: null,
  rawHeaders: null,
  rawTrailers: null,
  abort() {},
  pause() {},
  resume() {},
}
