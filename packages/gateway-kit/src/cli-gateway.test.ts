// biome-ignore-all lint/suspicious/noTemplateCurlyInString: that is how a config names a variable
import { type ChildProcess, spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer, type IncomingMessage } from 'node:http'
import { type AddressInfo, connect, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { beforeEach, describe, expect, onTestFinished, test, vi } from 'vitest'
import { hashApiKey } from './api-keys.js'
import { listen, type Run, reload, run, urlOf } from './cli/testing.js'
import { proto, startOrders } from './grpc/testing/server.js'
import { connectTo, libraries, ownRedis, redisAnswers, redisServerInstalled, redisUrl } from './internal/test-redis.js'
import { dial, echo, signalled, startTcp, startUpstream } from './internal/test-servers.js'

/** The library of Redis that is not installed. */
const missing = vi.hoisted(() => ({ name: '' }))
vi.mock('./cli/libraries.js', async (original) => {
  const real = await original<typeof import('./cli/libraries.js')>()
  const ifInstalled: typeof real.ifInstalled = async (name, load) =>
    name === missing.name ? undefined : real.ifInstalled(name, load)
  return { ...real, ifInstalled }
})

const withRedis = await redisAnswers()
const withOwnRedis = await redisServerInstalled()
const consulUrl = await consulAnswers()
const withDnsmasq = await programRuns('dnsmasq', '--version')

/** How long Redis may take to decide, in ms, where it is to decide on a busy machine, too. One that is gone fails at once. */
const PATIENT = 5_000

const statuses = (url: string, times: number, headers: Record<string, string> = {}): Promise<number[]> =>
  Array.from({ length: times }).reduce<Promise<number[]>>(
    async (before) => [...(await before), (await fetch(url, { headers })).status],
    Promise.resolve([]),
  )

describe.runIf(withRedis)('limits in Redis', () => {
  test('count together with those of another gateway', async () => {
    const upstream = await startUpstream(echo)
    const config = {
      listen,
      redis: { url: '${REDIS_URL}', deadline: PATIENT, onError: 'deny', prefix: `cli-${randomUUID()}:` },
      limiters: {
        shared: { store: 'redis', limit: 3, window: 600_000 },
        windows: { store: 'redis', algorithm: 'sliding-window', limit: 1, window: 600_000 },
      },
      routes: [
        { path: '/a', upstream: upstream.url, rateLimit: 'shared' },
        { path: '/b', upstream: upstream.url, rateLimit: { limiter: 'shared', cost: 2 } },
        { path: '/c', upstream: upstream.url, rateLimit: 'windows' },
      ],
    }
    const env = { REDIS_URL: redisUrl }
    const [one, other] = [await urlOf(await run('start', config, env)), await urlOf(await run('start', config, env))]

    expect(await statuses(`${one}/a`, 1)).toEqual([200])
    expect(await statuses(`${other}/b`, 2)).toEqual([200, 429])
    expect(await statuses(`${one}/a`, 1)).toEqual([429])
    expect(await statuses(`${other}/c`, 1)).toEqual([200])
    expect(await statuses(`${one}/c`, 1)).toEqual([429])
  })

  test('of a route, or of the defaults, are that route’s own, and nameless in the headers', async () => {
    const upstream = await startUpstream(echo)
    const limit = { store: 'redis', limit: 1, window: 600_000 }
    const url = await urlOf(
      await run('start', {
        listen,
        redis: { url: redisUrl, deadline: PATIENT, onError: 'deny', prefix: `cli-${randomUUID()}:` },
        defaults: { rateLimit: { ...limit, limit: 2 } },
        routes: [
          { path: '/own', upstream: upstream.url, rateLimit: limit },
          { path: '/default', upstream: upstream.url },
          { path: '/another', upstream: upstream.url },
        ],
      }),
    )

    expect(await statuses(`${url}/own`, 2)).toEqual([200, 429])
    expect(await statuses(`${url}/default`, 3)).toEqual([200, 200, 429])
    const response = await fetch(`${url}/another`)
    expect([response.status, response.headers.get('ratelimit-policy')]).toEqual([200, '"default";q=2;w=600'])
  })
})

describe.runIf(withOwnRedis).each(libraries)('the connection to Redis by %s', { timeout: 20_000 }, (library) => {
  beforeEach(() => {
    missing.name = libraries.find((one) => one !== library)!
    return () => {
      missing.name = ''
    }
  })

  test('is one for all limiters, kept by a reload that does not concern it, and closed when nobody needs it', async () => {
    const redis = await ownRedis()
    onTestFinished(() => redis.close())
    const hand = await connectTo(redis.url, 'redis')
    onTestFinished(() => hand.close())
    const connections = async (): Promise<string[]> => {
      const list = String(await hand.send('CLIENT', 'LIST', 'TYPE', 'normal'))
      const ids = [...list.matchAll(/^id=(\d+) .*?cmd=(\S+)/gm)].filter(([, , command]) => command !== 'client|list')
      return ids.map(([, id]) => id!)
    }
    const upstream = await startUpstream(echo)
    const limit = { store: 'redis', limit: 2, window: 600_000 }
    const config = {
      listen,
      redis: { url: redis.url, deadline: PATIENT },
      limiters: { one: limit, two: limit },
      routes: [
        { path: '/a', upstream: upstream.url, rateLimit: 'one' },
        { path: '/b', upstream: upstream.url, rateLimit: { ...limit } },
      ],
    }
    const running = await run('start', config)
    const url = await urlOf(running)
    expect(await statuses(`${url}/a`, 1)).toEqual([200])
    const before = await connections()
    expect(before).toHaveLength(1)

    await reload(running, { ...config, health: { live: '/live' } })
    expect(await connections()).toEqual(before)
    expect(await statuses(`${url}/a`, 2)).toEqual([200, 429])

    await reload(running, { ...config, redis: { url: redis.url, deadline: PATIENT + 1 } })
    await expect.poll(connections).not.toEqual(before)
    await expect.poll(connections).toHaveLength(1)

    await reload(running, { listen, routes: [{ path: '/a', upstream: upstream.url }] })
    await expect.poll(connections).toEqual([])
    expect(running.err).toEqual([])
  })

  test('is told of when it is lost, and when it is back; meanwhile this process counts', async () => {
    const redis = await ownRedis()
    onTestFinished(() => redis.close())
    const upstream = await startUpstream(echo)
    const running = await run('start', {
      listen,
      redis: { url: redis.url, deadline: PATIENT },
      routes: [
        { path: '/a', upstream: upstream.url, rateLimit: { store: 'redis', limit: 1, window: 600_000 } },
        { path: '/b', upstream: upstream.url, rateLimit: { store: 'redis', limit: 1_000, window: 1_000 } },
      ],
    })
    const url = await urlOf(running)
    expect(await statuses(`${url}/a`, 2)).toEqual([200, 429])

    await redis.kill()
    // The same limit once more, in this process.
    await expect.poll(() => statuses(`${url}/a`, 1)).toEqual([200])
    expect(await statuses(`${url}/a`, 1)).toEqual([429])
    await statuses(`${url}/b`, 2)
    expect(running.err).toEqual([expect.stringMatching(/^redis fails: .*; onError decides, which is "local"$/)])

    await redis.start()
    await expect
      .poll(async () => (await statuses(`${url}/b`, 1)) && running.err.at(-1), { timeout: 10_000 })
      .toBe('redis decides again')
  })

  test('need not be there at the start', async () => {
    const redis = await ownRedis()
    await redis.kill()
    onTestFinished(() => redis.close())
    const upstream = await startUpstream(echo)
    const running = await run('start', {
      listen,
      redis: redis.url,
      routes: [{ path: '/a', upstream: upstream.url, rateLimit: { store: 'redis', limit: 1, window: 600_000 } }],
    })

    expect(await statuses(`${await urlOf(running)}/a`, 2)).toEqual([200, 429])
    expect(running.err[0]).toMatch(/^redis cannot be reached: .*; until it can, onError decides/)
  })
})

describe('services', { timeout: 20_000 }, () => {
  test.runIf(consulUrl !== undefined)('are found in Consul, beside those whose addresses the file has', async () => {
    const [first, second, fixed] = [await named('first'), await named('second'), await named('fixed')]
    const service = `cli-${randomUUID()}`
    await register(service, 'a', first.port)
    const running = await run(
      'start',
      {
        listen,
        discovery: { static: { [`${service}-fixed`]: [fixed.url] }, consul: { url: '${CONSUL}' }, emptyGrace: 0 },
        routes: [
          { path: '/a', upstream: service },
          { path: '/b', upstream: `${service}-fixed` },
        ],
      },
      { CONSUL: consulUrl },
    )
    const url = await urlOf(running)
    const ask = async (path: string): Promise<string> => (await fetch(url + path)).text()

    expect([await ask('/a'), await ask('/b')]).toEqual(['first', 'fixed'])
    await register(service, 'b', second.port)
    await deregister(service, 'a')
    await expect.poll(() => ask('/a'), { timeout: 10_000 }).toBe('second')
  })

  test('are still watched after a reload that does not concern them, else no more or anew', async () => {
    const upstream = await named('it')
    const consul = fakeConsul(upstream.port)
    const { url: consulAt } = await startUpstream(consul.listener)
    const config = {
      listen,
      discovery: { consul: { url: consulAt } },
      routes: [{ path: '/a', upstream: 'users' }],
    }
    const running = await run('start', config)
    const url = await urlOf(running)
    await expect.poll(() => statuses(`${url}/a`, 1)).toEqual([200])
    await expect.poll(() => consul.waiting.size).toBe(1)
    const [question] = consul.waiting

    await reload(running, { ...config, health: { live: '/live' } })
    expect([...consul.waiting]).toEqual([question])

    await reload(running, { ...config, routes: [{ path: '/a', upstream: 'people' }] })
    await expect
      .poll(() => [...consul.waiting].map((req) => req.url))
      .toEqual([expect.stringContaining('/health/service/people?')])

    await reload(running, { ...config, discovery: { consul: { url: consulAt, dc: 'other' } } })
    await expect.poll(() => [...consul.waiting].map((req) => req.url)).toEqual([expect.stringContaining('dc=other')])
    expect(await statuses(`${url}/a`, 1)).toEqual([200])

    await reload(running, { listen, routes: [{ path: '/a', upstream: upstream.url }] })
    await expect.poll(() => consul.waiting.size).toBe(0)
  })

  test('are found by what came before a reload that changes the discovery, by HTTP and by gRPC', async () => {
    const upstream = await startUpstream((req, res) => void req.resume().on('end', () => res.end('{}')))
    const orders = await startOrders({
      CreateOrder: (call: { request: object }, reply: (e: null, v: object) => void) => reply(null, call.request),
    } as never)
    const config = (more: object): object => ({
      listen,
      discovery: { static: { http: [upstream.url], orders: [`http://${orders.address}`], ...more } },
      transcoders: { orders: { proto, service: 'Orders' } },
      routes: [
        { path: '/a', upstream: 'http' },
        { path: '/v1/**', upstream: 'orders', grpc: 'orders' },
      ],
    })
    const running = await run('start', config({}))
    const { port } = new URL(await urlOf(running))
    const begun = ['/a', '/v1/orders'].map((path) => {
      const socket = dial(Number(port))
      let answer = ''
      socket.setEncoding('latin1').on('data', (chunk) => {
        answer += chunk
      })
      socket.write(
        `POST ${path} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n`,
      )
      return { socket, statuses: () => answer.match(/(?<=^HTTP\/1\.1 )\d+/gm) }
    })

    for (const { statuses } of begun) await expect.poll(statuses).toEqual(['100'])
    await reload(running, config({ another: ['http://127.0.0.1:1'] }))
    for (const { socket } of begun) socket.write('{}')

    for (const { statuses } of begun) await expect.poll(statuses).toEqual(['100', '200'])
  })

  test('that cannot be asked for are told of, once, and when they are known again', async () => {
    const upstream = await named('it')
    const consul = fakeConsul(upstream.port)
    let ill = true
    const { url: consulAt } = await startUpstream((req, res) => {
      if (ill) res.writeHead(500).end('no leader')
      else consul.listener(req, res)
    })
    const running = await run('start', {
      listen,
      discovery: { consul: { url: consulAt } },
      routes: [{ path: '/a', upstream: 'users', timeout: { connect: 10 } }],
    })
    const url = await urlOf(running)

    expect(await statuses(`${url}/a`, 2)).toEqual([503, 503])
    await expect.poll(() => running.err).toEqual([expect.stringMatching(/^discovery of users: .*stays in use$/)])
    ill = false
    await expect.poll(() => running.err.slice(1), { timeout: 15_000 }).toEqual(['discovery of users: known again'])
    expect(await statuses(`${url}/a`, 1)).toEqual([200])
  })

  test.runIf(withDnsmasq)('are found by their names in DNS', async () => {
    const upstream = await named('by name')
    const dns = await dnsmasq(
      `--host-record=users.internal,127.0.0.1`,
      `--srv-host=_http._tcp.carts.internal,users.internal,${upstream.port}`,
    )
    const routes = [{ path: '/a', upstream: 'users' }]
    const options = { servers: [dns], timeout: 1_000 }
    const byAddress = await run('start', {
      listen,
      discovery: { dns: { ...options, name: '{service}.internal', port: upstream.port }, balancer: 'round-robin' },
      routes,
    })
    const byRecord = await run('start', {
      listen,
      discovery: { dns: { ...options, name: '_http._tcp.{service}.internal' } },
      routes: [{ path: '/a', upstream: 'carts' }],
    })

    expect(await (await fetch(`${await urlOf(byAddress)}/a`)).text()).toBe('by name')
    expect(await (await fetch(`${await urlOf(byRecord)}/a`)).text()).toBe('by name')
  })

  test('of gRPC are found, too, and a retry goes to another instance', async () => {
    const { address: dead, server } = await startOrders({})
    server.forceShutdown()
    const { address } = await startOrders({
      CreateOrder: (call: { request: object }, reply: (e: null, v: object) => void) => reply(null, call.request),
    } as never)
    const running = await run('start', {
      listen,
      discovery: { static: { orders: [`http://${dead}`, `http://${address}`] }, balancer: 'round-robin' },
      transcoders: { orders: { proto, service: 'Orders' } },
      routes: [{ path: '/v1/**', upstream: 'orders', grpc: 'orders', retry: { backoff: 1 } }],
    })
    const url = await urlOf(running)
    const body = { method: 'POST', headers: { 'content-type': 'application/json' }, body: '{"orderId":"o1"}' }

    for (let asked = 0; asked < 4; asked += 1) expect((await fetch(`${url}/v1/orders`, body)).status).toBe(200)
  })
})

describe('the proto of a transcoder', { timeout: 20_000 }, () => {
  const post = { method: 'POST', headers: { 'content-type': 'application/json' }, body: '{"orderId":"o1"}' }
  const text = readFileSync(proto, 'utf8')

  /** The command with a proto of its own, `files` beside its config. */
  async function runWith(
    address: string,
    files: Readonly<Record<string, string>>,
  ): Promise<{ running: Run; url: string; config: object; edit(name: string, content: string): Promise<void> }> {
    const config = {
      listen,
      transcoders: { orders: { proto: 'orders.proto', service: 'Orders', address, includeDirs: ['shared'] } },
      routes: [{ path: '/**', upstream: 'orders', grpc: 'orders' }],
    }
    const write = async (folder: string, name: string, content: string): Promise<void> => {
      await mkdir(dirname(join(folder, name)), { recursive: true })
      await writeFile(join(folder, name), content)
    }
    const running = await run('start', config, {}, async (file) => {
      for (const [name, content] of Object.entries(files)) await write(dirname(file), name, content)
    })
    const edit = (name: string, content: string): Promise<void> => write(dirname(running.file), name, content)
    return { running, url: await urlOf(running), config, edit }
  }

  const reply = (call: { request: object }, done: (e: null, v: object) => void): void => done(null, call.request)

  test('is read again at SIGHUP, and calls under way end as they began, with their connection', async () => {
    const asked = signalled()
    const answer = signalled()
    const { port } = await startOrders({
      CreateOrder: async (call: { request: { orderId: string } }, done: (e: null, v: object) => void) => {
        if (call.request.orderId === 'slow') {
          asked.fire()
          await answer.promise
        }
        reply(call, done)
      },
    } as never)
    const open = new Set<Socket>()
    const relay = await startTcp((socket) => {
      open.add(socket.on('close', () => open.delete(socket)))
      socket.pipe(connect(port, '127.0.0.1').on('error', () => {})).pipe(socket)
    })
    const { running, url, edit } = await runWith(new URL(relay).host, { 'orders.proto': text })
    const slow = fetch(`${url}/v1/orders`, { ...post, body: '{"orderId":"slow"}' })
    await asked.promise

    await edit('orders.proto', text.replace('post: "/v1/orders"', 'post: "/v2/orders"'))
    running.signal('SIGHUP')
    await expect.poll(() => running.out.at(-1)).toBe('config.json is in force:\n  ~ transcoders.orders')

    expect((await fetch(`${url}/v2/orders`, post)).status).toBe(200)
    expect((await fetch(`${url}/v1/orders`, post)).status).toBe(404)
    expect(open.size).toBe(2)
    answer.fire()
    expect((await slow).status).toBe(200)
    await expect.poll(() => open.size).toBe(1)
  })

  test('that is the same keeps its connection, and one that it imports counts', async () => {
    let connections = 0
    const { port } = await startOrders({ CreateOrder: reply } as never)
    const relay = await startTcp((socket) => {
      connections += 1
      socket.pipe(connect(port, '127.0.0.1').on('error', () => {})).pipe(socket)
    })
    const imported = 'syntax = "proto3"; package test.orders.v1; message Extra { string a = 1; }'
    const { running, url, config, edit } = await runWith(new URL(relay).host, {
      'orders.proto': text
        .replace('import "google/api/annotations.proto";', '$& import "extra.proto";')
        .replace('optional string coupon = 5;', '$& Extra extra = 6;'),
      'shared/extra.proto': imported,
    })
    const withExtra = async (field: string): Promise<number> =>
      (await fetch(`${url}/v1/orders`, { ...post, body: JSON.stringify({ extra: { [field]: 'x' } }) })).status
    expect([await withExtra('a'), await withExtra('b')]).toEqual([200, 400])

    running.signal('SIGHUP')
    await expect.poll(() => running.out.at(-1)).toBe('config.json is in force, unchanged')
    expect([await withExtra('a'), connections]).toEqual([200, 1])

    // A change of the config's file does as well.
    await edit('shared/extra.proto', imported.replace('string a', 'string b'))
    await running.write({ ...config, health: { live: '/live' } })
    await expect.poll(() => running.out.at(-1), { timeout: 5_000 }).toContain('~ transcoders.orders')
    expect([await withExtra('a'), await withExtra('b')]).toEqual([400, 200])
  })

  test('that has turned bad leaves the one before in force, and is named', async () => {
    const { address } = await startOrders({ CreateOrder: reply } as never)
    const { running, url, edit } = await runWith(address, { 'orders.proto': text })

    for (const bad of [
      'service {',
      text.replace('service Orders', 'service Others'),
      text.replaceAll('Note note', 'Nope note'),
    ]) {
      const before = running.err.length
      await edit('orders.proto', bad)
      running.signal('SIGHUP')
      await expect.poll(() => running.err.length).toBe(before + 1)
      expect(running.err.at(-1)).toMatch(
        / {2}transcoders\.orders: .*\/orders\.proto.*\nthe config before it stays in force$/,
      )
      expect((await fetch(`${url}/v1/orders`, post)).status).toBe(200)
    }
  })
})

describe('metrics', () => {
  test('are on an address of their own, by route, with the endpoints of services', async () => {
    const upstream = await startUpstream(echo)
    const config = {
      listen,
      metrics: { port: 0 },
      discovery: { static: { users: [upstream.url] } },
      routes: [{ path: '/users/:id', upstream: 'users' }],
    }
    const running = await run('start', config)
    const url = await urlOf(running)
    const page = /metrics are at (\S+)/.exec(running.out.join('\n'))![1]!
    await fetch(`${url}/users/7`)

    const response = await fetch(page)
    expect(response.headers.get('content-type')).toMatch(/^text\/plain; version=/)
    const text = await response.text()
    expect(text).toContain('http_requests_total{method="GET",route="/users/:id",status="200"} 1')
    expect(text).toMatch(/discovery_endpoints\{service="users",state="active"\} 1/)
    expect(text).toContain('process_cpu_seconds_total')
    expect((await fetch(`${url}/metrics`)).status).toBe(404)
    expect((await fetch(new URL('/', page))).status).toBe(404)
    expect((await fetch(page, { method: 'POST' })).status).toBe(405)

    await reload(running, {
      ...config,
      metrics: { port: 0, path: '/m' },
      discovery: { static: { users: [upstream.url, upstream.url.replace('127.0.0.1', 'localhost')] } },
    })
    await fetch(`${url}/users/7`)
    const later = await (await fetch(page)).text()
    expect(later).toContain('route="/users/:id",status="200"} 2')
    expect(later).toMatch(/discovery_endpoints\{service="users",state="active"\} 2/)
    expect(running.err).toEqual(['metrics has changed: that needs a restart'])
  })

  test('whose address is taken end the command, and leave nothing behind', async () => {
    const { port } = await startUpstream(echo)
    const running = await run('start', { listen, metrics: { port }, routes: [] })

    expect(await running.done).toBe(1)
    expect(running.err[0]).toContain('EADDRINUSE')
  })
})

describe('what is said in words', () => {
  test('a key counts by user or by claim, and whoever has none by address', async () => {
    const upstream = await startUpstream(echo)
    const [ada, bob, eve] = ['ada', 'bob', 'eve'].map((name) => `key-of-${name}-which-is-long-enough`)
    const keys = {
      [hashApiKey(ada!)]: { sub: 'ada', tenant: 't1' },
      [hashApiKey(bob!)]: { sub: 'bob', tenant: 't1' },
      [hashApiKey(eve!)]: { sub: 'eve' },
    }
    const limit = { limit: 1, window: 600_000 }
    const url = await urlOf(
      await run('start', {
        listen,
        verifiers: { keys: { apiKeys: keys } },
        defaults: { auth: 'keys', upstream: upstream.url },
        routes: [
          { path: '/user', rateLimit: { ...limit, key: 'user' } },
          { path: '/tenant', rateLimit: { ...limit, key: { claim: 'tenant' } } },
          { path: '/address', rateLimit: { ...limit, key: 'address' } },
        ],
      }),
    )
    const ask = async (path: string) => {
      const answers = []
      for (const key of [ada, bob, eve, eve]) answers.push(...(await statuses(url + path, 1, { 'x-api-key': key! })))
      return answers
    }

    expect(await ask('/user')).toEqual([200, 200, 200, 429])
    expect(await ask('/tenant')).toEqual([200, 429, 200, 429])
    expect(await ask('/address')).toEqual([200, 429, 429, 429])
  })

  test('a retry’s back-off and its budget, which a reload keeps', async () => {
    let asked = 0
    const upstream = await startUpstream((_, res) => {
      asked += 1
      res.writeHead(503).end()
    })
    const retry = {
      attempts: 2,
      backoff: { base: 1, max: 1, jitter: 'none' },
      budget: { ratio: 0, minPerSecond: 0.1, ttl: 10_000 },
    }
    const config = { listen, routes: [{ path: '/a', upstream: upstream.url, retry }] }
    const running = await run('start', config)
    const url = await urlOf(running)

    await statuses(`${url}/a`, 2)
    // One retry for two requests: that is all the budget has.
    expect(asked).toBe(3)
    await reload(running, { ...config, health: { live: '/live' } })
    await statuses(`${url}/a`, 1)
    expect(asked).toBe(4)
  })
})

describe('a check', () => {
  test('connects to nobody', async () => {
    const connections: string[] = []
    const tcp = async (name: string): Promise<string> => startTcp(() => void connections.push(name))
    const dns = createSocket('udp4', () => void connections.push('dns'))
    dns.bind(0, '127.0.0.1')
    await once(dns, 'listening')
    onTestFinished(() => void dns.close())
    const common = {
      listen: { port: 0 },
      redis: (await tcp('redis')).replace('http:', 'redis:'),
      limiters: { shared: { store: 'redis', limit: 1, window: 1_000 } },
      metrics: { port: 0 },
      verifiers: {
        users: { issuer: 'a', audience: 'b', algorithms: ['ES256'], jwks: { url: await tcp('jwks'), maxAge: 60_000 } },
      },
      transcoders: { orders: { proto, service: 'Orders' } },
      routes: [
        { path: '/a', upstream: 'users', auth: 'users', rateLimit: 'shared' },
        {
          path: '/b',
          upstream: await tcp('upstream'),
          auth: false,
          rateLimit: { store: 'redis', limit: 1, window: 1_000 },
        },
        { path: '/c', upstream: 'orders', grpc: 'orders', auth: false },
      ],
    }

    for (const discovery of [
      { consul: { url: await tcp('consul'), token: '${TOKEN}' } },
      { dns: { servers: [`127.0.0.1:${dns.address().port}`], name: '{service}.internal' } },
    ]) {
      const { done, err } = await run('check', { ...common, discovery }, { TOKEN: 'secret' })
      expect([await done, ...err]).toEqual([0])
    }
    expect(connections).toEqual([])
  })

  test('tells of everything at once, each with its place, and of no secret', async () => {
    const { done, err } = await run(
      'check',
      {
        listen: { port: '${PORT:number}', host: '${HOST}' },
        log: 'xml',
        opentelemetry: 'yes',
        shutdown: { delay: -1, wait: 5 },
        metrics: { host: 'a', where: '/' },
        redis: { url: 'https://user:sesame@redis', onError: 'shrug' },
        discovery: {
          consul: { url: 'ftp://consul' },
          dns: {},
          static: { users: ['nowhere'] },
          balancer: 'best',
          emptyGrace: -1,
        },
        verifiers: { users: { issuer: 'a' }, none: 7 },
        limiters: { a: { limit: 0, window: 1 }, b: { store: 'memcached', limit: 1, window: 1 } },
        transcoders: { orders: { proto: 'none.proto', service: 'Orders' } },
        routes: [
          {
            path: 'a',
            upstream: 'http://127.0.0.1:1',
            auth: 'nope',
            rateLimit: { store: 'disk', limit: 1, window: 1 },
          },
          { path: '/b', upstream: 'http://127.0.0.1:1', auth: false, rateLimit: { limit: 1, window: 1, key: 'user' } },
          {
            path: '/c',
            upstream: 'http://127.0.0.1:1',
            auth: false,
            retry: { budget: { ratio: -1 }, backoff: -1, attempts: 0 },
          },
          {
            path: '/d',
            upstream: 'http://127.0.0.1:1',
            auth: false,
            rateLimit: { limit: 1, window: 1, key: { header: 'x' } },
          },
          {
            path: '/e',
            upstream: 'http://127.0.0.1:1',
            auth: false,
            methods: 7,
            rateLimit: { store: 'redis', limit: -1, window: 1 },
          },
        ],
      },
      { HOST: 'a' },
    )

    expect(await done).toBe(1)
    const places = err[0]!
      .split('\n')
      .slice(1)
      .map((line) => line.trim().split(': ')[0])
    expect(places).toEqual(
      expect.arrayContaining(
        [
          'listen.port',
          'log',
          'opentelemetry',
          'shutdown.delay',
          'shutdown.wait',
          'metrics.port',
          'metrics.where',
          'metrics.path',
          'redis.url',
          'redis.onError',
          'discovery.dns',
          'discovery.consul',
          'discovery.static',
          'discovery.balancer',
          'discovery',
          'verifiers.users',
          'verifiers.none',
          'limiters.a',
          'limiters.b.store',
          'transcoders.orders',
          'routes[0].path',
          'routes[0].auth',
          'routes[0].rateLimit.store',
          'routes[1].rateLimit.key',
          'routes[2].retry.budget',
          'routes[2].retry.backoff',
          'routes[2].retry.attempts',
          'routes[3].rateLimit.key',
          'routes[4].methods',
          'routes[4].rateLimit.limit',
        ].filter((place) => place !== 'metrics.path'),
      ),
    )
    expect(err[0]).toContain('listen.port: needs the environment variable PORT, which is not set')
    expect(err[0]!.match(/listen\.port/g)).toHaveLength(1)
    expect(err[0]).not.toContain('sesame')
  })

  test.each<[string, object, string]>([
    [
      'a limit in Redis without one',
      { limiters: { a: { store: 'redis', limit: 1, window: 1 } } },
      "limiters.a.store: is 'redis', and the file has no redis",
    ],
    [
      'a store beside a limiter',
      {
        limiters: { a: { limit: 1, window: 1 } },
        routes: [{ path: '/a', upstream: 'http://a', rateLimit: { limiter: 'a', store: 'redis' } }],
      },
      "routes[0].rateLimit.store: is the limiter's",
    ],
    [
      'a service that nobody knows',
      { discovery: { static: { users: ['127.0.0.1:1'] } }, routes: [{ path: '/a', upstream: 'user' }] },
      'routes[0].upstream: "user" is neither in upstreams nor in discovery.static',
    ],
    [
      'a service without any discovery',
      { routes: [{ path: '/a', upstream: 'user' }] },
      'routes[0].upstream: "user" is neither in upstreams nor in discovery.static',
    ],
    [
      'a name that is the same for all services',
      { discovery: { dns: { name: 'users.internal' } } },
      'discovery.dns: name must be a text with {service} in it',
    ],
    [
      'Consul with an option of nobody',
      { discovery: { consul: { nope: 1 } } },
      'discovery.consul: nope is not an option here',
    ],
    [
      'a burst over a window in Redis',
      {
        redis: 'redis://a',
        limiters: { a: { store: 'redis', algorithm: 'sliding-window', limit: 1, window: 1, burst: 2 } },
      },
      'limiters.a: redisLimiter: burst must be left out',
    ],
  ])('refuses %s', async (_, config, complaint) => {
    const { done, err } = await run('check', { routes: [], ...config })

    expect(await done).toBe(1)
    expect(err[0]).toContain(complaint)
  })

  test('accepts a route that goes by gRPC to an address, whatever it calls its upstream', async () => {
    const { done, err } = await run('check', {
      transcoders: { orders: { proto, service: 'Orders', address: '127.0.0.1:1' } },
      routes: [{ path: '/a', upstream: 'orders', grpc: 'orders' }],
    })

    expect([await done, ...err]).toEqual([0])
  })
})

/** An upstream that says its name. */
const named = (name: string): ReturnType<typeof startUpstream> => startUpstream((_, res) => void res.end(name))

/** Answers the first question of each watch, and lets the others wait. */
function fakeConsul(port: number): { waiting: Set<IncomingMessage>; listener: Parameters<typeof startUpstream>[0] } {
  const waiting = new Set<IncomingMessage>()
  return {
    waiting,
    listener(req, res) {
      if (new URL(req.url!, 'http://a').searchParams.has('index')) {
        waiting.add(req)
        res.on('close', () => waiting.delete(req))
        return
      }
      res.setHeader('x-consul-index', '7')
      const service = { ID: 'a', Service: 'users', Address: '127.0.0.1', Port: port, Tags: [], Meta: {} }
      res.end(JSON.stringify([{ Node: { Node: 'n', Address: '127.0.0.1' }, Service: service, Checks: [] }]))
    },
  }
}

async function consulAnswers(): Promise<string | undefined> {
  const value = process.env['CONSUL_HTTP_ADDR'] || 'http://127.0.0.1:8500'
  const url = value.includes('://') ? value : `http://${value}`
  try {
    const response = await fetch(`${url}/v1/status/leader`, { signal: AbortSignal.timeout(3_000) })
    if (response.ok && (await response.text()) !== '""') return url
  } catch {}
  if (process.env['MSX_REQUIRE_SERVICES'] === '1') throw new Error(`no Consul answers at ${url}`)

  console.warn(`\n  SKIPPED: no Consul answers at ${url}\n`)
  return undefined
}

async function register(service: string, id: string, port: number): Promise<void> {
  const body = JSON.stringify({ Name: service, ID: `${service}-${id}`, Address: '127.0.0.1', Port: port })
  await fetch(`${consulUrl}/v1/agent/service/register`, { method: 'PUT', body })
  onTestFinished(() => deregister(service, id))
}

async function deregister(service: string, id: string): Promise<void> {
  await fetch(`${consulUrl}/v1/agent/service/deregister/${service}-${id}`, { method: 'PUT' })
}

async function programRuns(program: string, argument: string): Promise<boolean> {
  const child = spawn(program, [argument], { stdio: 'ignore' })
  const found = await new Promise<boolean>((resolve) => {
    child.once('error', () => resolve(false))
    child.once('exit', (code) => resolve(code === 0))
  })
  if (!found) console.warn(`\n  SKIPPED: there is no program ${program}\n`)

  return found
}

/** A name server of a test's own. Resolves with its address. */
async function dnsmasq(...records: string[]): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'msx-dnsmasq-'))
  const port = await freePort()
  const only = [
    '--no-daemon',
    '--no-resolv',
    '--no-hosts',
    '--user=',
    '--listen-address=127.0.0.1',
    '--bind-interfaces',
  ]
  const files = ['--conf-file=/dev/null', '--pid-file=', `--port=${port}`]
  const child: ChildProcess = spawn('dnsmasq', [...only, '--local=/internal/', ...files, ...records], {
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  onTestFinished(async () => {
    child.kill('SIGKILL')
    await rm(folder, { recursive: true, force: true })
  })
  await new Promise<void>((resolve, reject) => {
    child.stderr!.on('data', (text) => String(text).includes('started') && resolve())
    child.once('exit', (code) => reject(new Error(`dnsmasq ended with ${code}`)))
  })

  return `127.0.0.1:${port}`
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  return port
}
