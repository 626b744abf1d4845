import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Claims, Verify } from './claims.js'
import { connectionOf, contextOf, type Identity } from './context.js'
import { aFunction, checkOption, isRecord, listOfStrings } from './internal/checks.js'
import type { Middleware } from './middleware.js'
import { checkScopes, type Permissions, permits } from './permissions.js'
import { problem } from './problem.js'

export interface AuthenticateOptions extends Permissions {
  readonly verify: Verify
  /**
   * Which claims the upstream is told, by header. Names begin with `x-user-`, so that they never come through from
   * outside. Default `{ 'x-user-id': 'sub' }`.
   */
  readonly identity?: Readonly<Record<string, string>> | undefined
}

/**
 * Lets only requests with a valid bearer token pass. Without one: 401 with `WWW-Authenticate` (RFC 6750); when the
 * keys are not to be had: 503. Without the scopes and roles that are asked for: 403. The claims are then at {@link authOf}, and in `x-user-…` headers upstream.
 *
 * @example
 * app.use(authenticate({ verify: jwtVerifier({ issuer, audience, algorithms: ['ES256'], jwks }) }))
 */
export function authenticate(options: AuthenticateOptions): Middleware {
  const { verify, identity = { 'x-user-id': 'sub' }, scopes, roles } = options
  if (verify === undefined) throw new TypeError('authenticate: verify must be a function, got undefined')
  checkOption('authenticate', 'verify', verify, aFunction)
  checkOption('authenticate', 'identity', identity, checkIdentity)
  checkOption('authenticate', 'scopes', scopes, checkScopes)
  checkOption('authenticate', 'roles', roles, listOfStrings)
  const carrier = verify.header ?? 'authorization'
  const isBearer = carrier === 'authorization'
  const proofs = [carrier]
  // Verifiers give the same claims for the same token. Those that are not frozen may be others by the next time.
  const known = new WeakMap<Claims, Identity>()
  const headers = Object.entries(identity).map(([header, claim]) => [header.toLowerCase(), claim] as const)

  return function authenticateRequest(req, res, next) {
    const token = isBearer ? bearerToken(req) : single(req.headers[carrier])
    if (token === undefined) {
      challenge(res, '')
      problem(res, 401, { detail: isBearer ? 'A bearer token is required.' : `The header ${carrier} is required.` })
      return
    }

    let claims: Claims | Promise<Claims>
    try {
      claims = verify(token, req)
    } catch (error) {
      turnAway(res, error)
      return
    }

    if (!isPromise(claims)) accept(claims)
    else
      claims.then(
        // Somebody in front may have answered in the meantime, for the time it took.
        (verified) => void (res.headersSent || accept(verified)),
        (error: unknown) => void (res.headersSent || turnAway(res, error)),
      )

    function accept(verified: Claims): void {
      if (!isRecord(verified)) {
        turnAway(res, undefined)
        return
      }
      if (!permits(verified, { scopes, roles })) {
        challenge(res, `error="insufficient_scope"${scopes === undefined ? '' : `, scope="${scopes.join(' ')}"`}`)
        problem(res, 403, { detail: 'Whoever asks may not do this.' })
        return
      }

      const context = contextOf(req)
      try {
        context.identity = identityOf(verified)
      } catch (error) {
        turnAway(res, error)
        return
      }
      // That of bearer tokens stays in any case.
      if (!isBearer) context.proofs = context.proofs === undefined ? proofs : [...context.proofs, carrier]
      next()
    }
  }

  function identityOf(claims: Claims): Identity {
    const before = known.get(claims)
    if (before !== undefined) return before

    const made = { claims, headers: identityHeaders(claims, headers) }
    if (Object.isFrozen(claims)) known.set(claims, made)
    return made
  }

  /** What a client may do about it (RFC 6750, 3); there is no such scheme for keys. */
  function challenge(res: ServerResponse, error: string): void {
    if (isBearer) res.setHeader('www-authenticate', error === '' ? 'Bearer' : `Bearer ${error}`)
  }

  function turnAway(res: ServerResponse, error: unknown): void {
    const { status, retryAfter } = (error ?? {}) as { status?: unknown; retryAfter?: unknown }
    if (status === 503) {
      const seconds = typeof retryAfter === 'number' && Number.isFinite(retryAfter) ? Math.ceil(retryAfter / 1_000) : 1
      res.setHeader('retry-after', Math.max(1, seconds))
      problem(res, 503, { detail: 'Tokens cannot be verified at the moment.' })
      return
    }

    challenge(res, 'error="invalid_token"')
    problem(res, 401, { detail: isBearer ? 'The bearer token is not valid.' : 'The key is not valid.' })
  }
}

/** The claims of the token this request came with; undefined where nothing was verified. */
export function authOf(req: IncomingMessage | Request): Claims | undefined {
  // Where `toFetch` made it, a Request has with it what is known about the request it stands for.
  return contextOf(req as IncomingMessage).identity?.claims
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

/** Mostly the same header comes again on a connection: it is compared, not read. It goes when the connection goes. */
function bearerToken(req: IncomingMessage): string | undefined {
  const header = req.headers.authorization
  if (header === undefined) return undefined

  const connection = connectionOf(req)
  if (connection.bearer?.header === header) return connection.bearer.token

  // RFC 6750, 2.1: the scheme in any case, then one token of these characters.
  const token = /^bearer +([A-Za-z0-9\-._~+/]+=*) *$/i.exec(header)?.[1]
  if (token !== undefined) connection.bearer = { header, token }
  return token
}

const single = (header: string | string[] | undefined): string | undefined =>
  typeof header === 'string' && header !== '' ? header : undefined

function isPromise(value: unknown): value is Promise<Claims> {
  return typeof (value as { then?: unknown } | undefined)?.then === 'function'
}

function identityHeaders(claims: Claims, headers: readonly (readonly [string, string])[]): Identity['headers'] {
  const identity: Record<string, string> = {}
  for (const [header, claim] of headers) {
    const value = claimText(claims[claim])
    if (value !== undefined) identity[header] = value
  }

  return identity
}

/**
 * A claim as the value of a header; percent-encoded where it has what a header cannot carry. Throws for half a surrogate
 * pair, which no encoding has: anything in its place would be somebody else's name.
 */
function claimText(claim: unknown): string | undefined {
  if (claim === undefined || claim === null) return undefined

  const text =
    typeof claim === 'string' || typeof claim === 'number' || typeof claim === 'boolean'
      ? String(claim)
      : JSON.stringify(claim)
  return /^[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?$/.test(text) ? text : encodeURIComponent(text)
}
