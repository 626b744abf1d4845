import { createHmac, hash, randomBytes, timingSafeEqual } from 'node:crypto'
import { type Claims, freezeClaims, type Verify } from './claims.js'
import { AuthError } from './errors.js'
import { isRecord, show } from './internal/checks.js'

export interface ApiKeyOptions {
  /** What is known about whoever has a key, by the key's hash: `{ 'sha256:…': { sub: 'partner-1' } }`. */
  readonly keys: Readonly<Record<string, Claims>>
  /** The header the key comes in. Default `x-api-key`. `authorization`: as a bearer token. */
  readonly header?: string | undefined
}

const PREFIX = 'sha256:'

/**
 * What is stored of an API key: `sha256:` and the digest. That is enough for keys that are random and long, such as 32
 * random bytes; it is not for passwords.
 */
export function hashApiKey(key: string): string {
  // Of what comes in a header the blanks around it are gone, and of other characters nobody knows the encoding.
  if (typeof key !== 'string' || !/^[!-~][ -~]{14,}[!-~]$/.test(key)) {
    throw new TypeError('hashApiKey: key must be at least 16 characters of ASCII without blanks around')
  }

  return PREFIX + hash('sha256', key)
}

/**
 * Verifies API keys, of which only hashes are known. How long it takes says nothing about the keys there are.
 *
 * @throws {AuthError} `MSX_AUTH_INVALID_TOKEN` for an unknown key.
 *
 * @example
 * const partners = apiKeys({ keys: { 'sha256:6ca1…': { sub: 'partner-1', scope: 'orders:read' } } })
 * createGateway({ routes: [{ path: '/orders', upstream, auth: 'partners' }] }, { verifiers: { partners } })
 */
export function apiKeys({ keys, header = 'x-api-key' }: ApiKeyOptions): Verify {
  if (typeof header !== 'string' || !/^[\w!#$%&'*+.^`|~-]+$/.test(header)) {
    throw new TypeError(`apiKeys: header must be the name of a header, got ${show(header)}`)
  }
  // What was given is not told: it may be a key.
  if (!isRecord(keys)) throw new TypeError('apiKeys: keys must be an object by hash')

  // Looked up under a name that whoever asks cannot foresee, so that no comparison on the way tells anything.
  const secret = randomBytes(32)
  const nameOf = (digest: Buffer): string => createHmac('sha256', secret).update(digest).digest('base64')
  const known = new Map(
    Object.entries(keys).map(([stored, claims]) => {
      const hex = /^sha256:([0-9a-f]{64})$/i.exec(stored)?.[1]
      if (hex === undefined) throw new TypeError('apiKeys: keys must be named by hashes from hashApiKey()')
      if (!isRecord(claims)) throw new TypeError('apiKeys: the claims of a key must be an object')

      const digest = Buffer.from(hex, 'hex')
      return [nameOf(digest), { digest, claims: freezeClaims(structuredClone(claims)) }] as const
    }),
  )
  // Of two spellings one would stay when the other is taken out, and the key with it.
  if (known.size < Object.keys(keys).length) throw new TypeError('apiKeys: keys must be named by hashes, each once')
  const nobody = { digest: randomBytes(32), claims: {} }

  const verify = (key: string): Claims => {
    const digest = hash('sha256', key, 'buffer')
    const found = known.get(nameOf(digest)) ?? nobody
    if (!timingSafeEqual(digest, found.digest)) {
      throw new AuthError('MSX_AUTH_INVALID_TOKEN', 'The API key is not known.')
    }

    return found.claims
  }
  return Object.assign(verify, { header: header.toLowerCase() })
}
