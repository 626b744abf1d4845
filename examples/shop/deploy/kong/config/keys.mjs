// Tells Kong the keys that user-service signs with, now and until they expire. Runs beside Kong every minute, so that a
// rotation is known before the first token of the new key is refused: `node keys.mjs`, addresses by the environment.
import { createPublicKey } from 'node:crypto'

const admin = process.env.KONG_ADMIN_URL ?? 'http://kong-admin:8001'
const keys = process.env.JWKS_URL ?? 'http://user-service:3000/.well-known/jwks.json'
const consumer = 'shop-customers'

const jwks = await answer(fetch(keys))
const wanted = new Map(
  jwks.keys.map((key) => [
    key.kid,
    createPublicKey({ key, format: 'jwk' }).export({ type: 'spki', format: 'pem' }).toString(),
  ]),
)

if (process.env.KONG_DATABASE === 'off') {
  // Without a database there is one config, and it is sent as a whole.
  const { readFile } = await import('node:fs/promises')
  const config = JSON.parse(await readFile(process.env.KONG_CONFIG ?? '/etc/kong/kong.json', 'utf8'))
  const credentials = [...wanted].map(([key, pem]) => ({ key, algorithm: 'ES256', rsa_public_key: pem }))
  const consumers = [{ username: consumer, jwt_secrets: credentials }]
  await answer(send('POST', '/config?check_hash=1', { ...config, consumers }))
} else {
  await answer(send('PUT', `/consumers/${consumer}`, { username: consumer }))
  const known = (await answer(fetch(`${admin}/consumers/${consumer}/jwt`))).data
  for (const [key, pem] of wanted) {
    if (known.some((credential) => credential.key === key)) continue
    await answer(send('POST', `/consumers/${consumer}/jwt`, { key, algorithm: 'ES256', rsa_public_key: pem }))
  }
  for (const { id, key } of known) {
    if (!wanted.has(key)) await answer(send('DELETE', `/consumers/${consumer}/jwt/${id}`))
  }
}

function send(method, path, body) {
  return fetch(admin + path, {
    method,
    headers: { 'content-type': 'application/json' },
    body: body === undefined ? null : JSON.stringify(body),
    signal: AbortSignal.timeout(5_000),
  })
}

async function answer(request) {
  const response = await request
  const text = await response.text()
  if (!response.ok) throw new Error(`${response.url} answered ${response.status}: ${text.slice(0, 300)}`)
  return text === '' ? undefined : JSON.parse(text)
}
