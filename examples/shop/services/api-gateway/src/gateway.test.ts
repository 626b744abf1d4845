import { once } from 'node:events'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { createDiscovery, type Discovery, fixed } from '@msx/discovery'
import { createEdges, createInstruments, createLog, type Service } from '@shop/platform'
import { exportJWK, generateKeyPair, SignJWT } from 'jose'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { createApiGateway } from './gateway.js'
import { type Limiters, localLimiters } from './limiters.js'
import { routeTable } from './routes.js'

let upstream: Server
let discovery: Discovery
let gateway: Service
let url: string
let token: string

beforeEach(async () => {
  const { privateKey, publicKey } = await generateKeyPair('ES256')
  const keys = { keys: [{ ...(await exportJWK(publicKey)), kid: 'k1', alg: 'ES256' }] }
  token = await new SignJWT({})
    .setProtectedHeader({ alg: 'ES256', kid: 'k1' })
    .setSubject('ada')
    .setIssuer('shop')
    .setAudience('shop')
    .setExpirationTime('1h')
    .sign(privateKey)

  // Stands for every service: hands out the keys, and says what it was asked and by whom.
  upstream = createServer((req, res) => {
    const seen = { method: req.method, path: req.url, user: req.headers['x-user-id'] ?? null }
    res.setHeader('content-type', 'application/json')
    res.end(JSON.stringify(req.url === '/.well-known/jwks.json' ? keys : seen))
  })
  upstream.listen(0, '127.0.0.1')
  await once(upstream, 'listening')

  const address = [`http://127.0.0.1:${(upstream.address() as AddressInfo).port}`]
  await start({ 'user-service': address, 'product-service': address, 'order-service': address })
})

afterEach(async () => {
  await gateway.stop()
  await discovery.close()
  upstream.close()
})

async function start(addresses: Record<string, string[]>, limit = 1_000): Promise<void> {
  discovery = createDiscovery({ source: fixed(addresses) })
  gateway = createApiGateway({
    discovery,
    instruments: createInstruments('api-gateway'),
    log: createLog('api-gateway', 'silent'),
    rateLimit: limit,
    signInLimit: 2,
  })
  url = (await gateway.start()).url
}

async function restart(addresses: Record<string, string[]>, limit?: number): Promise<void> {
  await gateway.stop()
  await discovery.close()
  await start(addresses, limit)
}

const allowed = { allowed: true, limit: 1, remaining: 1, resetAfter: 0, retryAfter: 0 }
const ask = (path: string, init: RequestInit = {}) => fetch(url + path, init)
const as = (headers: Record<string, string>) => ({ headers: { authorization: `Bearer ${token}`, ...headers } })

describe('the gateway', () => {
  test('tells the service who asks, and believes nobody who says it himself', async () => {
    const answer = await ask('/api/orders/o1', as({ 'x-user-id': 'eve' }))

    expect(await answer.json()).toEqual({ method: 'GET', path: '/api/orders/o1', user: 'ada' })
  })

  test('strips an identity also where nobody has to sign in', async () => {
    const answer = await ask('/api/products', { headers: { 'x-user-id': 'eve' } })

    expect(await answer.json()).toMatchObject({ user: null })
  })

  test.each([
    '/internal/users/ada',
    '/internal/reservations/o1',
    '/api/../internal/users/ada',
    '/.well-known/jwks.json',
  ])('keeps %s to the inside', async (path) => {
    const answer = await ask(path, as({}))

    expect(answer.status).toBe(404)
    expect(answer.headers.get('content-type')).toMatch(/^application\/problem\+json/)
  })

  test('limits what one address may ask in a second', async () => {
    const address = [`http://127.0.0.1:${(upstream.address() as AddressInfo).port}`]
    await restart({ 'user-service': address, 'product-service': address, 'order-service': address }, 5)

    const statuses = await Promise.all(Array.from({ length: 10 }, async () => (await ask('/api/products')).status))

    expect(statuses.filter((status) => status === 200)).toHaveLength(5)
    expect(statuses.filter((status) => status === 429)).toHaveLength(5)
  })

  test('lets somebody else count where it is told so, each quota by itself', async () => {
    await gateway.stop()
    const asked: string[] = []
    const counted = localLimiters({ name: 'requests', limit: 1, window: 60_000 })
    const limiters: Limiters = ({ name, limit, window }) => ({
      take(key) {
        asked.push(`${name} ${limit} in ${window}`)
        return name === 'sign-in' ? counted.take(key) : { ...allowed, limit }
      },
    })
    const log = createLog('api-gateway', 'silent')
    gateway = createApiGateway({
      discovery,
      instruments: createInstruments('api-gateway'),
      log,
      rateLimit: 7,
      signInLimit: 2,
      limiters,
    })
    url = (await gateway.start()).url

    const statuses = [await ask('/api/sessions', { method: 'POST' }), await ask('/api/sessions', { method: 'POST' })]

    expect(statuses.map(({ status }) => status)).toEqual([200, 429])
    expect(asked).toEqual(['requests 7 in 1000', 'sign-in 2 in 60000', 'requests 7 in 1000', 'sign-in 2 in 60000'])
  })

  test('is alive but not ready while it knows no instance of a service', async () => {
    await restart({ 'user-service': ['http://127.0.0.1:1'] })

    expect((await ask('/health/live')).status).toBe(200)
    const ready = await ask('/health/ready')
    expect(ready.status).toBe(503)
    expect(await ready.json()).toMatchObject({ instances: { 'user-service': 1, 'order-service': 0 } })
  })

  test('counts requests by route pattern', async () => {
    await ask('/api/products/espresso-cup')

    const text = await (await ask('/metrics')).text()
    expect(text).toContain('http_requests_total{method="GET",route="/api/products/:id",status="200"} 1')
  })
})

test('a route is open to everybody only where the table says so', () => {
  const open = routeTable(createEdges()).routes.filter((route) => route.auth === false)

  expect(open.map((route) => route.id)).toEqual(['sign-up', 'sign-in', 'products', 'product'])
})
