import type { IncomingMessage, ServerResponse } from 'node:http'
import type { TrustConfig } from './address.js'
import { contextOf } from './context.js'
import { askedHost } from './headers.js'
import { checkOption, duration, listOfStrings } from './internal/checks.js'
import type { Middleware } from './middleware.js'

export interface CorsOptions {
  /** Who may read: origins such as `https://shop.example`, a function, or `*` for everybody. */
  readonly origins: '*' | readonly string[] | ((origin: string) => boolean)
  /** Default GET, HEAD, POST, PUT, PATCH, DELETE. */
  readonly methods?: readonly string[] | undefined
  /** Request headers a page may send. Default: those it asks for. */
  readonly headers?: readonly string[] | undefined
  /** Response headers a page may read besides the simple ones. */
  readonly exposed?: readonly string[] | undefined
  /** Whether cookies may come along; not with `*`. Default `false`. */
  readonly credentials?: boolean | undefined
  /** How long a browser may remember the answer, in milliseconds. Default 600_000. */
  readonly maxAge?: number | undefined
}

/**
 * Answers preflight requests and tells browsers which pages may read a response (the Fetch standard's CORS protocol).
 * What an upstream behind it says in `Access-Control-*` does not reach the client.
 */
export function cors(options: CorsOptions): Middleware {
  const { origins, methods = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE'], headers, exposed } = options
  const { credentials = false, maxAge = 600_000 } = options
  checkOption('cors', 'origins', origins ?? null, checkOrigins)
  for (const [name, list] of Object.entries({ methods, headers, exposed }))
    checkOption('cors', name, list, listOfStrings)
  checkOption('cors', 'maxAge', maxAge, duration)
  if (credentials && origins === '*') throw new TypeError("cors: credentials are not possible with origins '*'")

  return function answerCors(req, res, next) {
    contextOf(req).corsSaid = true
    const origin = req.headers.origin
    if (origins !== '*') addVary(res, 'Origin')
    if (origin === undefined) return next()

    const allowed = allows(origins, origin)
    if (allowed) {
      res.setHeader('access-control-allow-origin', origins === '*' ? '*' : origin)
      if (credentials) res.setHeader('access-control-allow-credentials', 'true')
    }

    const asked = req.headers['access-control-request-method']
    if (req.method !== 'OPTIONS' || asked === undefined) {
      if (allowed && exposed !== undefined) res.setHeader('access-control-expose-headers', exposed.join(', '))
      return next()
    }

    addVary(res, 'Access-Control-Request-Method, Access-Control-Request-Headers')
    if (allowed) {
      const wanted = headers?.join(', ') ?? req.headers['access-control-request-headers']
      res.setHeader('access-control-allow-methods', methods.join(', '))
      if (wanted !== undefined) res.setHeader('access-control-allow-headers', wanted)
      res.setHeader('access-control-max-age', Math.floor(maxAge / 1_000))
    }
    res.writeHead(204).end()
  }
}

/**
 * Whether a WebSocket is asked for by a page that may not read here. Browsers ask nobody before they open one, and tell
 * its page all that comes (RFC 6455, 10.2); a page of the gateway's own host needs no leave.
 */
export function isForeignPage(req: IncomingMessage, { origins }: CorsOptions, trust: TrustConfig): boolean {
  const { origin } = req.headers
  if (origin === undefined || allows(origins, origin)) return false

  return !URL.canParse(origin) || new URL(origin).host !== askedHost(req, trust)?.toLowerCase()
}

function allows(origins: CorsOptions['origins'], origin: string): boolean {
  return origins === '*' || (typeof origins === 'function' ? origins(origin) : origins.includes(origin))
}

/** What is wrong with a choice of origins, or nothing. */
export function checkOrigins(origins: unknown): string | undefined {
  if (origins === '*' || typeof origins === 'function') return undefined

  if (listOfStrings(origins) !== undefined) return "'*', a non-empty list of origins, or a function"

  return (origins as string[]).every(isOrigin)
    ? undefined
    : "origins as browsers send them, such as 'https://shop.example' (no path, no '*', no usual port)"
}

/** What is written in another way is never sent, and so would allow nobody without a word. */
function isOrigin(text: string): boolean {
  if (!URL.canParse(text)) return text === 'null'

  const { origin } = new URL(text)
  // Of schemes that are not the web's only the form is known.
  return origin === 'null' ? /^[a-z][a-z0-9+.-]*:\/\/[^/?#@*\s]+$/.test(text) : origin === text && !text.includes('*')
}

function addVary(res: ServerResponse, name: string): void {
  const before = res.getHeader('vary')
  res.setHeader('vary', before === undefined ? name : `${String(before)}, ${name}`)
}
