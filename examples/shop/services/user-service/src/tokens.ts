import type { Database } from '@shop/platform'
import { importJWK, SignJWT } from 'jose'
import { activeSigningKey, algorithm, type SigningKey } from './signing-keys.js'

type PrivateKey = Awaited<ReturnType<typeof importJWK>>

const issuer = 'shop'
const audience = 'shop'

/**
 * Signs tokens that are good for `ttl` ms. Which key signs is asked of the database each time, so that a rotation by
 * one instance holds for all of them; only the parsed key is kept.
 */
export function tokenSigner(database: Database, ttl: number): (userId: string) => Promise<string> {
  let parsed: { readonly kid: string; readonly key: PrivateKey } | undefined

  async function parse({ kid, privateJwk }: SigningKey): Promise<PrivateKey> {
    if (parsed?.kid !== kid) parsed = { kid, key: await importJWK(privateJwk, algorithm) }
    return parsed.key
  }

  return async (userId) => {
    const active = await activeSigningKey(database)
    const issuedAt = Math.floor(Date.now() / 1_000)

    return new SignJWT()
      .setProtectedHeader({ alg: algorithm, kid: active.kid, typ: 'JWT' })
      .setSubject(userId)
      .setIssuer(issuer)
      .setAudience(audience)
      .setIssuedAt(issuedAt)
      .setExpirationTime(issuedAt + Math.ceil(ttl / 1_000))
      .sign(await parse(active))
  }
}
