import type { Duplex } from 'node:stream'
import type { Dispatcher } from 'undici'
import { undici } from './peer.js'

/** Headers as they were on the wire: names and values in turn, in order, with their duplicates. */
export type RawHeaders = Buffer[]

/**
 * What undici talks to while a request runs: the shape of handlers before undici 7. Its pools, its `request` and its `fetch`,
 * as those of Node 20 to 24, still speak it among themselves; so does this package, and nothing on the way is parsed or
 * wrapped. `onHeaders` and `onData` return false for a pause, which `resume` ends.
 */
export interface Receiver {
  onConnect?(abort: (reason?: Error) => void, context?: unknown): void
  onResponseStarted?(): void
  onUpgrade?(status: number, headers: RawHeaders, socket: Duplex): void
  onHeaders?(status: number, headers: RawHeaders, resume: () => void, message: string): boolean | undefined
  onData?(chunk: Buffer): boolean | undefined
  onComplete?(trailers: RawHeaders): void
  onError?(error: Error): void
}

/** A receiver, whatever was given: a handler of undici 7 and of Node 26 is spoken to as it expects. */
export function toReceiver(handler: Dispatcher.DispatchHandler): Receiver {
  return handler.onRequestStart === undefined ? (handler as unknown as Receiver) : new HandlerReceiver(handler)
}

/** Whether a failure can be told to a handler; else it has to be thrown. */
export function hearsOfErrors(handler: Dispatcher.DispatchHandler): boolean {
  return (handler.onResponseError ?? (handler as unknown as Receiver).onError) !== undefined
}

/** Speaks to a handler of today's shape. */
class HandlerReceiver implements Receiver {
  readonly #handler: Dispatcher.DispatchHandler
  #controller = new Controller(() => {})

  constructor(handler: Dispatcher.DispatchHandler) {
    this.#handler = handler
  }

  onConnect(abort: (reason?: Error) => void): void {
    this.#controller = new Controller(abort)
    this.#handler.onRequestStart?.(this.#controller, {})
  }

  onResponseStarted(): void {
    const handler: Receiver = this.#handler as unknown as Receiver
    handler.onResponseStarted?.()
  }

  onUpgrade(status: number, headers: RawHeaders, socket: Duplex): void {
    this.#controller.rawHeaders = headers
    this.#handler.onRequestUpgrade?.(this.#controller, status, parse(headers), socket)
  }

  onHeaders(status: number, headers: RawHeaders, resume: () => void, message: string): boolean {
    const controller = this.#controller
    controller.rawHeaders = headers
    controller.onResume = resume
    this.#handler.onResponseStart?.(controller, status, parse(headers), message)
    return !controller.paused
  }

  onData(chunk: Buffer): boolean {
    this.#handler.onResponseData?.(this.#controller, chunk)
    return !this.#controller.paused
  }

  onComplete(trailers: RawHeaders): void {
    this.#controller.rawTrailers = trailers
    this.#handler.onResponseEnd?.(this.#controller, parse(trailers))
  }

  onError(error: Error): void {
    this.#handler.onResponseError?.(this.#controller, error)
  }
}

/** The caller's hold on a call: the same object from the start to the end, whichever attempt is running. */
class Controller implements Dispatcher.DispatchController {
  rawHeaders: RawHeaders | null = null
  rawTrailers: RawHeaders | null = null
  onResume: (() => void) | undefined
  readonly #abort: (reason: Error) => void
  #reason: Error | null = null
  #paused = false

  constructor(abort: (reason: Error) => void) {
    this.#abort = abort
  }

  get aborted(): boolean {
    return this.#reason !== null
  }

  get reason(): Error | null {
    return this.#reason
  }

  get paused(): boolean {
    return this.#paused
  }

  abort(reason: Error): void {
    if (this.#reason !== null) return

    this.#reason = reason ?? new undici.errors.RequestAbortedError()
    this.#abort(this.#reason)
  }

  pause(): void {
    this.#paused = true
  }

  resume(): void {
    if (!this.#paused) return

    this.#paused = false
    this.onResume?.()
  }
}

function parse(headers: RawHeaders): Record<string, string | string[]> {
  return undici.util.parseHeaders(headers)
}
