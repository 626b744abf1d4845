import { type Clock, systemClock } from './clock.js'
import { AuthError, isAuthError } from './errors.js'
import { aFunction, checkOption, duration, isRecord } from './internal/checks.js'
import {
  type CryptoKey,
  importJose,
  type Jose,
  type JSONWebKeySet,
  type JWSHeaderParameters,
  type KeyObject,
} from './jwt-library.js'

/** Finds the key for a token's header; what jose's `createLocalJWKSet` returns is one. */
export interface JwksSource {
  (header: JWSHeaderParameters): Promise<CryptoKey | KeyObject | Uint8Array>
  /** Changes with the set of keys, so that nothing verified with the set before is believed any longer. */
  readonly version?: number | undefined
}

export interface RemoteJwksOptions {
  /** Asks for the keys; give a `serviceFetch` to find the issuer by its name. Default: the global fetch. */
  readonly fetch?:
    | ((
        url: string,
        init: { readonly headers: Record<string, string>; readonly signal: AbortSignal; readonly redirect: 'error' },
      ) => Promise<Response>)
    | undefined
  /** How long keys are fresh, in milliseconds; at 80 % of it they are asked for in the background. Default 600_000. */
  readonly maxAge?: number | undefined
  /** The least time between two questions, in milliseconds, whatever key ids tokens come with. Default 30_000. */
  readonly cooldown?: number | undefined
  /** How long old keys serve while the issuer cannot be reached, in milliseconds. Default 86_400_000. */
  readonly staleIfError?: number | undefined
  /** For one question, in milliseconds. Default 5_000. */
  readonly timeout?: number | undefined
  readonly clock?: Clock | undefined
}

interface Keys {
  readonly find: ReturnType<Jose['createLocalJWKSet']>
  readonly text: string
  readonly at: number
}

/** After a failure the issuer is asked again soon, then less and less often, up to the cooldown. */
const FIRST_PAUSE = 250

/**
 * The keys of an issuer, from its JWKS document. They are asked for when first needed, refreshed before they are old,
 * kept while the issuer is away, and asked for once per cooldown when a token names an unknown key.
 */
export function remoteJwks(url: string | URL, options: RemoteJwksOptions = {}): JwksSource {
  const {
    maxAge = 600_000,
    cooldown = 30_000,
    staleIfError = 86_400_000,
    timeout = 5_000,
    clock = systemClock,
  } = options
  const ask = options.fetch ?? ((address, init) => fetch(address, init))
  if (!URL.canParse(String(url))) throw new TypeError(`remoteJwks: url must be a URL, got ${String(url)}`)
  checkOption('remoteJwks', 'fetch', options.fetch, aFunction)
  for (const [name, value] of Object.entries({ maxAge, cooldown, staleIfError, timeout }))
    checkOption('remoteJwks', name, value, duration)

  const address = String(url)
  let keys: Keys | undefined
  let version = 0
  let failures = 0
  let notBefore = Number.NEGATIVE_INFINITY
  let refreshing: Promise<Keys> | undefined

  function refresh(): Promise<Keys> {
    refreshing ??= load().finally(() => {
      refreshing = undefined
    })
    return refreshing
  }

  async function load(): Promise<Keys> {
    try {
      const set = await download()
      const { createLocalJWKSet } = await importJose()
      const text = JSON.stringify(set)
      if (text !== keys?.text) version += 1
      keys = { find: text === keys?.text ? keys.find : createLocalJWKSet(set), text, at: clock.now() }
      failures = 0
      notBefore = clock.now() + cooldown
      return keys
    } catch (cause) {
      notBefore = clock.now() + Math.min(cooldown, FIRST_PAUSE * 2 ** failures)
      failures += 1
      throw isAuthError(cause) ? cause : unavailable(cause)
    }
  }

  async function download(): Promise<JSONWebKeySet> {
    const response = await ask(address, {
      headers: { accept: 'application/jwk-set+json, application/json' },
      signal: AbortSignal.timeout(timeout),
      redirect: 'error',
    })
    if (response.status !== 200) {
      await response.body?.cancel()
      throw new Error(`the issuer answered with ${response.status}`)
    }

    const set: unknown = await response.json()
    if (!isRecord(set) || !Array.isArray(set['keys']) || !set['keys'].every(isRecord))
      throw new Error('the issuer sent no key set')
    return set as unknown as JSONWebKeySet
  }

  const unavailable = (cause?: unknown): AuthError =>
    new AuthError('MSX_AUTH_KEYS_UNAVAILABLE', 'The keys of the issuer are not available.', {
      cause,
      retryAfter: Math.max(0, notBefore - clock.now()),
    })

  const mayAsk = (): boolean => refreshing !== undefined || clock.now() >= notBefore

  async function current(): Promise<Keys> {
    const age = keys === undefined ? Number.POSITIVE_INFINITY : clock.now() - keys.at
    if (keys === undefined || age >= maxAge + staleIfError) {
      if (!mayAsk()) throw unavailable()
      return refresh()
    }
    if (age < maxAge * 0.8 || !mayAsk()) return keys

    const old = keys
    // In either case the old keys stand in for a refresh that fails; only old ones are worth waiting for.
    const refreshed = refresh().catch(() => old)
    return age < maxAge ? old : refreshed
  }

  async function find(header: JWSHeaderParameters) {
    const before = await current()
    try {
      return await before.find(header)
    } catch (error) {
      if (!isUnknownKey(error) || !mayAsk()) throw error
    }

    const after = await refresh()
    return after.find(header)
  }

  return Object.defineProperty(find, 'version', { get: () => version }) as JwksSource
}

const isUnknownKey = (error: unknown): boolean =>
  error instanceof Error && 'code' in error && error.code === 'ERR_JWKS_NO_MATCHING_KEY'
