import type { IncomingHttpHeaders } from 'node:http'
import type { Duplex } from 'node:stream'
import type { Dispatcher } from 'undici'

export type Handler = Dispatcher.DispatchHandler
export type Controller = Dispatcher.DispatchController
type RawHeaders = (Buffer | Buffer[])[]

/** The shape handlers had before undici 7. Node's own fetch still speaks it. */
interface OldHandler {
  onConnect?(abort: (reason?: Error) => void, context?: unknown): void
  onUpgrade?(status: number, headers: RawHeaders, socket: Duplex): unknown
  onHeaders?(status: number, headers: RawHeaders, resume: () => void, message?: string): boolean | undefined
  onData?(chunk: Buffer): boolean | undefined
  onComplete?(trailers: RawHeaders): unknown
  onError?(error: Error): unknown
}

/** A handler of today's shape, whichever it has. `dispatcher.compose()` sees to that; a bare dispatch does not. */
export function modern(handler: Handler): Handler {
  return typeof handler.onRequestStart === 'function' ? handler : new Modern(handler as unknown as OldHandler)
}

class Modern implements Handler {
  readonly #handler: OldHandler

  constructor(handler: OldHandler) {
    this.#handler = handler
  }

  onRequestStart(controller: Controller, context: unknown): void {
    this.#handler.onConnect?.((reason) => controller.abort(reason ?? new Error('The request was aborted')), context)
  }

  onRequestUpgrade(controller: Controller, status: number, headers: IncomingHttpHeaders, socket: Duplex): void {
    this.#handler.onUpgrade?.(status, raw(controller.rawHeaders, headers), socket)
  }

  onResponseStart(controller: Controller, status: number, headers: IncomingHttpHeaders, message?: string): void {
    const resume = () => controller.resume()
    const more = this.#handler.onHeaders?.(status, raw(controller.rawHeaders, headers), resume, message)
    if (more === false) controller.pause()
  }

  onResponseData(controller: Controller, chunk: Buffer): void {
    if (this.#handler.onData?.(chunk) === false) controller.pause()
  }

  onResponseEnd(controller: Controller, trailers: IncomingHttpHeaders): void {
    this.#handler.onComplete?.(raw(controller.rawTrailers, trailers))
  }

  onResponseError(_: Controller, error: Error): void {
    this.#handler.onError?.(error)
  }
}

/** Headers as they came over the wire; where nobody kept them, made from the parsed ones. */
function raw(wire: Controller['rawHeaders'], parsed: IncomingHttpHeaders): RawHeaders {
  if (Array.isArray(wire)) {
    return wire.map((part: string | Buffer) => (typeof part === 'string' ? Buffer.from(part, 'latin1') : part))
  }

  return Object.entries(parsed).flatMap(([name, value]) =>
    [value ?? []].flat().flatMap((each) => [Buffer.from(name, 'latin1'), Buffer.from(each, 'latin1')]),
  )
}

/**
 * What the caller's handler holds of its request, whichever attempt is under way. An abort that comes when there is none
 * goes to `orphaned`.
 */
export class RequestController implements Controller {
  readonly #orphaned: (reason: Error) => void
  #target: Controller | undefined
  #delivering = false
  #paused = false
  #reason: Error | null = null

  constructor(orphaned: (reason: Error) => void) {
    this.#orphaned = orphaned
  }

  /** Attaches the attempt under way, or `undefined` when it is over. */
  set target(target: Controller | undefined) {
    this.#target = target
  }

  /** From now on the handler's pauses are those of the attempt: it is its response that the handler reads. */
  deliver(): void {
    this.#delivering = true
    if (this.#paused) this.#target?.pause()
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

  get rawHeaders(): NonNullable<Controller['rawHeaders']> | null {
    return this.#target?.rawHeaders ?? null
  }

  get rawTrailers(): NonNullable<Controller['rawTrailers']> | null {
    return this.#target?.rawTrailers ?? null
  }

  abort(reason: Error): void {
    if (this.#reason !== null) return

    this.#reason = reason
    if (this.#target === undefined) this.#orphaned(reason)
    else this.#target.abort(reason)
  }

  pause(): void {
    this.#paused = true
    if (this.#delivering) this.#target?.pause()
  }

  resume(): void {
    this.#paused = false
    if (this.#delivering) this.#target?.resume()
  }
}
