import { once } from 'node:events'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { createDiscovery, type Discovery, fixed } from '@msx/discovery'
import { createEdges, createInstruments, createLog, type Instruments, type Service } from '@shop/platform'
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
/** How many requests are answered with 503 from now on. */
let failing: number
let instruments: Instruments

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
  failing = 0
  upstream = createServer((req, res) => {
    if (req.url !== '/.well-known/jwks.json' && failing-- > 0) return void res.writeHead(503).end()
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
  instruments = createInstruments('api-gateway')
  gateway = createApiGateway({
    discovery,
    instruments,
    log: createLog('api-gateway', 'silent'),
    rateLimit: limit,
    signInLimit: 2,
    // Nothing is given back while a test runs, however slow the machine is.
    limiters: (quota) => localLimiters({ ...quota, window: 60_000 }),
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

  test('counts clients by what the proxies in front say of them, and by nothing that clients say', async () => {
    await gateway.stop()
    const log = createLog('api-gateway', 'silent')
    const instruments = createInstruments('api-gateway')
    gateway = createApiGateway({ discovery, instruments, log, rateLimit: 1, signInLimit: 1, trust: { hops: 1 } })
    url = (await gateway.start()).url
    const from = (address: string) => ({ headers: { 'x-forwarded-for': address } })
    const signIn = (address: string) => ask('/api/sessions', { method: 'POST', ...from(address) })

    const read = [await ask('/api/products', from('1.1.1.1')), await ask('/api/products', from('9.9.9.9, 1.1.1.1'))]
    const signedIn = [await signIn('2.2.2.2'), await signIn('3.3.3.3'), await signIn('9.9.9.9, 3.3.3.3')]

    expect(read.map(({ status }) => status)).toEqual([200, 429])
    expect(signedIn.map(({ status }) => status)).toEqual([200, 200, 429])
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

  test.each(['/health/live', '/health/ready', '/metrics'])('answers %s also to HEAD and with a query', async (path) => {
    expect((await ask(path, { method: 'HEAD' })).status).toBe(200)
    expect((await ask(`${path}?at=now`)).status).toBe(200)
  })

  test('keeps from payment-service what is too long for it', async () => {
    const body = JSON.stringify({ orderId: 'o1', amount: 1, currency: 'x'.repeat(20_000) })

    const answer = await ask('/api/payments', {
      method: 'POST',
      body,
      ...as({ 'content-type': 'application/json' }),
    })

    expect(answer.status).toBe(413)
  })

  test('counts requests by route pattern', async () => {
    await ask('/api/products/espresso-cup')

    const text = await (await ask('/metrics')).text()
    expect(text).toContain('http_requests_total{method="GET",route="/api/products/:id",status="200"} 1')
  })
})

describe('a trace', () => {
  const finished = () => instruments.spans.list()
  const request = async () => {
    await expect.poll(() => finished().filter(({ kind }) => kind === 'server').length).toBe(1)
    return finished().find(({ kind }) => kind === 'server')
  }
  const attempts = () => finished().filter(({ kind }) => kind === 'client')

  test('shows a request, and below it the attempt that answered it', async () => {
    const answer = await ask('/api/products/espresso-cup?colour=red')

    expect(answer.status).toBe(200)
    const { spanId, name, attributes } = (await request())!
    expect(name).toBe('GET /api/products/:id')
    expect(attributes).toMatchObject({ 'url.path': '/api/products/espresso-cup', 'http.response.status_code': 200 })
    const { port } = upstream.address() as AddressInfo
    expect(attempts()).toMatchObject([
      {
        parentId: spanId,
        name: 'GET',
        attributes: {
          'http.request.method': 'GET',
          'url.full': `http://127.0.0.1:${port}/api/products/espresso-cup`,
          'server.address': '127.0.0.1',
          'server.port': port,
          'http.response.status_code': 200,
        },
      },
    ])
  })

  test('shows a retry as an attempt of its own, as the edge does', async () => {
    failing = 1

    expect((await ask('/api/products/espresso-cup')).status).toBe(200)

    const { spanId, failed } = (await request())!
    expect(failed).toBe(false)
    expect(
      attempts().map((span) => [span.parentId, span.failed, span.attributes['http.request.resend_count']]),
    ).toEqual([
      [spanId, true, undefined],
      [spanId, false, 1],
    ])
    const edge = instruments.edges.snapshot().find(({ to }) => to === 'product-service')
    expect(edge).toMatchObject({ retries: 1, failures: 0.5, rate: 0.2 })
  })
})

test('a route is open to everybody only where the table says so', () => {
  const open = routeTable(createEdges()).routes.filter((route) => route.auth === false)

  expect(open.map((route) => route.id)).toEqual(['sign-up', 'sign-in', 'products', 'product'])
})
