import { readFile } from 'node:fs/promises'
import { Ajv } from 'ajv'
import { describe, expect, test } from 'vitest'
import type { GatewayConfig } from './config.js'
import { kongPath, priorityOf } from './kong/paths.js'
import { toKong } from './kong.js'
import { capture, parsePattern } from './pattern.js'

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
  limiters: { shared: { limit: 5, window: 60_000 } },
  services: { 'user-service': 'http://users.internal:3001' },
  transcoders: {
    payments: {
      plugin: { name: 'grpc-gateway', config: { proto: '/protos/payment.proto' } },
      url: 'grpc://payments:50051',
    },
  },
}

type Row = Record<string, unknown>
type Spoilt = {
  services: (Row & { routes: (Row & { plugins: { config: Row }[] })[] })[]
}

describe('toKong', () => {
  test('writes the table as the golden file has it, by the schema', async () => {
    const written = toKong(shop, options)

    expect(isValid(written) ? [] : isValid.errors).toEqual([])
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
      ],
    }

    let issues: readonly { path: string }[] = []
    try {
      toKong(config)
    } catch (error) {
      issues = (error as { issues: typeof issues }).issues
    }

    expect(issues.map(({ path }) => path)).toEqual([
      'routes[0].rewrite',
      'routes[0].auth',
      'routes[1].timeout.total',
      'routes[1].rateLimit.window',
      'routes[2].rateLimit.key',
      'routes[2].rateLimit.cost',
      'routes[2].rateLimit',
      'routes[3].grpc',
      'routes[3].rateLimit.burst',
    ])
  })

  test('refuses a config that the gateway would refuse', () => {
    expect(() => toKong({ routes: [{ path: 'a', upstream: 'b' }] })).toThrow('routes[0].path')
  })

  test('gives no name twice', () => {
    const { services } = toKong({
      routes: ['/a/:b', '/a/b', '/a-b'].map((path, index) => ({ path, upstream: `http://a.example:${80 + index}` })),
    })
    const names = services.flatMap(({ name, routes }) => [name, ...routes.map((route) => route.name)])

    expect(names).toEqual(['a.example', 'a-b', 'a.example-2', 'a-b-2', 'a.example-3', 'a-b-3'])
  })

  test('has upstreams for several places under one name, where their URLs differ by host and port alone', () => {
    const targets = [{ url: 'http://10.0.0.1:3000/base' }, { url: 'http://10.0.0.2/base', weight: 3 }]
    const config = (list: typeof targets): GatewayConfig => ({
      upstreams: { cart: { targets: list } },
      routes: [{ path: '/cart', upstream: 'cart' }],
    })
    const written = toKong(config(targets))

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

describe('paths', () => {
  const patterns = ['/', '/a', '/a/:id', '/a/*', '/a/**', '/**', '/:x/b', '/a.b/:id/c', '/a/:id/**', '/*/*']
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
      if (segments.at(-1)?.kind === 'rest' && path !== '/') expect(found.groups!['rest'] ?? '').toBe(rest)
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
