import { hash } from 'node:crypto'
import { type Claims, freezeClaims, type Verify } from './claims.js'
import { connectionOf } from './context.js'
import { AuthError, isAuthError } from './errors.js'
import {
  aFunction,
  anObject,
  aString,
  checkOption,
  duration,
  listOfStrings,
  orFalse,
  positiveInteger,
} from './internal/checks.js'
import { type JwksSource, remoteJwks } from './jwks.js'
import { importJose, type Jose } from './jwt-library.js'
import { RecentMap } from './limit/recent-map.js'

export type { Claims, Verify } from './claims.js'
export { AuthError, isAuthError } from './errors.js'
export { type JwksSource, type RemoteJwksOptions, remoteJwks } from './jwks.js'

export interface JwtVerifierOptions {
  /** What `iss` must be. */
  readonly issuer: string | readonly string[]
  /** What `aud` must be, or have among its values. */
  readonly audience: string | readonly string[]
  /** The signatures that are accepted, such as `['ES256']`; there is no default, and never `none`. */
  readonly algorithms: readonly string[]
  /** Where the keys are, or who has them. */
  readonly jwks: string | URL | JwksSource
  /** What `typ` in the header must be, such as `at+jwt`. Default: not looked at. */
  readonly typ?: string | undefined
  /** How far the issuer's clock may be off, in milliseconds. Default 5_000. */
  readonly clockTolerance?: number | undefined
  /**
   * How many verified tokens are remembered, and for how long in milliseconds; never longer than the token is valid
   * or the key set stands. One that is still in use after three quarters of that time is verified again while it is
   * believed. Default `{ max: 10_000, ttl: 60_000 }`. `false`: every token is verified anew.
   */
  readonly cache?: { readonly max?: number | undefined; readonly ttl?: number | undefined } | false | undefined
  /** The wall clock, in milliseconds. Default `Date.now`. */
  readonly now?: (() => number) | undefined
}

interface Verified {
  readonly claims: Claims
  /** Until when this is believed without looking again. */
  until: number
  /** From when on somebody looks again while it is still believed: then nobody waits. Infinity once that has begun. */
  again: number
  readonly notBefore: number
  readonly version: number | undefined
}

/** A token that is being looked into. */
interface Look {
  readonly claims: Promise<Claims>
  readonly version: number | undefined
  readonly since: number
}

/** The part of its time after which a token in use is looked into again. */
const EARLY = 0.75

/** How long others join whoever looks into a token, in milliseconds. A source of keys may never answer; to the next it may. */
const PATIENCE = 5_000

/**
 * Verifies signed tokens with jose: algorithm, signature, issuer, audience, `exp` (which must be there) and `nbf`.
 * A token that was verified a moment ago costs one hash, or, where it came last on the same connection, one comparison.
 *
 * @throws {AuthError} `MSX_AUTH_INVALID_TOKEN`, or `MSX_AUTH_KEYS_UNAVAILABLE` when the keys are not to be had. Without
 * jose there is a process warning at construction, and each token is refused with `MSX_AUTH_PEER_MISSING`.
 *
 * @example
 * const verify = jwtVerifier({
 *   issuer: 'https://id.example', audience: 'shop', algorithms: ['ES256'],
 *   jwks: 'https://id.example/.well-known/jwks.json',
 * })
 */
export function jwtVerifier(options: JwtVerifierOptions): Verify {
  checkOptions(options)
  const { typ, clockTolerance = 5_000, now = Date.now } = options
  const source = typeof options.jwks === 'function' ? options.jwks : remoteJwks(options.jwks)
  const { max = 10_000, ttl = 60_000 } = options.cache === false ? { ttl: 0 } : (options.cache ?? {})
  const library = importJose()
  library.catch((error: unknown) => process.emitWarning(String((error as Error).message), 'MsxPeerWarning'))
  const recent = new RecentMap<Verified>(max)
  const underWay = new Map<string, Look>()
  const expected = {
    issuer: [options.issuer].flat() as string[],
    audience: [options.audience].flat() as string[],
    algorithms: [...options.algorithms],
    requiredClaims: ['exp'],
    clockTolerance: clockTolerance / 1_000,
    ...(typ !== undefined && { typ }),
  }

  return function verify(token, req) {
    if (ttl === 0) return look(token)

    const at = now()
    // Tokens themselves are kept with the connection they came on, and nowhere longer.
    const connection = req ? connectionOf(req) : undefined
    const before = connection?.known
    const last = before?.by === recent && before.token === token ? (before.verified as Verified) : undefined
    if (last !== undefined && holds(last, at) && at < last.again) return last.claims

    const key = hash('sha256', token, 'base64url')
    // The cache may have forgotten what the connection has not.
    const verified = recent.get(key) ?? last
    if (verified === undefined || !holds(verified, at)) {
      if (before !== undefined) connection!.known = undefined
      return lookOnce(token, key, at)
    }

    if (at >= verified.again) lookAgain(verified, token, key, at)
    if (connection !== undefined) connection.known = { token, verified, by: recent }
    return verified.claims
  }

  function holds({ until, notBefore, version }: Verified, at: number): boolean {
    return at < until && at >= notBefore && version === source.version
  }

  function lookAgain(verified: Verified, token: string, key: string, at: number): void {
    verified.again = Number.POSITIVE_INFINITY
    lookOnce(token, key, at).catch((error: AuthError) => {
      // Whoever comes next hears it. Where nobody could tell, it is believed until its time is up.
      if (error.code === 'MSX_AUTH_INVALID_TOKEN') verified.until = 0
    })
  }

  /** Whoever comes with the same token in the meantime waits for the same answer, unless the keys have changed. */
  function lookOnce(token: string, key: string, at: number): Promise<Claims> {
    const { version } = source
    const before = underWay.get(key)
    if (before !== undefined && before.version === version && at - before.since < PATIENCE) return before.claims

    const claims = look(token, key).finally(() => {
      if (underWay.get(key) === mine) underWay.delete(key)
    })
    const mine: Look = { claims, version, since: at }
    underWay.set(key, mine)
    return claims
  }

  async function look(token: string, key?: string): Promise<Claims> {
    const jose = await library
    const { version } = source
    try {
      const { payload } = await jose.jwtVerify(token, source, {
        ...expected,
        // Asked for when the key is there: others may have joined, and time may have passed.
        get currentDate() {
          return new Date(now())
        },
      })
      const at = now()
      freezeClaims(payload)
      if (key !== undefined) {
        recent.set(key, {
          claims: payload,
          until: Math.min(payload.exp! * 1_000 + clockTolerance, at + ttl),
          // One that is about to expire will not be better for it.
          again: payload.exp! * 1_000 + clockTolerance > at + ttl ? at + ttl * EARLY : Number.POSITIVE_INFINITY,
          notBefore: payload.nbf === undefined ? 0 : payload.nbf * 1_000 - clockTolerance,
          // A set that changed while we looked may no longer have the key we used; then the entry never matches.
          version,
        })
      }
      return payload
    } catch (error) {
      throw explain(error, jose.errors)
    }
  }
}

function explain(error: unknown, errors: Jose['errors']): AuthError {
  if (isAuthError(error)) return error
  if (error instanceof errors.JOSEError && !isOfKeys(error, errors))
    return new AuthError('MSX_AUTH_INVALID_TOKEN', describe(error, errors), { cause: error })

  // Not about the token: a source of keys that failed. Nobody may come in, and nobody is told that the token is bad.
  return new AuthError('MSX_AUTH_KEYS_UNAVAILABLE', 'The token could not be verified.', { cause: error })
}

/** Whether one of jose's own sources had no keys to give; where its issuer answers with an error, it has no name for that. */
function isOfKeys(error: Error & { readonly code: string }, errors: Jose['errors']): boolean {
  return (
    error instanceof errors.JWKSTimeout || error instanceof errors.JWKSInvalid || error.code === errors.JOSEError.code
  )
}

function describe(error: Error, errors: Jose['errors']): string {
  if (error instanceof errors.JWTExpired) return 'The token has expired.'
  if (error instanceof errors.JWTClaimValidationFailed)
    return `The token's claim '${error.claim}' is not what it has to be.`
  if (error instanceof errors.JOSEAlgNotAllowed) return 'The token is signed with an algorithm that is not allowed.'

  return 'The token is not valid.'
}

function checkOptions(options: JwtVerifierOptions): void {
  for (const name of ['issuer', 'audience', 'algorithms', 'jwks'] as const) {
    if (options[name] === undefined) throw new TypeError(`jwtVerifier: ${name} is required`)
  }

  const stringOrList = (value: unknown) =>
    aString(value) === undefined || listOfStrings(value) === undefined
      ? undefined
      : 'a text or a non-empty list of texts'
  checkOption('jwtVerifier', 'issuer', options.issuer, stringOrList)
  checkOption('jwtVerifier', 'audience', options.audience, stringOrList)
  checkOption('jwtVerifier', 'algorithms', options.algorithms, listOfStrings)
  if (options.algorithms.some((algorithm) => algorithm.toLowerCase() === 'none')) {
    throw new TypeError("jwtVerifier: algorithms must not have 'none': such tokens are not signed")
  }
  checkOption('jwtVerifier', 'typ', options.typ, aString)
  checkOption('jwtVerifier', 'clockTolerance', options.clockTolerance, duration)
  checkOption('jwtVerifier', 'now', options.now, aFunction)
  checkOption('jwtVerifier', 'cache', options.cache, orFalse(anObject))
  if (options.cache !== undefined && options.cache !== false) {
    checkOption('jwtVerifier', 'cache.max', options.cache.max, positiveInteger)
    checkOption('jwtVerifier', 'cache.ttl', options.cache.ttl, duration)
  }
}
