import { Readable } from 'node:stream'
import type { Dispatcher } from 'undici'

/** Errors that say something about this side: what was asked for, or that it was called off. */
const CALLERS_FAULT = new Set([
  'MSX_DISCOVERY_CLOSED',
  'UND_ERR_ABORTED',
  'UND_ERR_CLOSED',
  'UND_ERR_DESTROYED',
  'UND_ERR_INVALID_ARG',
  'UND_ERR_NOT_SUPPORTED',
  'UND_ERR_REQ_CONTENT_LENGTH_MISMATCH',
])

/** Whether a request failed for reasons on this side: it was called off, could not be sent as asked, or its body broke. */
export function isCallersFault(error: Error, body: unknown): boolean {
  if (body instanceof Readable && body.errored === error) return true

  return CALLERS_FAULT.has((error as NodeJS.ErrnoException).code ?? '')
}

/** Whether a status says that the endpoint is unwell or too busy. 501 and 505 are about the request. */
export function isFailure(status: number): boolean {
  return status === 429 || (status >= 500 && status !== 501 && status !== 505)
}

/** Retry-After in ms, from seconds or an HTTP date (RFC 9110, 10.2.3); 0 when there is none or it has passed. */
export function retryAfterOf(headers: Readonly<Record<string, string | string[]>>): number {
  const value = headers['retry-after']
  if (typeof value !== 'string') return 0

  const delay = /^\d+$/.test(value) ? Number(value) * 1_000 : Date.parse(value) - Date.now()
  return Number.isNaN(delay) ? 0 : Math.max(delay, 0)
}

/** Methods that may be sent twice (RFC 9110, 9.2.2). */
const IDEMPOTENT: ReadonlySet<string> = new Set(['GET', 'HEAD', 'PUT', 'DELETE', 'OPTIONS', 'TRACE'])

/** Whether a request can be sent twice: nothing happens twice, and the body is still there. */
export function isRepeatable({ method, body }: Dispatcher.DispatchOptions): boolean {
  const isAtHand = body === null || body === undefined || typeof body === 'string' || body instanceof Uint8Array
  return IDEMPOTENT.has(method) && isAtHand
}
