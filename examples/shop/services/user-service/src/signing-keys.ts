import type { Database, Sql } from '@shop/platform'
import { calculateJwkThumbprint, exportJWK, generateKeyPair, type JSONWebKeySet, type JWK } from 'jose'

export const algorithm = 'ES256'

/** How far apart the clocks of those who sign, store and check may be, in milliseconds. */
export const clockSkew = 60_000

export interface SigningKey {
  readonly kid: string
  readonly privateJwk: JWK
}

/** Makes the first key. Where several instances start together, one of their keys stays and the others are dropped. */
export async function ensureSigningKey(database: Database): Promise<void> {
  const { rows } = await database.query('SELECT kid FROM signing_keys WHERE active')
  if (rows.length === 0) await insertActiveKey(database)
}

/**
 * Lets a new key sign from now on. The one before it stays published for `overlap` ms, the longest that a token signed
 * with it may still be good for. Returns the new key's id.
 */
export async function rotateSigningKey(database: Database, overlap: number): Promise<string> {
  return database.transaction(async (tx) => {
    await tx.query('DELETE FROM signing_keys WHERE published_until < now()')
    await tx.query(
      `UPDATE signing_keys SET active = false, published_until = now() + make_interval(secs => $1) WHERE active`,
      [(overlap + clockSkew) / 1_000],
    )
    await insertActiveKey(tx)
    return (await activeSigningKey(tx)).kid
  })
}

export async function activeSigningKey(sql: Sql): Promise<SigningKey> {
  const { rows } = await sql.query<SigningKey>('SELECT kid, private_jwk AS "privateJwk" FROM signing_keys WHERE active')
  const key = rows[0]
  if (key === undefined) throw new Error('there is no active signing key: start makes one')

  return key
}

/** The public halves of all keys whose tokens may still be good (RFC 7517). */
export async function publishedKeys(sql: Sql): Promise<JSONWebKeySet> {
  const { rows } = await sql.query<{ jwk: JWK }>(
    `SELECT public_jwk AS jwk FROM signing_keys WHERE active OR published_until >= now() ORDER BY created_at DESC`,
  )
  return { keys: rows.map((row) => row.jwk) }
}

async function insertActiveKey(sql: Sql): Promise<void> {
  const pair = await generateKeyPair(algorithm, { extractable: true })
  const bare = await exportJWK(pair.publicKey)
  const kid = await calculateJwkThumbprint(bare)
  const publicJwk: JWK = { ...bare, kid, alg: algorithm, use: 'sig' }

  await sql.query(
    `INSERT INTO signing_keys (kid, public_jwk, private_jwk, active) VALUES ($1, $2, $3, true)
     ON CONFLICT DO NOTHING`,
    [kid, JSON.stringify(publicJwk), JSON.stringify(await exportJWK(pair.privateKey))],
  )
}
