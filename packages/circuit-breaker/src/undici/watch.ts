import type { IncomingHttpHeaders } from 'node:http'
import type { Duplex } from 'node:stream'
import type { Dispatcher } from 'undici'
import type { Exchange } from './exchange.js'
import { parsedHeaders } from './response-head.js'

type Handler = Dispatcher.DispatchHandler
type Controller = Dispatcher.DispatchController
type RawHeaders = readonly (Buffer | Buffer[])[]

/** The shape handlers had before undici 7. Node's own fetch still speaks it. */
interface OldHandler {
  onConnect?(abort: (reason?: Error) => void, context?: unknown): void
  onBodySent?(...sizes: number[]): unknown
  onRequestSent?(): unknown
  onResponseStarted?(): unknown
  onUpgrade?(status: number, headers: RawHeaders | null, socket: Duplex): unknown
  onHeaders?(status: number, headers: RawHeaders, resume: () => void, message: string): boolean
  onData?(chunk: Buffer): boolean
  onComplete?(trailers: RawHeaders | null): unknown
  onError?(error: Error): unknown
}

/** A handler of the shape that `handler` has, which tells the exchange what it sees and passes everything on. */
export function watch(handler: Handler, exchange: Exchange): Handler {
  return typeof handler.onRequestStart === 'function'
    ? new Watch(handler, exchange)
    : (new OldWatch(handler as OldHandler, exchange) as Handler)
}

/** Reports a rejection to a handler of either shape. There was no request, so there is nothing to control. */
export function reject(handler: Handler, error: Error): void {
  if (typeof handler.onRequestStart === 'function') handler.onResponseError?.(NO_REQUEST, error)
  else handler.onError?.(error)
}

class Watch implements Handler {
  readonly #handler: Handler & { onResponseStarted?(): unknown }
  readonly #exchange: Exchange
  #controller: Controller | undefined

  constructor(handler: Handler, exchange: Exchange) {
    this.#handler = handler
    this.#exchange = exchange
  }

  onRequestStart(controller: Controller, context: unknown): void {
    this.#controller = new WatchedController(controller, this.#exchange)
    this.#exchange.tell(() => this.#handler.onRequestStart?.(this.#controller as Controller, context))
  }

  onResponseStarted(): unknown {
    return this.#handler.onResponseStarted?.()
  }

  onRequestUpgrade(controller: Controller, status: number, headers: IncomingHttpHeaders, socket: Duplex): void {
    this.#exchange.upgrade(status, headers)
    this.#handler.onRequestUpgrade?.(this.#controller ?? controller, status, headers, socket)
  }

  onResponseStart(controller: Controller, status: number, headers: IncomingHttpHeaders, message?: string): void {
    this.#exchange.response(status, headers)
    this.#exchange.tell(() => this.#handler.onResponseStart?.(this.#controller ?? controller, status, headers, message))
  }

  onResponseData(controller: Controller, chunk: Buffer): void {
    this.#exchange.tell(() => this.#handler.onResponseData?.(this.#controller ?? controller, chunk))
  }

  onResponseEnd(controller: Controller, trailers: IncomingHttpHeaders): void {
    this.#exchange.end()
    this.#handler.onResponseEnd?.(this.#controller ?? controller, trailers)
  }

  onResponseError(controller: Controller, error: Error): void {
    this.#exchange.error(error)
    this.#handler.onResponseError?.(this.#controller ?? controller, error)
  }
}

/** Hands on what the caller does with its request, and notes when that is to abort it. */
class WatchedController implements Controller {
  readonly #controller: Controller
  readonly #exchange: Exchange

  constructor(controller: Controller, exchange: Exchange) {
    this.#controller = controller
    this.#exchange = exchange
  }

  get aborted(): boolean {
    return this.#controller.aborted
  }

  get paused(): boolean {
    return this.#controller.paused
  }

  get reason(): Error | null {
    return this.#controller.reason
  }

  get rawHeaders(): NonNullable<Controller['rawHeaders']> | null {
    return this.#controller.rawHeaders ?? null
  }

  get rawTrailers(): NonNullable<Controller['rawTrailers']> | null {
    return this.#controller.rawTrailers ?? null
  }

  abort(reason: Error): void {
    this.#exchange.abort(reason)
    this.#controller.abort(reason)
  }

  pause(): void {
    this.#controller.pause()
  }

  resume(): void {
    this.#controller.resume()
  }
}

class OldWatch implements OldHandler {
  readonly #handler: OldHandler
  readonly #exchange: Exchange

  constructor(handler: OldHandler, exchange: Exchange) {
    this.#handler = handler
    this.#exchange = exchange
  }

  onConnect(abort: (reason?: Error) => void, context?: unknown): void {
    const watched = (reason?: Error) => {
      this.#exchange.abort(reason)
      abort(reason)
    }
    this.#exchange.tell(() => this.#handler.onConnect?.(watched, context))
  }

  onBodySent(...sizes: number[]): unknown {
    return this.#handler.onBodySent?.(...sizes)
  }

  onRequestSent(): unknown {
    return this.#handler.onRequestSent?.()
  }

  onResponseStarted(): unknown {
    return this.#handler.onResponseStarted?.()
  }

  onUpgrade(status: number, headers: RawHeaders | null, socket: Duplex): unknown {
    this.#exchange.upgrade(status, parsedHeaders(headers))
    return this.#handler.onUpgrade?.(status, headers, socket)
  }

  onHeaders(status: number, headers: RawHeaders, resume: () => void, message: string): boolean {
    this.#exchange.response(status, parsedHeaders(headers))
    return this.#exchange.tell(() => this.#handler.onHeaders?.(status, headers, resume, message)) ?? true
  }

  onData(chunk: Buffer): boolean {
    return this.#exchange.tell(() => this.#handler.onData?.(chunk)) ?? true
  }

  onComplete(trailers: RawHeaders | null): unknown {
    this.#exchange.end()
    return this.#handler.onComplete?.(trailers)
  }

  onError(error: Error): unknown {
    this.#exchange.error(error)
    return this.#handler.onError?.(error)
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
