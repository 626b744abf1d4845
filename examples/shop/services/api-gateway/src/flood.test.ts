import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { createDiscovery, fixed } from '@msx/discovery'
import { createInstruments, createLog } from '@shop/platform'
import { exportJWK, generateKeyPair, SignJWT } from 'jose'
import { expect, test } from 'vitest'
import { createApiGateway } from './gateway.js'

test('sign-ups that are turned away keep nobody from their account', async () => {
  const { privateKey, publicKey } = await generateKeyPair('ES256')
  const keys = { keys: [{ ...(await exportJWK(publicKey)), kid: 'k1', alg: 'ES256' }] }
  const token = await new SignJWT({})
    .setProtectedHeader({ alg: 'ES256', kid: 'k1' })
    .setSubject('ada')
    .setIssuer('shop')
    .setAudience('shop')
    .setExpirationTime('1h')
    .sign(privateKey)
  const upstream = createServer((req, res) => {
    res.writeHead(req.method === 'POST' ? 503 : 200, { 'content-type': 'application/json' })
    res.end(JSON.stringify(keys))
  })
  upstream.listen(0, '127.0.0.1')
  await once(upstream, 'listening')
  const address = [`http://127.0.0.1:${(upstream.address() as AddressInfo).port}`]
  const services = { 'user-service': address, 'product-service': address, 'order-service': address }
  const discovery = createDiscovery({ source: fixed(services) })
  const log = createLog('api-gateway', 'silent')
  const gateway = createApiGateway({
    discovery,
    instruments: createInstruments('api-gateway'),
    log,
    rateLimit: 1_000,
    signInLimit: 10,
  })
  const { url } = await gateway.start()

  for (let i = 0; i < 30; i++) expect((await fetch(`${url}/api/users`, { method: 'POST' })).status).toBe(503)
  const account = await fetch(`${url}/api/users/ada`, { headers: { authorization: `Bearer ${token}` } })

  expect(account.status).toBe(200)
  await gateway.stop()
  await discovery.close()
  upstream.close()
})
