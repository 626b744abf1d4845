import type { IncomingHttpHeaders } from 'node:http'
import type { Dispatcher } from 'undici'
import type { HeadersLike } from '../retry-after.js'

/** What is known of a response when it begins: the `value` of outcomes, and the `response` of an `HttpStatusError`. */
export interface ResponseHead {
  readonly status: number
  /** `get` takes a name in any case; of a header that came several times it gives the first. */
  readonly headers: HeadersLike
}

export function responseHead(status: number, headers: IncomingHttpHeaders): ResponseHead {
  return {
    status,
    headers: {
      get(name) {
        const value = headers[name.toLowerCase()]
        return (Array.isArray(value) ? value[0] : value) ?? null
      },
    },
  }
}

type Headers = Dispatcher.DispatchOptions['headers']

/** Whether there is one with a value, in any of the forms that undici takes headers in. */
export function hasIdempotencyKey(headers: Headers): boolean {
  return pairsOf(headers).some(
    ([name, value]) => String(name).toLowerCase() === 'idempotency-key' && value !== undefined && value !== null,
  )
}

function pairsOf(headers: Headers): [unknown, unknown][] {
  if (typeof headers !== 'object' || headers === null) return []
  if (Array.isArray(headers) && !Array.isArray(headers[0])) return pairUp(headers)
  if (Symbol.iterator in headers) return Array.from(headers as Iterable<[unknown, unknown]>)

  return Object.entries(headers)
}

function pairUp(flat: readonly unknown[]): [unknown, unknown][] {
  const pairs: [unknown, unknown][] = []
  for (let i = 0; i + 1 < flat.length; i += 2) pairs.push([flat[i], flat[i + 1]])
  return pairs
}

/** Bodies that undici reads anew for each request. Any other may be a stream or an iterator, gone once it is read. */
export function isReplayable(body: unknown): boolean {
  if (body === undefined || body === null || typeof body === 'string') return true
  if (body instanceof ArrayBuffer || ArrayBuffer.isView(body)) return true

  return /^\[object (Blob|File|FormData)\]$/.test(Object.prototype.toString.call(body))
}

/** Errors that say something about this side: what was asked for, or that it was called off. */
const CALLERS_FAULT: ReadonlySet<unknown> = new Set([
  'UND_ERR_ABORTED',
  'UND_ERR_CLOSED',
  'UND_ERR_DESTROYED',
  'UND_ERR_INVALID_ARG',
  'UND_ERR_NOT_SUPPORTED',
  'UND_ERR_REQ_CONTENT_LENGTH_MISMATCH',
])

/** What undici's `responseError` interceptor made of a response, whose status decides as it would without. */
export function isAnswer(error: unknown, failing: ReadonlySet<number>): boolean {
  const { code, statusCode } = Object(error)
  return code === 'UND_ERR_RESPONSE' && !failing.has(statusCode)
}

export function isCallersFault(error: unknown): boolean {
  return CALLERS_FAULT.has(Object(error).code)
}
