import type { IncomingMessage } from 'node:http'
import { isHttp2 } from './http2.js'

/**
 * The checks a request passes before anything is decided about it. Node's parser already refuses the worst framing
 * (content-length together with transfer-encoding, two lengths, folded lines); what it lets through, and what two
 * servers in a row could read differently, is refused here.
 */
export interface Target {
  /** In normal form: percent-encoding in upper case, letters and digits decoded. Routed, authorised and forwarded as it is. */
  readonly path: string
  /** With its question mark, or empty. */
  readonly query: string
}

export interface Refusal {
  readonly status: 400 | 405
  readonly detail: string
}

const refuse = (detail: string): Refusal => ({ status: 400, detail })

// Registered, so that two copies of the package agree.
const refused: unique symbol = Symbol.for('@msx/gateway-kit.refused') as never

/** After a refusal nothing that follows on the connection is a request, whatever it looks like. */
export function refuseConnection(req: IncomingMessage): void {
  Object.assign(req.socket, { [refused]: true })
}

/** Whether an earlier request on this connection was refused; Node parses ahead, and hands over what it found. */
export function isConnectionRefused(req: IncomingMessage): boolean {
  return refused in req.socket
}

/** Whether the request may be routed at all: its normal target, or why not. */
export function inspect(req: IncomingMessage): Target | Refusal {
  if (req.method === 'TRACE' || req.method === 'CONNECT') {
    return { status: 405, detail: `This gateway does not take ${req.method} requests.` }
  }

  // Under HTTP/2 a method can be any word; one that differs in its letters from those of a route must not get around it.
  if (isHttp2(req) && !/^[A-Z][A-Z-]*$/.test(req.method ?? '')) return refuse('The method is not valid.')

  return inspectHeaders(req) ?? parseTarget(originalUrl(req))
}

/** The target as it was received, also behind a router that rewrites `url` (Express, Connect). */
export function originalUrl(req: IncomingMessage): string {
  const { originalUrl } = req as { originalUrl?: unknown }

  return typeof originalUrl === 'string' ? originalUrl : (req.url ?? '/')
}

const validHost = /^(?:[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::\d{1,5})?$/i

function inspectHeaders(req: IncomingMessage): Refusal | undefined {
  const raw = req.rawHeaders
  let hosts = 0
  let authorizations = 0
  let lengths = 0
  let encodings = 0

  for (let index = 0; index < raw.length; index += 2) {
    const name = raw[index]!
    // Only these four lengths concern us, so most names are never lower-cased.
    switch (name.length) {
      case 4:
        if (name.toLowerCase() === 'host') {
          hosts += 1
          const value = raw[index + 1]!
          if (value !== '' && !validHost.test(value)) return refuse('The Host header is not valid.')
        }
        break
      case 13:
        if (name.toLowerCase() === 'authorization') authorizations += 1
        break
      case 14:
        if (name.toLowerCase() === 'content-length') lengths += 1
        break
      case 17:
        if (name.toLowerCase() === 'transfer-encoding') {
          encodings += 1
          if (raw[index + 1]!.toLowerCase() !== 'chunked') return refuse('The only transfer-encoding taken is chunked.')
        }
        break
    }
  }

  if (hosts > 1) return refuse('There is more than one Host header.')
  if (isHttp2(req)) {
    const authority = req.headers[':authority']
    const { host } = req.headers
    if (authority !== undefined && !validHost.test(authority)) return refuse('The :authority is not valid.')
    if (authority !== undefined && host !== undefined && host !== authority) {
      return refuse('Host and :authority are not the same.')
    }
    if (authority === undefined && host === undefined) return refuse('There is no :authority.')
  } else {
    if (req.httpVersion !== '1.1' && req.httpVersion !== '1.0')
      return refuse('This version of HTTP is not spoken here.')
    if (hosts === 0 && req.httpVersion !== '1.0') return refuse('There is no Host header.')
  }
  if (authorizations > 1) return refuse('There is more than one Authorization header.')
  if (lengths > 1 || encodings > 1 || (lengths > 0 && encodings > 0))
    return refuse('The length of the body is ambiguous.')
  if (encodings > 0 && req.httpVersion === '1.0') return refuse('HTTP/1.0 has no transfer-encoding.')

  return undefined
}

const ordinary = /^(?:\/[A-Za-z0-9\-_~!$&'()*+,=:@][A-Za-z0-9\-._~!$&'()*+,;=:@]*)+\/?$/
const printable = /^[\x21-\x7e]*$/
// A slash, a backslash, a dot, a control character or a delete, in disguise.
const ambiguous = /%(?:2f|5c|2e|[01][0-9a-f]|7f)/i
const malformed = /%(?![0-9a-f]{2})/i
// Servlet containers take what follows a semicolon out of a segment before they look at the path: '/a/..;/b' is '/b' to them.
const dotSegment = /\/(?:\.{1,2}(?:\/|$)|\.{0,2}(?:;|%3b))/i
const encodedByte = /%([0-9a-f]{2})/gi
const unreserved = /[A-Za-z0-9\-_~]/

/** Splits and normalises an origin-form target; anything else is refused. */
export function parseTarget(target: string): Target | Refusal {
  if (!target.startsWith('/')) return refuse('The request target must be a path.')

  const mark = target.indexOf('?')
  const path = mark === -1 ? target : target.slice(0, mark)
  const query = mark === -1 ? '' : target.slice(mark)
  if (query !== '' && (!printable.test(query) || query.includes('#'))) {
    return refuse('The query has characters that must be percent-encoded.')
  }
  if (path === '/' || ordinary.test(path)) return { path, query }

  const checked = checkPath(path)
  return typeof checked === 'string' ? { path: checked, query } : checked
}

function checkPath(path: string): string | Refusal {
  if (!printable.test(path) || path.includes('\\') || path.includes('#')) {
    return refuse('The path has characters that must be percent-encoded.')
  }
  if (path.includes('//')) return refuse('The path has an empty segment.')
  if (dotSegment.test(path)) return refuse('The path has a dot segment.')
  if (malformed.test(path)) return refuse('The path has a malformed percent-encoding.')
  if (ambiguous.test(path)) return refuse('The path has an ambiguous percent-encoding.')

  try {
    decodeURIComponent(path)
  } catch {
    return refuse('The path is not valid UTF-8.')
  }

  return path.replace(encodedByte, (encoded, hex: string) => {
    const character = String.fromCharCode(Number.parseInt(hex, 16))
    return unreserved.test(character) ? character : encoded.toUpperCase()
  })
}
