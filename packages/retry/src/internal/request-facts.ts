import { wrong } from './validate.js'

/** What decides how a request may be sent again. */
export interface RequestFacts {
  /** The caller's abort. */
  readonly signal: AbortSignal | undefined
  /** Sending it twice does no more than sending it once, and its body is still there the second time. */
  readonly repeatable: boolean
  /** What to send; anew for each attempt. */
  input(): unknown
}

/** Sending these twice is like sending them once (RFC 9110, 9.2.2, and the QUERY draft). */
export const IDEMPOTENT: ReadonlySet<string> = new Set(['GET', 'HEAD', 'OPTIONS', 'PUT', 'DELETE', 'TRACE', 'QUERY'])

/** The server, or one on the way to it, was not able to answer now. A 500 is an answer. */
export const RETRY_ON: readonly number[] = [408, 425, 429, 502, 503, 504]

export function statuses(option: string, value: unknown): ReadonlySet<number> {
  if (Array.isArray(value) && value.every((status) => Number.isInteger(status) && status >= 100 && status <= 599)) {
    return new Set(value)
  }

  throw wrong(option, value, 'an array of HTTP statuses')
}

type HeadersArgument = ConstructorParameters<typeof Headers>[0]

interface Init {
  readonly method?: string | undefined
  readonly headers?: HeadersArgument
  readonly body?: unknown
  readonly signal?: AbortSignal | null | undefined
}

interface RequestLike {
  readonly method: string
  readonly headers: Headers
  readonly body: unknown
  readonly bodyUsed: boolean
  readonly signal: AbortSignal | undefined
  clone(): RequestLike
}

/** Reads the two arguments of a `fetch`; what `init` says goes before what the request says. */
export function requestFacts(input: unknown, init: Init): RequestFacts {
  const request = isRequest(input) ? input : undefined
  const method = String(init.method ?? request?.method ?? 'GET').toUpperCase()
  const allowed = IDEMPOTENT.has(method) || hasIdempotencyKey(init.headers ?? request?.headers)
  const ownBody =
    init.body === undefined && request !== undefined && request.body !== null && request.body !== undefined
  const repeatable = allowed && (ownBody ? !request.bodyUsed : isReplayable(init.body))

  return {
    signal: init.signal === undefined ? request?.signal : (init.signal ?? undefined),
    repeatable,
    // The body of a request can be read once; each attempt reads one of a clone.
    input: () => (ownBody && repeatable ? request.clone() : input),
  }
}

function isRequest(input: unknown): input is RequestLike {
  const { method, headers, clone } = Object(input) as Partial<RequestLike>
  return typeof method === 'string' && typeof headers === 'object' && typeof clone === 'function'
}

function hasIdempotencyKey(headers: HeadersArgument): boolean {
  try {
    return new Headers(headers).has('idempotency-key')
  } catch {
    // Headers that are wrong are for fetch to refuse.
    return false
  }
}

/** Everything but a stream, which is gone once it is read. */
function isReplayable(body: unknown): boolean {
  if (typeof body !== 'object' || body === null) return true

  return !('getReader' in body || 'pipe' in body || Symbol.asyncIterator in body)
}
