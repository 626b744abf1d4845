import type { IncomingHttpHeaders } from 'node:http'
import type { Duplex } from 'node:stream'
import type { Dispatcher } from 'undici'

type RawHeaders = readonly (Buffer | Buffer[])[]

/** The shape handlers had before undici 7; the `fetch` of undici 7 and of Node 20 to 24 still has it. */
interface OldHandler {
  onConnect?(abort: (reason: Error) => void, context: unknown): void
  onResponseStarted?(): void
  onUpgrade?(status: number, headers: RawHeaders, socket: Duplex): void
  onHeaders?(status: number, headers: RawHeaders, resume: () => void, message: string | undefined): boolean | undefined
  onData?(chunk: Buffer): boolean | undefined
  onComplete?(trailers: RawHeaders): void
  onError?(error: Error): void
}

/** A handler of today's shape, whatever was given. */
export function toHandler(handler: Dispatcher.DispatchHandler): Dispatcher.DispatchHandler {
  return handler.onRequestStart === undefined ? new LegacyHandler(handler as unknown as OldHandler) : handler
}

/** Speaks to an old handler. Headers are passed on as they came: raw, in order, with their duplicates. */
class LegacyHandler implements Dispatcher.DispatchHandler {
  readonly #handler: OldHandler

  constructor(handler: OldHandler) {
    this.#handler = handler
  }

  onRequestStart(controller: Dispatcher.DispatchController, context: unknown): void {
    this.#handler.onConnect?.((reason) => controller.abort(reason), context)
  }

  onResponseStarted(): void {
    this.#handler.onResponseStarted?.()
  }

  onRequestUpgrade(
    controller: Dispatcher.DispatchController,
    status: number,
    headers: IncomingHttpHeaders,
    socket: Duplex,
  ): void {
    this.#handler.onUpgrade?.(status, rawHeaders(controller.rawHeaders, headers), socket)
  }

  onResponseStart(
    controller: Dispatcher.DispatchController,
    status: number,
    headers: IncomingHttpHeaders,
    message?: string,
  ): void {
    const raw = rawHeaders(controller.rawHeaders, headers)
    if (this.#handler.onHeaders?.(status, raw, () => controller.resume(), message) === false) controller.pause()
  }

  onResponseData(controller: Dispatcher.DispatchController, chunk: Buffer): void {
    if (this.#handler.onData?.(chunk) === false) controller.pause()
  }

  onResponseEnd(controller: Dispatcher.DispatchController, trailers: IncomingHttpHeaders): void {
    this.#handler.onComplete?.(rawHeaders(controller.rawTrailers, trailers))
  }

  onResponseError(_: unknown, error: Error): void {
    this.#handler.onError?.(error)
  }
}

/** What was on the wire where it is known, else (mocks, interceptors) the parsed headers turned back. */
function rawHeaders(raw: Dispatcher.DispatchController['rawHeaders'], parsed: IncomingHttpHeaders): RawHeaders {
  if (Array.isArray(raw) && raw.every(Buffer.isBuffer)) return raw

  return Object.entries(parsed).flatMap(([name, value]) =>
    [value ?? []].flat().flatMap((single) => [Buffer.from(name, 'latin1'), Buffer.from(single, 'latin1')]),
  )
}
