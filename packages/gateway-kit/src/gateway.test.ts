import { once } from 'node:events'
import { createServer, type Server } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { circuitBreaker } from '@msx/circuit-breaker'
import { createDiscovery, type Discovery, fixed, type Source } from '@msx/discovery'
import * as client from 'prom-client'
import { Registry } from 'prom-client'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { authOf } from './authenticate.js'
import type { GatewayConfig } from './config.js'
import { createGateway, type Gateway, type GatewayDeps } from './gateway.js'
import { dial, type Echoed, echo, manualClock, serve, signalled, startUpstream } from './internal/test-servers.js'
import { gcra } from './limit/gcra.js'
import type { AccessLogEntry } from './request-log.js'

async function start(config: GatewayConfig, deps?: GatewayDeps): Promise<{ gateway: Gateway; url: string }> {
  const gateway = createGateway(config, deps)
  const { url } = await serve(gateway.handler)
  onTestFinished(() => gateway.close({ timeout: 0 }))

  return { gateway, url }
}

const verifiers = {
  users: (token: string) => {
    if (token !== 'good') throw new Error('bad token')
    return { sub: 'u1', role: 'buyer' }
  },
}

const authorised = { headers: { authorization: 'Bearer good' } }

describe('routing', () => {
  test('sends each request where its route says, as its route says', async () => {
    const users = await startUpstream(echo)
    const orders = await startUpstream(echo)
    const { url } = await start({
      routes: [
        { path: '/api/users/:id', methods: ['GET'], upstream: users.url, rewrite: '/users/:id' },
        { path: '/api/orders/**', upstream: `${orders.url}/v1`, rewrite: '/**' },
      ],
    })

    expect(await (await fetch(`${url}/api/users/7?full`)).json()).toMatchObject({
      url: '/users/7?full',
      headers: { host: `127.0.0.1:${users.port}` },
    })
    expect(await (await fetch(`${url}/api/orders/1/items`)).json()).toMatchObject({
      url: '/v1/1/items',
      headers: { host: `127.0.0.1:${orders.port}` },
    })
  })

  test('answers 404 where there is no route, and 405 with Allow where the method is another', async () => {
    const { url } = await start({ routes: [{ path: '/a', methods: ['GET', 'POST'], upstream: 'http://127.0.0.1:1' }] })

    const none = await fetch(`${url}/b`)
    const other = await fetch(`${url}/a`, { method: 'DELETE' })

    expect([none.status, none.headers.get('content-type')]).toEqual([404, 'application/problem+json'])
    expect([other.status, other.headers.get('allow')]).toEqual([405, 'GET, HEAD, POST'])
    expect(await other.json()).toMatchObject({ status: 405, requestId: expect.any(String) })
  })

  test('tells client, upstream and log the same request id, which the client cannot choose', async () => {
    const log: AccessLogEntry[] = []
    const over = signalled()
    const upstream = await startUpstream(echo)
    const { url } = await start(
      { routes: [{ path: '/**', upstream: upstream.url }] },
      {
        log: (entry) => {
          log.push(entry)
          over.fire()
        },
      },
    )
    const response = await fetch(`${url}/a/b?token=secret`, { headers: { 'x-request-id': 'mine' } })
    const id = response.headers.get('x-request-id')
    const { headers } = (await response.json()) as Echoed
    await over.promise

    expect(id).not.toBe('mine')
    expect(headers['x-request-id']).toBe(id)
    expect(log).toMatchObject([
      {
        requestId: id,
        method: 'GET',
        path: '/a/b',
        route: '/**',
        status: 200,
        attempts: 1,
        upstream: upstream.url,
        address: '127.0.0.1',
      },
    ])
  })

  test('gives the log the same members for all requests, also for those that failed', async () => {
    const log: AccessLogEntry[] = []
    const upstream = await startUpstream(echo)
    const routes = [
      { path: '/well', upstream: upstream.url },
      { path: '/ill', upstream: 'http://127.0.0.1:1' },
    ]
    const { url } = await start({ routes }, { log: (entry) => void log.push(entry) })
    await fetch(`${url}/well`)
    await fetch(`${url}/ill`)
    await expect.poll(() => log.length).toBe(2)

    expect(log.map(({ error }) => error?.code)).toEqual([undefined, 'MSX_PROXY_CONNECT'])
    expect(Object.keys(log[1]!)).toEqual(Object.keys(log[0]!))
  })

  test('leaves sockets in the shape that Node gives them, in which all of its code for sockets knows them', async () => {
    const { url: upstream } = await startUpstream(echo)
    const gateway = createGateway(
      { routes: [{ path: '/**', upstream, auth: 'token', rateLimit: { limit: 100, window: 1_000 } }] },
      { verifiers: { token: () => ({ sub: 'ada' }) }, log: () => {} },
    )
    onTestFinished(() => gateway.close({ timeout: 0 }))
    const membersAfter = async (server: Server): Promise<(string | symbol)[]> => {
      const [socket] = await Promise.all([
        once(server, 'connection').then(([socket]) => socket as Socket),
        fetch(`http://127.0.0.1:${(server.address() as AddressInfo).port}/a`, {
          headers: { authorization: 'Bearer abc' },
        }).then((response) => response.text()),
      ])
      return Reflect.ownKeys(socket)
    }
    const bare = createServer((req, res) => res.end(req.socket.remoteAddress)).listen(0, '127.0.0.1')
    onTestFinished(() => void bare.close())
    await once(bare, 'listening')

    expect(await membersAfter(await gateway.listen(0, '127.0.0.1'))).toEqual(await membersAfter(bare))
  })

  test('keeps the request id of a trusted peer', async () => {
    const upstream = await startUpstream(echo)
    const { url } = await start({ routes: [{ path: '/**', upstream: upstream.url }], trust: ['127.0.0.1'] })

    expect((await fetch(url, { headers: { 'x-request-id': 'theirs' } })).headers.get('x-request-id')).toBe('theirs')
  })

  test('finds services by name', async () => {
    const upstream = await startUpstream(echo)
    const discovery = createDiscovery({ source: fixed({ 'user-service': [upstream.url] }) })
    onTestFinished(() => discovery.close())
    const { url } = await start({ routes: [{ path: '/**', upstream: 'user-service' }] }, { discovery })

    expect(await (await fetch(url)).json()).toMatchObject({ headers: { host: 'user-service' } })
  })
})

describe('auth', () => {
  const route = { path: '/a', auth: 'users' }

  test('lets nobody through without a valid token, and says how to come back', async () => {
    let asked = 0
    const upstream = await startUpstream((_req, res) => {
      asked += 1
      res.end()
    })
    const { url } = await start({ routes: [{ ...route, upstream: upstream.url }] }, { verifiers })

    for (const [headers, challenge] of [
      [{}, 'Bearer'],
      [{ authorization: 'Basic Z29vZA==' }, 'Bearer'],
      [{ authorization: 'Bearer bad' }, 'Bearer error="invalid_token"'],
    ] as const) {
      const response = await fetch(`${url}/a`, { headers })
      expect(response.status).toBe(401)
      expect(response.headers.get('www-authenticate')).toBe(challenge)
      expect(await response.text()).not.toContain('bad token')
    }
    expect(asked).toBe(0)
  })

  test('tells the upstream who it is, whatever the client claims', async () => {
    const upstream = await startUpstream(echo)
    const { url } = await start(
      {
        routes: [
          {
            path: '/a',
            auth: { verifier: 'users', identity: { 'x-user-id': 'sub', 'x-user-role': 'role' } },
            upstream: upstream.url,
          },
        ],
      },
      { verifiers },
    )

    const headers = { ...authorised.headers, 'x-user-id': 'admin', 'x-user-plan': 'gold' }
    const seen = ((await (await fetch(`${url}/a`, { headers })).json()) as Echoed).headers

    expect(seen).toMatchObject({ 'x-user-id': 'u1', 'x-user-role': 'buyer' })
    expect(seen).not.toHaveProperty('x-user-plan')
  })

  test('once spoken of, must be said for every route', () => {
    const routes = [
      { ...route, upstream: 'http://a' },
      { path: '/b', upstream: 'http://a' },
    ]

    expect(() => createGateway({ routes }, { verifiers })).toThrow('routes[1].auth')
    expect(() => createGateway({ routes, defaults: { auth: false } }, { verifiers })).not.toThrow()
    expect(() => createGateway({ routes: [routes[0]!, { ...routes[1]!, auth: false }] }, { verifiers })).not.toThrow()
    expect(() => createGateway({ routes: [routes[1]!] })).not.toThrow()
  })
})

describe('rateLimit', () => {
  test('counts addresses before it looks at tokens', async () => {
    const { url } = await start(
      {
        routes: [
          { path: '/a', auth: 'users', rateLimit: { limit: 1, window: 60_000 }, upstream: 'http://127.0.0.1:1' },
        ],
      },
      { verifiers },
    )

    expect((await fetch(`${url}/a`)).status).toBe(401)
    expect((await fetch(`${url}/a`)).status).toBe(429)
  })

  test('counts users by their claims', async () => {
    const upstream = await startUpstream(echo)
    const keys: string[] = []
    const limiter = gcra({ limit: 1, window: 60_000 })
    const limiters = {
      perUser: {
        take(key: string) {
          keys.push(key)
          return limiter.take(key)
        },
      },
    }
    const rateLimit = { limiter: 'perUser', key: (req: Parameters<typeof authOf>[0]) => authOf(req)!.sub! }
    const { url } = await start(
      { routes: [{ path: '/a', auth: 'users', rateLimit, upstream: upstream.url }] },
      { verifiers, limiters },
    )

    expect((await fetch(`${url}/a`, authorised)).status).toBe(200)
    expect((await fetch(`${url}/a`, authorised)).status).toBe(429)
    expect((await fetch(`${url}/a`)).status).toBe(401)
    expect(keys).toEqual(['u1', 'u1'])
  })

  test('tells the quotas of two limiters apart by the name of the one in the config', async () => {
    const upstream = await startUpstream(echo)
    const limiters = { 'sign-in': gcra({ limit: 1, window: 60_000 }), größe: gcra({ limit: 1, window: 60_000 }) }
    const { url } = await start(
      {
        routes: [
          { path: '/a', rateLimit: 'sign-in', upstream: upstream.url },
          { path: '/b', rateLimit: 'größe', upstream: upstream.url },
        ],
      },
      { limiters },
    )

    expect((await fetch(`${url}/a`)).headers.get('ratelimit-policy')).toBe('"sign-in";q=1;w=60')
    expect(await (await fetch(`${url}/a`)).json()).toMatchObject({ 'violated-policies': ['sign-in'] })
    expect((await fetch(`${url}/b`)).headers.get('ratelimit-policy')).toBe('"default";q=1;w=60')
  })

  test('does not believe X-Forwarded-For from anybody', async () => {
    const upstream = await startUpstream(echo)
    const { url } = await start({
      routes: [{ path: '/a', rateLimit: { limit: 1, window: 60_000 }, upstream: upstream.url }],
    })

    await fetch(`${url}/a`, { headers: { 'x-forwarded-for': '1.1.1.1' } })
    expect((await fetch(`${url}/a`, { headers: { 'x-forwarded-for': '2.2.2.2' } })).status).toBe(429)
  })

  test('that throws is a 500 which tells nothing', async () => {
    const limiters = {
      broken: {
        take: () => {
          throw new Error('redis://secret')
        },
      },
    }
    const { url } = await start(
      { routes: [{ path: '/a', rateLimit: 'broken', upstream: 'http://127.0.0.1:1' }] },
      { limiters },
    )
    const response = await fetch(`${url}/a`)

    expect(response.status).toBe(500)
    expect(await response.text()).not.toContain('secret')
  })
})

describe('reload', () => {
  test('keeps breakers and limiters of routes that stay', async () => {
    const upstream = await startUpstream((_req, res) => res.writeHead(500).end())
    const rateLimit = { limit: 5, window: 60_000 }
    const route = { id: 'a', path: '/a', upstream: upstream.url, breaker: { trip: { failures: 1 } }, rateLimit }
    const { url, gateway } = await start({ routes: [route] })
    await fetch(`${url}/a`)

    gateway.reload({ routes: [{ ...route, path: '/b', breaker: { trip: { failures: 1 } } }] })
    const kept = await fetch(`${url}/b`)
    gateway.reload({
      routes: [{ ...route, breaker: { trip: { failures: 2 } }, rateLimit: { ...rateLimit, limit: 6 } }],
    })
    const made = await fetch(`${url}/a`)

    expect([kept.status, kept.headers.get('ratelimit')]).toEqual([503, expect.stringContaining('r=3')])
    expect([made.status, made.headers.get('ratelimit')]).toEqual([500, expect.stringContaining('r=5')])
  })

  test('gives no new budget for retries to a route that stays', async () => {
    let asked = 0
    const upstream = await startUpstream((_req, res) => {
      asked += 1
      res.writeHead(503).end()
    })
    const route = { id: 'a', path: '/a', upstream: upstream.url, retry: { attempts: 1_000, backoff: () => 0 } }
    const { url, gateway } = await start({ routes: [route] })
    await fetch(`${url}/a`)
    const spent = asked

    gateway.reload({ routes: [{ ...route, path: '/b', retry: { ...route.retry, attempts: 999 } }] })
    await fetch(`${url}/b`)
    const kept = asked - spent
    gateway.reload({ routes: [{ ...route, id: 'b' }] })
    await fetch(`${url}/a`)

    // A retry per 100 ms is allowed anew.
    expect(spent).toBeGreaterThan(100)
    expect(kept).toBeLessThan(90)
    expect(asked - spent - kept).toBeGreaterThan(100)
  })

  test('makes a breaker anew whose options were changed where they are', async () => {
    const breaker = { trip: { failures: 9 } }
    const config: GatewayConfig = { routes: [{ path: '/a', upstream: 'http://127.0.0.1:1', breaker }] }
    const { url, gateway } = await start(config)

    breaker.trip.failures = 1
    gateway.reload(config)

    expect([(await fetch(`${url}/a`)).status, (await fetch(`${url}/a`)).status]).toEqual([502, 503])
  })

  describe('lets what came before it find its service when the discovery of before is closed', () => {
    async function discovered(source?: Source): Promise<{ url: string; before: Discovery; reload(): Promise<void> }> {
      const upstream = await startUpstream((req, res) => void req.resume().on('end', () => res.end('found')))
      const known = fixed({ orders: [upstream.url] })
      const [before, after] = [source ?? known, known].map((one) => createDiscovery({ source: one })) as [
        Discovery,
        Discovery,
      ]
      onTestFinished(() => after.close())
      const config: GatewayConfig = { routes: [{ path: '/a', upstream: 'orders' }] }
      const { url, gateway } = await start(config, { discovery: before })

      return {
        url,
        before,
        async reload() {
          gateway.reload(config, { discovery: after })
          await before.close()
        },
      }
    }

    test('and its body was late', async () => {
      const { url, reload } = await discovered()
      const socket = dial(Number(new URL(url).port))
      let answer = ''
      socket.setEncoding('latin1').on('data', (chunk) => {
        answer += chunk
      })
      socket.write('POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n')
      await expect.poll(() => answer).toContain('100 Continue')

      await reload()
      socket.write('x')

      await expect.poll(() => answer).toContain('HTTP/1.1 200 OK')
    })

    test('and it was waiting for the registry', async () => {
      const { url, before, reload } = await discovered({ watch: () => {} })
      const waits = vi.spyOn(before.service('orders'), 'ready')
      const answer = fetch(`${url}/a`)
      await expect.poll(() => waits).toHaveBeenCalled()

      await reload()

      expect(await (await answer).text()).toBe('found')
    })
  })

  test('changes nothing when the config is not valid', async () => {
    const upstream = await startUpstream(echo)
    const { url, gateway } = await start({ routes: [{ path: '/a', upstream: upstream.url }] })

    expect(() => gateway.reload({ routes: [{ path: 'b', upstream: upstream.url }] })).toThrow('routes[0].path')
    expect((await fetch(`${url}/a`)).status).toBe(200)
  })

  test('leaves requests under way to the old config', async () => {
    const asked = signalled()
    const go = signalled()
    const upstream = await startUpstream((_req, res) => {
      asked.fire()
      void go.promise.then(() => res.end('old'))
    })
    const { url, gateway } = await start({ routes: [{ path: '/a', upstream: upstream.url }] })

    const answer = fetch(`${url}/a`)
    await asked.promise
    gateway.reload({ routes: [] })
    go.fire()

    expect(await (await answer).text()).toBe('old')
    expect((await fetch(`${url}/a`)).status).toBe(404)
  })
})

describe('close', () => {
  test('lets requests under way finish, takes no more, and can be asked twice', async () => {
    const asked = signalled()
    const go = signalled()
    const upstream = await startUpstream((_req, res) => {
      asked.fire()
      void go.promise.then(() => res.end('done'))
    })
    const gateway = createGateway({
      routes: [{ path: '/a', upstream: upstream.url }],
      listen: { port: 0, host: '127.0.0.1' },
    })
    const server = await gateway.listen()
    const { port } = server.address() as { port: number }

    const answer = fetch(`http://127.0.0.1:${port}/a`)
    await asked.promise
    const closed = gateway.close()
    await expect(fetch(`http://127.0.0.1:${port}/a`)).rejects.toThrow()
    go.fire()

    expect(await (await answer).text()).toBe('done')
    await closed
    await gateway.close()
    await gateway[Symbol.asyncDispose]()
  })

  test('cuts what does not finish in time', async () => {
    const clock = manualClock()
    const asked = signalled()
    const upstream = await startUpstream(() => asked.fire())
    const gateway = createGateway(
      { routes: [{ path: '/a', upstream: upstream.url, timeout: { headers: false } }] },
      { clock },
    )
    const server = await gateway.listen(0, '127.0.0.1')
    const answer = fetch(`http://127.0.0.1:${(server.address() as { port: number }).port}/a`).catch(() => 'cut')
    await asked.promise

    const closed = gateway.close({ timeout: 1_000 })
    clock.advance(1_000)
    await closed

    expect(await answer).toBe('cut')
  })

  test('nothing listens afterwards, nor what had just begun to', async () => {
    const gateway = createGateway({ routes: [] })
    const begun = gateway.listen(0, 'localhost')
    const refused = expect(begun).rejects.toThrow('the gateway has been closed')
    await gateway.close()

    await refused
    await expect(gateway.listen(0, '127.0.0.1')).rejects.toThrow('the gateway has been closed')
  })

  test('listen fails where the port is taken', async () => {
    const { port } = await startUpstream(echo)

    await expect(createGateway({ routes: [] }).listen(port, '127.0.0.1')).rejects.toMatchObject({ code: 'EADDRINUSE' })
  })
})

test('metrics count by pattern, never by path', async () => {
  const registry = new Registry()
  const upstream = await startUpstream(echo)
  const gateway = createGateway(
    { routes: [{ path: '/users/:id', upstream: upstream.url }] },
    { metrics: { client, registry } },
  )
  const { url } = await serve(gateway.handler)

  for (const path of ['/users/1', '/users/2', '/nothing/here']) await (await fetch(url + path)).text()
  await fetch(`${url}/users/3`, { method: 'PURGE' })
  const text = await registry.metrics()

  expect(text).toContain('http_requests_total{method="GET",route="/users/:id",status="200"} 2')
  expect(text).toContain('http_requests_total{method="GET",route="unmatched",status="404"} 1')
  expect(text).toContain('method="OTHER"')
  expect(text).toContain('http_request_duration_seconds_count{method="GET",route="/users/:id",status="200"} 2')
  expect(text).not.toContain('/users/1')
})

test('a breaker may be shared by routes', async () => {
  const breaker = circuitBreaker({ trip: { failures: 1 } })
  const upstream = await startUpstream((_req, res) => res.writeHead(500).end())
  const { url } = await start({ routes: ['/a', '/b'].map((path) => ({ path, upstream: upstream.url, breaker })) })

  await fetch(`${url}/a`)

  expect((await fetch(`${url}/b`)).status).toBe(503)
})

test('says so when something of the defaults does not hold on a route with grpc', () => {
  const warned = vi.spyOn(process, 'emitWarning').mockImplementation(() => {})
  onTestFinished(() => warned.mockRestore())
  const route = { path: '/a', upstream: 'payments', grpc: 'payments' }
  const defaults = { retry: { attempts: 2, statuses: [503] }, headers: { request: { 'x-a': '1' } } }
  const deps = { transcoders: { payments: () => {} } }

  createGateway({ routes: [{ ...route, retry: false, headers: {} }], defaults }, deps)
  expect(warned).not.toHaveBeenCalled()

  createGateway({ routes: [route], defaults }, deps)
  expect(warned.mock.calls.map(([message]) => message)).toEqual([
    expect.stringMatching(/defaults\.retry\.statuses does not hold for routes\[0\].*retry: \{ … \}/),
    expect.stringMatching(/defaults\.headers\.request does not hold for routes\[0\].*headers: \{\}/),
  ])
})

describe('pages of other origins', () => {
  const cors = { origins: ['https://shop.example'], exposed: ['x-request-id'] }
  const route = { path: '/orders', methods: ['POST'], auth: 'users', cors }
  const preflight = (method: string) => ({
    method: 'OPTIONS',
    headers: { origin: 'https://shop.example', 'access-control-request-method': method },
  })

  test('get an answer to their preflight without a token, and can read a refusal', async () => {
    const upstream = await startUpstream(echo)
    const { url } = await start({ routes: [{ ...route, upstream: upstream.url }] }, { verifiers })
    const origin = { origin: 'https://shop.example' }

    const asked = await fetch(`${url}/orders`, preflight('POST'))
    const other = await fetch(`${url}/orders`, preflight('DELETE'))
    const refused = await fetch(`${url}/orders`, { method: 'POST', headers: origin })
    const allowed = await fetch(`${url}/orders`, { method: 'POST', headers: { ...origin, ...authorised.headers } })

    expect([asked.status, asked.headers.get('access-control-allow-origin')]).toEqual([204, 'https://shop.example'])
    expect(other.status).toBe(405)
    expect([refused.status, refused.headers.get('access-control-allow-origin')]).toEqual([401, 'https://shop.example'])
    expect([allowed.status, allowed.headers.get('access-control-expose-headers')]).toEqual([200, 'x-request-id'])
  })

  test('read only what the route allows, whatever the upstream says of them', async () => {
    const upstream = await startUpstream((_req, res) => {
      res.setHeader('Access-Control-Allow-Origin', '*').setHeader('access-control-expose-headers', 'x-secret')
      res.end()
    })
    const { url } = await start({
      routes: [
        { path: '/orders', upstream: upstream.url, cors },
        { path: '/open', upstream: upstream.url },
      ],
    })
    const read = async (path: string, headers: Record<string, string>) =>
      [...(await fetch(url + path, { headers })).headers].filter(([name]) => name.startsWith('access-control-'))

    expect(await read('/orders', { origin: 'https://evil.example' })).toEqual([])
    expect(await read('/orders', {})).toEqual([])
    expect(await read('/orders', { origin: 'https://shop.example' })).toEqual([
      ['access-control-allow-origin', 'https://shop.example'],
      ['access-control-expose-headers', 'x-request-id'],
    ])
    expect(await read('/open', {})).toHaveLength(2)
  })

  test('have their preflight passed on where the route says nothing of them', async () => {
    const upstream = await startUpstream(echo)
    const { url } = await start({ routes: [{ path: '/orders', upstream: upstream.url }] })

    expect(await (await fetch(`${url}/orders`, preflight('POST'))).json()).toMatchObject({ method: 'OPTIONS' })
  })

  test('are checked with the config', () => {
    const broken = { origins: '*', credentials: true, maxAge: -1, nope: 1 } as never

    expect(() => createGateway({ routes: [{ path: '/', upstream: 'http://a', cors: broken }] })).toThrow(
      /cors\.nope: [\s\S]*cors\.maxAge: [\s\S]*cors\.credentials: /,
    )
  })
})

test('headers are set, removed and added to, in both directions', async () => {
  const upstream = await startUpstream((req, res) => {
    res.setHeader('x-tag', 'theirs').setHeader('server', 'secret').setHeader('x-set', 'theirs')
    void echo(req, res)
  })
  const headers = { 'X-Set': 'ours', server: null, '+X-Tag': 'ours' }
  const { url } = await start({
    routes: [{ path: '/**', upstream: upstream.url, headers: { request: headers, response: headers } }],
  })

  const response = await fetch(url, { headers: { 'x-set': 'a', server: 'b', 'x-tag': 'c' } })
  const seen = (await response.json()) as Echoed

  expect(seen.headers).toMatchObject({ 'x-set': 'ours', 'x-tag': 'c, ours' })
  expect(seen.headers['server']).toBeUndefined()
  expect(['x-set', 'x-tag', 'server'].map((name) => response.headers.get(name))).toEqual(['ours', 'theirs, ours', null])
})
