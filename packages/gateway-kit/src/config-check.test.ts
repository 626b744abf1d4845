import { describe, expect, test } from 'vitest'
import { isGatewayConfigError } from './errors.js'
import { createGateway } from './gateway.js'

const upstream = 'http://127.0.0.1:3000'

function issues(config: unknown, deps: object = {}): Record<string, string> {
  try {
    createGateway(config as never, deps)
  } catch (error) {
    expect(error).toBeInstanceOf(TypeError)
    if (isGatewayConfigError(error)) return Object.fromEntries(error.issues.map(({ path, message }) => [path, message]))
    throw error
  }
  return {}
}

describe('a config', () => {
  test('is checked as a whole, and every issue has its path', () => {
    const found = issues({
      routes: [
        { path: 'users', upstream: 'ftp://a' },
        { path: '/a', upstream, timeout: { idle: -1, total: Number.NaN }, retry: { attempts: 0 }, retries: 3 },
        { upstream, methods: ['get'], host: 'a:80', maxBody: 0.5 },
        'nonsense',
      ],
      listen: { port: 70_000 },
      trust: ['10.0.0.0/99'],
      plugins: [],
    })

    expect(Object.keys(found).sort()).toEqual(
      [
        'listen.port',
        'plugins',
        'routes[0].path',
        'routes[0].upstream',
        'routes[1].retries',
        'routes[1].retry.attempts',
        'routes[1].timeout.idle',
        'routes[1].timeout.total',
        'routes[2].host',
        'routes[2].maxBody',
        'routes[2].methods',
        'routes[2].path',
        'routes[3]',
        'trust',
      ].sort(),
    )
    expect(found['routes[1].timeout.idle']).toBe(
      'a number of milliseconds between 0 and 2147483647, or false was expected, got -1',
    )
  })

  test.each<[string, unknown, string]>([
    ['no config', undefined, 'config'],
    ['no routes', {}, 'routes'],
    ['an unknown verifier', { routes: [{ path: '/a', upstream, auth: 'users' }] }, 'routes[0].auth'],
    ['auth: true', { routes: [{ path: '/a', upstream, auth: true }] }, 'routes[0].auth'],
    ['an unknown limiter', { routes: [{ path: '/a', upstream, rateLimit: 'all' }] }, 'routes[0].rateLimit'],
    [
      'a breaker that cannot be',
      { routes: [{ path: '/a', upstream, breaker: { openDuration: -1 } }] },
      'routes[0].breaker',
    ],
    ['half a limit', { routes: [{ path: '/a', upstream, rateLimit: { limit: 1 } }] }, 'routes[0].rateLimit.window'],
    ['a service without discovery', { routes: [{ path: '/a', upstream: 'users' }] }, 'routes[0].upstream'],
    ['a rewrite with a foreign name', { routes: [{ path: '/:a', upstream, rewrite: '/:b' }] }, 'routes[0].rewrite'],
    ['a wrong default', { routes: [], defaults: { maxBody: -1 } }, 'defaults.maxBody'],
    [
      'two routes of one shape',
      {
        routes: [
          { path: '/:a', upstream, id: 'x' },
          { path: '/:b', upstream, id: 'y' },
        ],
      },
      'routes[1]',
    ],
    [
      'two routes of one id',
      {
        routes: [
          { path: '/a', upstream, id: 'x' },
          { path: '/b', upstream, id: 'x' },
        ],
      },
      'routes[1]',
    ],
    [
      'a header that is none',
      { routes: [{ path: '/a', upstream, headers: { request: { 'a b': 'c' } } }] },
      'routes[0].headers.request',
    ],
    [
      'a header value that would split',
      { routes: [{ path: '/a', upstream, headers: { response: { a: 'b\r\nc: d' } } }] },
      'routes[0].headers.response',
    ],
    [
      'an identity header that could come from outside',
      { routes: [{ path: '/a', upstream, auth: { verifier: 'v', identity: { 'x-id': 'sub' } } }] },
      'routes[0].auth.identity',
    ],
  ])('with %s is refused', (_, config, path) => {
    expect(issues(config, { verifiers: { v: () => ({}) } })).toHaveProperty([path])
  })

  const pem = { cert: '-----BEGIN ', key: '-----BEGIN ' }
  test.each<[string, unknown, string]>([
    ['a host that is no text', { routes: [{ path: '/a', upstream, host: 7 }] }, 'routes[0].host'],
    ['no breaker', { routes: [{ path: '/a', upstream, breaker: null }] }, 'routes[0].breaker'],
    ['a list as a breaker', { routes: [{ path: '/a', upstream, breaker: [] }] }, 'routes[0].breaker'],
    ['no breaker by default', { routes: [{ path: '/a', upstream }], defaults: { breaker: null } }, 'defaults.breaker'],
    ['no budget', { routes: [{ path: '/a', upstream, retry: { budget: null } }] }, 'routes[0].retry.budget'],
    ['no names of hosts', { routes: [], listen: { port: 0, tls: { ...pem, sni: null } } }, 'listen.tls.sni'],
    [
      'no certificate for a host',
      { routes: [], listen: { port: 0, tls: { ...pem, sni: { 'a.b': null } } } },
      'listen.tls.sni.a.b',
    ],
    [
      'a certificate for a host that is none',
      { routes: [], listen: { port: 0, tls: { ...pem, sni: { 'a.b': { ...pem, key: 0 } } } } },
      'listen.tls.sni.a.b.key',
    ],
  ])('with %s is refused for that alone', (_, config, path) => {
    expect(Object.keys(issues(config))).toEqual([path])
  })

  test('may give the same path to several methods', () => {
    const routes = ['GET', 'POST'].map((method) => ({ path: '/a', methods: [method], upstream }))

    expect(issues({ routes })).toEqual({})
  })

  test('merges timeouts one by one', () => {
    const defaults = { timeout: { idle: 1, headers: 2 }, upstream }

    expect(issues({ defaults, routes: [{ path: '/a', timeout: { headers: 3 } }] })).toEqual({})
  })
})
