import { readFile, writeFile } from 'node:fs/promises'
import { circuitBreaker } from '@msx/circuit-breaker'
import { Ajv } from 'ajv'
import { describe, expect, test, vi } from 'vitest'
import type { GatewayConfig } from './config.js'
import { kongPath, priorityOf } from './kong/paths.js'
import { type KongOptions, type KongRoute, toKong } from './kong.js'
import { capture, parsePattern } from './pattern.js'
import { createRouter } from './router.js'

const read = async (file: string): Promise<object> =>
  JSON.parse(await readFile(new URL(file, import.meta.url), 'utf8')) as object

const schema = await read('kong/declarative.schema.json')
const isValid = new Ajv({ allErrors: true }).compile(schema)

const shop: GatewayConfig = {
  listen: { port: 8080 },
  trust: ['10.0.0.0/8'],
  defaults: {
    timeout: { headers: 5_000 },
    retry: { attempts: 2 },
    rateLimit: { limit: 100, window: 1_000 },
    breaker: {},
  },
  routes: [
    { id: 'sign-up', path: '/api/users', methods: ['POST'], upstream: 'user-service', auth: false },
    { path: '/api/users/:id', upstream: 'user-service', rewrite: '/users/:id', auth: 'users', maxBody: 65_536 },
    {
      path: '/files/**',
      host: '*.shop.example',
      methods: ['GET'],
      upstream: 'https://files.example/base',
      rewrite: '/v2/**',
      auth: { verifier: 'users', identity: { 'x-user-mail': 'email' } },
      headers: { request: { 'x-a': '1', 'x-b': null }, response: { server: null, 'x-c': '2' } },
      retry: false,
      timeout: { idle: false },
      rateLimit: 'shared',
    },
    { path: '/api/payments/**', upstream: 'payment-service', grpc: 'payments', auth: 'users' },
  ],
}
const options = {
  onDifference: () => {},
  limiters: { shared: { limit: 5, window: 60_000 } },
  services: { 'user-service': 'http://users.internal:3001' },
  transcoders: {
    payments: {
      plugin: { name: 'grpc-gateway', config: { proto: '/protos/payment.proto' } },
      url: 'grpc://payments:50051',
    },
  },
}

const quiet: KongOptions = { onDifference: () => {} }

/** The places of what cannot be said in Kong. */
function refused(config: GatewayConfig, more: KongOptions = {}): string[] {
  try {
    toKong(config, { ...quiet, ...more })
    return []
  } catch (error) {
    return (error as { issues: { path: string }[] }).issues.map(({ path }) => path)
  }
}

type Row = Record<string, unknown>
type Spoilt = {
  services: (Row & { routes: (Row & { plugins: { config: Row }[] })[] })[]
}

describe('toKong', () => {
  test('writes the table as the golden file has it, by the schema', async () => {
    const written = toKong(shop, options)

    expect(isValid(written) ? [] : isValid.errors).toEqual([])
    // `UPDATE_KONG=1` writes it after a change of what is written.
    const golden = new URL('kong/golden.json', import.meta.url)
    if (process.env['UPDATE_KONG'] === '1') await writeFile(golden, `${JSON.stringify(written, null, 2)}\n`)
    expect(JSON.parse(JSON.stringify(written))).toEqual(await read('kong/golden.json'))
  })

  test.each<[string, (config: Spoilt) => void]>([
    [
      'an unknown member',
      (config) => {
        config.services[0]!['nope'] = 1
      },
    ],
    [
      'a path without slash',
      (config) => {
        config.services[0]!.routes[0]!['paths'] = ['a']
      },
    ],
    [
      'an unknown window',
      (config) => {
        config.services[0]!.routes[0]!.plugins[0]!.config['fortnight'] = 1
      },
    ],
    [
      'a name with spaces',
      (config) => {
        config.services[0]!['name'] = 'a b'
      },
    ],
  ])('the schema refuses %s', (_, spoil) => {
    const config = structuredClone(toKong(shop, options)) as unknown as Spoilt
    spoil(config)

    expect(isValid(config)).toBe(false)
  })

  test('says everything that Kong cannot do, with its place', () => {
    const config: GatewayConfig = {
      routes: [
        { path: '/a', upstream: 'a', rewrite: (path) => path, auth: { verifier: 'u', roles: ['admin'] } },
        { path: '/b', upstream: 'b', auth: false, timeout: { total: 1 }, rateLimit: { limit: 1, window: 900_000 } },
        { path: '/c', upstream: 'c', auth: false, rateLimit: { limiter: 'x', key: () => '', cost: 2 } },
        { path: '/d', upstream: 'd', auth: false, rateLimit: { limit: 5, window: 1_000, burst: 1 }, grpc: 'p' },
        { path: '/e', upstream: 'e', auth: false, headers: { request: { 'x-a': 'costs $(5)', 'x-b': null } } },
      ],
    }

    expect(refused(config)).toEqual([
      'routes[0].rewrite',
      'routes[0].auth',
      'routes[1].timeout.total',
      'routes[1].rateLimit.window',
      'routes[2].rateLimit.key',
      'routes[2].rateLimit.cost',
      'routes[2].rateLimit',
      'routes[3].grpc',
      'routes[3].rateLimit.burst',
      'routes[4].headers.request.x-a',
    ])
  })

  test.each<[string, GatewayConfig['routes'], KongOptions, string[]]>([
    [
      'two verifiers that nothing tells apart in Kong',
      [
        { path: '/a', upstream: 'a', auth: 'users' },
        { path: '/b', upstream: 'b', auth: 'partners' },
      ],
      { verifiers: { users: { name: 'jwt' } } },
      ['verifiers.partners'],
    ],
    [
      'a plugin that passes on whom it does not know',
      [{ path: '/a', upstream: 'a', auth: 'users' }],
      { verifiers: { users: { name: 'key-auth', config: { anonymous: 'guest' } } } },
      ['verifiers.users'],
    ],
    [
      'a plugin that checks nobody',
      [{ path: '/a', upstream: 'a', auth: { verifier: 'users' } }],
      { verifiers: { users: { name: 'cors' } } },
      ['verifiers.users'],
    ],
  ])('refuses to open a door: %s', (_, routes, more, paths) => {
    expect(refused({ routes }, more)).toEqual(paths)
  })

  test('removes who somebody is, on whatever route it is told, from what comes to any route', () => {
    const { services } = toKong(
      {
        routes: [
          { path: '/a', upstream: 'a', auth: { verifier: 'users', identity: { 'X-User-Mail': 'email' } } },
          { path: '/b', upstream: 'b', auth: false },
        ],
      },
      quiet,
    )

    for (const { routes } of services) {
      const plugin = routes[0]!.plugins.find(({ name }) => name === 'request-transformer')
      expect(plugin?.config).toEqual({ remove: { headers: ['x-user-id', 'x-user-mail'] } })
    }
  })

  test('has a breaker as the health of an upstream of its own, and tells in what it is another one', () => {
    const told: string[] = []
    const shared = circuitBreaker({ name: 'shared' })
    const { services, upstreams } = toKong(
      {
        upstreams: {
          carts: { targets: [{ url: 'http://10.0.0.1:3000' }, { url: 'http://10.0.0.2:3000', weight: 3 }] },
        },
        routes: [
          { path: '/a', upstream: 'https://a.example/base', breaker: { trip: { failures: 3 }, openDuration: 4_500 } },
          { path: '/b', upstream: 'https://a.example/base', breaker: { trip: { failures: 3 }, openDuration: 4_500 } },
          { path: '/c', upstream: 'carts', breaker: { halfOpen: { trials: 2 } } },
          { path: '/d', upstream: 'https://a.example/base' },
          { path: '/e', upstream: 'e', breaker: shared },
          { path: '/f', upstream: 'e', breaker: circuitBreaker({ name: 'unknown' }) },
        ],
      },
      {
        breakers: { shared: { trip: { failures: 300 }, openDuration: { base: 100 } } },
        onDifference: ({ path, message }) => path.includes('breaker') && told.push(`${path} ${message}`),
      },
    )

    expect(services.map(({ name, url, routes }) => [name, url, routes.length])).toEqual([
      ['a.example', 'https://a.example.breaker/base', 2],
      ['carts', 'http://carts.breaker', 1],
      ['a.example-2', 'https://a.example/base', 1],
      ['e', 'http://e.breaker', 1],
      ['e-2', 'http://e:80', 1],
    ])
    expect(upstreams?.map(({ name, host_header, targets }) => [name, host_header, targets.length])).toEqual([
      ['carts', undefined, 2],
      ['a.example.breaker', 'a.example', 1],
      ['carts.breaker', undefined, 2],
      ['e.breaker', 'e', 1],
    ])
    expect(upstreams?.[1]).toMatchObject({
      targets: [{ target: 'a.example:443' }],
      healthchecks: {
        passive: { healthy: { successes: 1 }, unhealthy: { http_failures: 3, tcp_failures: 3, timeouts: 3 } },
        active: { healthy: { successes: 1 }, unhealthy: { interval: 5 } },
      },
    })
    expect(upstreams?.[2]?.healthchecks).toMatchObject({
      passive: { unhealthy: { http_failures: 10 } },
      active: { healthy: { successes: 2 }, unhealthy: { interval: 30 } },
    })
    expect(upstreams?.[3]?.healthchecks).toMatchObject({ passive: { unhealthy: { http_failures: 255 } } })
    expect(told).toEqual(
      expect.arrayContaining([
        expect.stringMatching(/^routes\[2\]\.breaker opens by a rate; Kong counts failures in a row, here 10/),
        expect.stringMatching(/^routes\[4\]\.breaker opens after 300 failures; Kong counts up to 255/),
        expect.stringMatching(/^routes\[4\]\.breaker stays open for openDuration.base, 100 ms/),
        expect.stringMatching(/^routes\[5\]\.breaker is left out: .*"unknown"/),
      ]),
    )
    expect(told.some((line) => line.startsWith('routes[0].breaker opens'))).toBe(false)
  })

  test('answers preflight requests where a route has methods of its own', () => {
    const { services } = toKong(
      { routes: [{ path: '/a', upstream: 'a', methods: ['POST'], cors: { origins: ['https://shop.example'] } }] },
      quiet,
    )
    const [route] = services[0]!.routes

    expect(route?.methods).toEqual(['POST', 'OPTIONS'])
    expect(route?.plugins.find(({ name }) => name === 'cors')?.config).toMatchObject({ methods: ['POST'] })
  })

  test('tells of every feature that is not the same, once per place', () => {
    const told = new Set<string>()
    const config: GatewayConfig = {
      listen: { port: 80 },
      limits: { inFlight: 5 },
      health: { live: '/live' },
      trust: { hops: 1 },
      routes: [
        {
          path: '/a',
          methods: ['GET'],
          upstream: 'a',
          auth: 'users',
          rateLimit: { limit: 1, window: 1_000 },
          timeout: { headers: 5, idle: 6 },
          retry: { attempts: 2, backoff: () => 1, budget: {} as never, statuses: [503], replay: 5 },
          breaker: {},
          priority: 5,
        },
        { path: '/b', upstream: 'b', auth: false, websocket: true, exactPath: true },
      ],
    }

    toKong(config, { onDifference: ({ path }) => void told.add(path) })

    expect([...told].sort()).toEqual([
      'health',
      'limits',
      'listen',
      'routes',
      'routes[0].auth',
      'routes[0].breaker',
      'routes[0].priority',
      'routes[0].rateLimit',
      'routes[0].retry',
      'routes[0].retry.backoff',
      'routes[0].retry.budget',
      'routes[0].retry.replay',
      'routes[0].retry.statuses',
      'routes[0].timeout.idle',
      'routes[1].methods',
      'routes[1].websocket',
      'trust',
    ])
  })

  test('warns of them where nobody listens', () => {
    const warned = vi.spyOn(process, 'emitWarning').mockImplementation(() => {})

    toKong({ trust: { hops: 1 }, routes: [{ path: '/a', upstream: 'a', websocket: true, exactPath: true }] })
    const messages = warned.mock.calls.map(([message]) => message)
    warned.mockRestore()

    expect(messages).toEqual([
      expect.stringMatching(/^trust is left out/),
      expect.stringMatching(/^routes\[0\]\.websocket ends in Kong/),
    ])
  })

  test('refuses a config that the gateway would refuse', () => {
    expect(() => toKong({ routes: [{ path: 'a', upstream: 'b' }] })).toThrow('routes[0].path')
  })

  test('gives no name twice', () => {
    const { services } = toKong(
      {
        routes: ['/a/:b', '/a/b', '/a-b'].map((path, index) => ({ path, upstream: `http://a.example:${80 + index}` })),
      },
      quiet,
    )
    const names = services.flatMap(({ name, routes }) => [name, ...routes.map((route) => route.name)])

    expect(names).toEqual(['a.example', 'a-b', 'a.example-2', 'a-b-2', 'a.example-3', 'a-b-3'])
  })

  test('has upstreams for several places under one name, where their URLs differ by host and port alone', () => {
    const targets = [{ url: 'http://10.0.0.1:3000/base' }, { url: 'http://10.0.0.2/base', weight: 3 }]
    const config = (list: typeof targets): GatewayConfig => ({
      upstreams: { cart: { targets: list } },
      routes: [{ path: '/cart', upstream: 'cart' }],
    })
    const written = toKong(config(targets), quiet)

    expect(written.services[0]!.url).toBe('http://cart/base')
    expect(written.upstreams).toEqual([
      {
        name: 'cart',
        targets: [
          { target: '10.0.0.1:3000', weight: 1 },
          { target: '10.0.0.2:80', weight: 3 },
        ],
      },
    ])
    expect(isValid(written)).toBe(true)
    expect(() => toKong(config([...targets, { url: 'https://10.0.0.3/base' }]))).toThrow('upstreams.cart')
  })

  test('lets nobody in where the config asks for a token', () => {
    const guarded = toKong(shop, options).services.flatMap(({ routes }) => routes)
    const open = guarded.filter(({ plugins }) => !plugins.some(({ name }) => name === 'jwt'))

    expect(open.map(({ name }) => name)).toEqual(['sign-up'])
  })
})

describe('of two routes that fit', () => {
  const upstream = 'http://a:80'
  /** As Kong's router orders them: conditions, then hosts without wildcard, then priorities. */
  function inKong(routes: GatewayConfig['routes'], method: string, host: string, path: string): string | undefined {
    const { services, routes: others = [] } = toKong({ routes }, { ...quiet, verifiers: { users: { name: 'jwt' } } })
    const fitting = [...services.flatMap((service) => service.routes), ...others].filter(
      ({ methods, hosts, paths }) =>
        methods?.includes(method) !== false &&
        hosts?.some((one) => (one.startsWith('*') ? host.endsWith(one.slice(1)) : host === one)) !== false &&
        new RegExp(`^(?:${paths[0]!.slice(1)})`).test(path),
    )
    const rank = ({ methods, hosts, regex_priority }: KongRoute): number[] => [
      Number(methods !== undefined) + Number(hosts !== undefined),
      Number(hosts !== undefined && !hosts[0]!.startsWith('*')),
      regex_priority,
    ]
    const [first] = fitting.sort((a, b) => {
      const [x, y] = [rank(a), rank(b)]
      const at = x.findIndex((value, index) => value !== y[index])
      return at === -1 ? 0 : y[at]! - x[at]!
    })

    return first?.plugins.some(({ name }) => name === 'request-termination') ? '405' : first?.name
  }

  test.each<[string, GatewayConfig['routes'], [method: string, host: string, path: string], string]>([
    [
      'the more exact path is taken, also where only the other one names methods',
      [
        { id: 'me', path: '/users/me', upstream },
        { id: 'any', path: '/users/:id', methods: ['GET'], upstream },
      ],
      ['GET', 'a', '/users/me'],
      'me',
    ],
    [
      'the exact host is taken, also where only the wildcard names methods',
      [
        { id: 'shop', host: 'eu.shop.example', path: '/**', upstream },
        { id: 'all', host: '*.shop.example', path: '/a', methods: ['GET'], upstream },
      ],
      ['GET', 'eu.shop.example', '/a'],
      'shop',
    ],
    [
      'the longer wildcard is taken, whatever the paths',
      [
        { id: 'wide', host: '*.example', path: '/a', upstream },
        { id: 'narrow', host: '*.shop.example', path: '/**', upstream },
      ],
      ['GET', 'eu.shop.example', '/a'],
      'narrow',
    ],
    [
      'the more exact path owns all its methods',
      [
        { id: 'admin', path: '/admin/**', methods: ['GET'], auth: 'users', upstream },
        { id: 'public', path: '/**', auth: false, upstream },
      ],
      ['POST', 'a', '/admin/x'],
      '405',
    ],
    [
      'and a method that another route of the same path takes is that one’s',
      [
        { id: 'read', path: '/a/:id', methods: ['GET'], upstream },
        { id: 'write', path: '/a/:name', methods: ['POST'], upstream },
        { id: 'rest', path: '/**', upstream },
      ],
      ['POST', 'a', '/a/1'],
      'write',
    ],
  ])('%s', (_, routes, [method, host, path], expected) => {
    const here = createRouter(routes).match(method, host, path)

    expect(here.kind === 'found' ? here.route.id : '405').toBe(expected)
    expect(inKong(routes, method, host, path)).toBe(expected)
  })

  test('there is nothing to refuse where no wider one would take it', () => {
    const config: GatewayConfig = {
      routes: [
        { path: '/a', methods: ['GET'], upstream },
        { path: '/b/**', upstream },
        { host: 'b.example', path: '/**', upstream },
      ],
    }

    expect(toKong(config, quiet).routes).toBeUndefined()
  })
})

describe('paths', () => {
  const patterns = [
    '/',
    '/a',
    '/a/:id',
    '/a/*',
    '/a/**',
    '/**',
    '/:x/b',
    '/a.b/:id/c',
    '/a/:id/**',
    '/*/*',
    '/a/:rest/**',
    '/*/:star1',
  ]
  const paths = ['/', '/a', '/a/', '/a/1', '/a/1/', '/a/1/2', '/aXb/1/c', '/a.b/1/c', '/x/b', '/A', '/b', '/a/b']

  test.each(patterns)('%s fits in Kong what it fits here', (pattern) => {
    const segments = parsePattern(pattern)
    const regexp = new RegExp(`^(?:${kongPath(segments).slice(1)})`)

    for (const path of paths) {
      const found = regexp.exec(path)
      expect([path, found !== null]).toEqual([path, fitsHere(segments, path)])
      if (found === null) continue
      const { params, rest } = capture(segments, path)
      for (const [name, value] of Object.entries(params)) expect(found.groups![name]).toBe(value)
      const group = pattern.includes(':rest') ? 'rest_' : 'rest'
      if (segments.at(-1)?.kind === 'rest' && path !== '/') expect(found.groups![group] ?? '').toBe(rest)
    }
  })

  test('of which both fit: the more exact one, as here', () => {
    const sorted = [...patterns].sort((a, b) => priorityOf(parsePattern(b)) - priorityOf(parsePattern(a)))

    expect(sorted.indexOf('/a/:id')).toBeLessThan(sorted.indexOf('/a/*'))
    expect(sorted.indexOf('/a/*')).toBeLessThan(sorted.indexOf('/a/**'))
    expect(sorted.indexOf('/a')).toBeLessThan(sorted.indexOf('/a/**'))
    expect(sorted.indexOf('/a/:id/**')).toBeLessThan(sorted.indexOf('/a/**'))
    expect(sorted.indexOf('/:x/b')).toBeLessThan(sorted.indexOf('/*/*'))
    expect(sorted.at(-1)).toBe('/**')
  })
})

/** By hand, segment by segment. */
function fitsHere(pattern: ReturnType<typeof parsePattern>, path: string): boolean {
  const segments = path.split('/').filter((segment) => segment !== '')
  const open = pattern.at(-1)?.kind === 'rest'
  const fixed = open ? pattern.slice(0, -1) : pattern
  if (open ? segments.length < fixed.length : segments.length !== fixed.length) return false

  return fixed.every((segment, index) => segment.kind !== 'static' || segment.text === segments[index])
}
