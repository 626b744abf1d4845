import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Claims, Verify } from './claims.js'
import { contextOf, type Identity } from './context.js'
import { aFunction, checkOption, isRecord } from './internal/checks.js'
import type { Middleware } from './middleware.js'
import { problem } from './problem.js'

export interface AuthenticateOptions {
  readonly verify: Verify
  /**
   * Which claims the upstream is told, by header. Names begin with `x-user-`, so that they never come through from
   * outside. Default `{ 'x-user-id': 'sub' }`.
   */
  readonly identity?: Readonly<Record<string, string>> | undefined
}

/**
 * Lets only requests with a valid bearer token pass. Without one: 401 with `WWW-Authenticate` (RFC 6750); when the
 * keys are not to be had: 503. The claims are then at {@link authOf}, and in `x-user-…` headers upstream.
 *
 * @example
 * app.use(authenticate({ verify: jwtVerifier({ issuer, audience, algorithms: ['ES256'], jwks }) }))
 */
export function authenticate({ verify, identity = { 'x-user-id': 'sub' } }: AuthenticateOptions): Middleware {
  if (verify === undefined) throw new TypeError('authenticate: verify must be a function, got undefined')
  checkOption('authenticate', 'verify', verify, aFunction)
  checkOption('authenticate', 'identity', identity, checkIdentity)
  const headers = Object.entries(identity).map(([header, claim]) => [header.toLowerCase(), claim] as const)

  return function authenticateRequest(req, res, next) {
    const token = bearerToken(req.headers.authorization)
    if (token === undefined) {
      res.setHeader('www-authenticate', 'Bearer')
      problem(res, 401, { detail: 'A bearer token is required.' })
      return
    }

    let claims: Claims | Promise<Claims>
    try {
      claims = verify(token, req)
    } catch (error) {
      refuse(res, error)
      return
    }

    if (!isPromise(claims)) accept(claims)
    else claims.then(accept, (error: unknown) => refuse(res, error))

    function accept(verified: Claims): void {
      if (!isRecord(verified)) {
        refuse(res, undefined)
        return
      }

      contextOf(req).identity = { claims: verified, headers: identityHeaders(verified, headers) }
      next()
    }
  }
}

/** The claims of the token this request came with; undefined where nothing was verified. */
export function authOf(req: IncomingMessage): Claims | undefined {
  return contextOf(req).identity?.claims
}

/** What is wrong with a table of identity headers, or nothing. */
export function checkIdentity(identity: unknown): string | undefined {
  const valid =
    isRecord(identity) &&
    Object.entries(identity).every(
      ([header, claim]) => /^x-user-[a-z0-9-]+$/i.test(header) && typeof claim === 'string',
    )

  return valid ? undefined : "an object from headers that begin with 'x-user-' to the names of claims"
}

function bearerToken(header: string | undefined): string | undefined {
  // RFC 6750, 2.1: the scheme in any case, then one token of these characters.
  return header === undefined ? undefined : /^bearer +([A-Za-z0-9\-._~+/]+=*) *$/i.exec(header)?.[1]
}

function isPromise(value: unknown): value is Promise<Claims> {
  return typeof (value as { then?: unknown } | undefined)?.then === 'function'
}

function refuse(res: ServerResponse, error: unknown): void {
  const { status, retryAfter } = (error ?? {}) as { status?: unknown; retryAfter?: unknown }
  if (status === 503) {
    const seconds = typeof retryAfter === 'number' && Number.isFinite(retryAfter) ? Math.ceil(retryAfter / 1_000) : 1
    res.setHeader('retry-after', Math.max(1, seconds))
    problem(res, 503, { detail: 'Tokens cannot be verified at the moment.' })
    return
  }

  res.setHeader('www-authenticate', 'Bearer error="invalid_token"')
  problem(res, 401, { detail: 'The bearer token is not valid.' })
}

function identityHeaders(claims: Claims, headers: readonly (readonly [string, string])[]): Identity['headers'] {
  const identity: Record<string, string> = {}
  for (const [header, claim] of headers) {
    const value = claimText(claims[claim])
    if (value !== undefined) identity[header] = value
  }

  return identity
}

/** A claim as the value of a header; percent-encoded where it has what a header cannot carry. */
function claimText(claim: unknown): string | undefined {
  if (claim === undefined || claim === null) return undefined

  const text =
    typeof claim === 'string' || typeof claim === 'number' || typeof claim === 'boolean'
      ? String(claim)
      : JSON.stringify(claim)
  return /^[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?$/.test(text) ? text : encodeURIComponent(text)
}
