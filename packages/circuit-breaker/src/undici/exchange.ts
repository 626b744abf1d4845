import type { IncomingHttpHeaders } from 'node:http'
import { Readable } from 'node:stream'
import { type CallContext, CONTEXT } from '../internal/context.js'
import type { ResponseHead } from './response-head.js'

/** Errors that say something about this side: what was asked for, or that it was called off. */
const CALLERS_FAULT: ReadonlySet<unknown> = new Set([
  'UND_ERR_ABORTED',
  'UND_ERR_CLOSED',
  'UND_ERR_DESTROYED',
  'UND_ERR_INVALID_ARG',
  'UND_ERR_NOT_SUPPORTED',
  'UND_ERR_REQ_CONTENT_LENGTH_MISMATCH',
])

/**
 * One request as its circuit sees it: a promise of the head of the response, settled when it is clear what the request
 * says about the service.
 *
 *   status that counts as a failure   at once: nothing that follows can make it better
 *   any other status                  when the response is complete: its body may yet break off
 *   1xx                               not an answer
 *   error                             a failure, unless this side is to blame: the caller aborted, its handler threw, its
 *                                     body broke, or the dispatcher was closed
 *
 * It is the context of its own call too, because a rejection whose context says `aborted` is ignored by every circuit.
 */
export class Exchange implements CallContext {
  static {
    Object.defineProperty(Exchange.prototype, CONTEXT, { value: true })
  }

  readonly result: Promise<ResponseHead>
  /** The caller, not the service, ends this request. */
  aborted = false
  reason: unknown
  readonly #body: unknown
  readonly #failing: ReadonlySet<number>
  #head: ResponseHead | undefined
  #resolve!: (head: ResponseHead) => void
  #reject!: (error: unknown) => void

  constructor(body: unknown, failing: ReadonlySet<number>) {
    this.#body = body
    this.#failing = failing
    this.result = new Promise((resolve, reject) => {
      this.#resolve = resolve
      this.#reject = reject
    })
  }

  get signal(): AbortSignal {
    return this.aborted ? AbortSignal.abort(this.reason) : new AbortController().signal
  }

  abort(reason: unknown): void {
    if (this.aborted) return
    this.aborted = true
    this.reason = reason
  }

  response(statusCode: number, headers: IncomingHttpHeaders): void {
    if (statusCode < 200) return

    this.#head = { statusCode, headers }
    if (this.#failing.has(statusCode)) this.#resolve(this.#head)
  }

  /** The connection now speaks another protocol; what becomes of it is no request. */
  upgrade(statusCode: number, headers: IncomingHttpHeaders): void {
    this.#resolve({ statusCode, headers })
  }

  end(): void {
    this.#resolve(this.#head ?? { statusCode: 0, headers: {} })
  }

  error(error: unknown): void {
    if (isCallersFault(error, this.#body)) this.abort(error)
    this.#reject(error)
  }

  /** Runs a part of the caller's handler. What it throws makes undici end the request with that error. */
  tell<T>(report: () => T): T {
    try {
      return report()
    } catch (error) {
      this.abort(error)
      throw error
    }
  }
}

function isCallersFault(error: unknown, body: unknown): boolean {
  if (body instanceof Readable && body.errored !== null && body.errored === error) return true
  return CALLERS_FAULT.has((error as { readonly code?: unknown } | null)?.code)
}
