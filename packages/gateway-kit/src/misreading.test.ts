import fc from 'fast-check'
import { describe, expect, onTestFinished, test } from 'vitest'
import type { RouteConfig } from './config.js'
import { createGateway } from './gateway.js'
import { raw, serve, startUpstream } from './internal/test-servers.js'
import { createMisreading, type Protected } from './misreading.js'
import { createRouter } from './router.js'

/** Asks a gateway with a guarded part, and says what the upstream was asked for. */
async function ask(path: string, method = 'GET', more: Partial<RouteConfig> = {}): Promise<string> {
  const seen: string[] = []
  const { url: upstream } = await startUpstream((req, res) => {
    seen.push(req.url!)
    res.end('from upstream')
  })
  const gateway = createGateway(
    {
      routes: [
        { path: '/**', upstream, auth: false, ...more },
        { path: '/admin/**', upstream, auth: 'token' },
        { path: '/Reports/**', upstream, auth: 'token' },
        { path: '/caf%C3%A9', upstream, auth: 'token' },
        { path: '/login', methods: ['POST'], upstream, auth: false, rateLimit: { limit: 1, window: 60_000 } },
        { path: '/users/me', upstream, auth: 'token' },
        { path: '/users/:id', upstream, auth: 'token' },
        { path: '/open/:id', upstream, auth: false },
      ],
    },
    { verifiers: { token: () => ({ sub: 'u1' }) } },
  )
  onTestFinished(() => gateway.close({ timeout: 0 }))
  const { port } = await serve(gateway.handler)
  const answer = await raw(port, `${method} ${path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`)

  return seen[0] ?? answer.slice(9, 12)
}

describe('a path that another server may read as one of a guarded route', () => {
  test.each([
    '/Admin/secret',
    '/ADMIN',
    '/%41dmin/secret',
    '/admin;x/secret',
    '/admin;/secret',
    '/admin;jsessionid=1',
    '/admin%3Bx/secret',
    '/admin%3bx/secret',
    '/aDMin;x=1;y=2/secret;z',
    '/reports/1',
    '/REPORTS/1',
    '/caf%C3%89',
    '/CAF%C3%A9;x',
    '/public;/../admin',
    '/public/..;/admin',
    '/public/%2e%2e;/admin',
    '/public/..%3b/admin',
    '/public;/..;x/admin',
    '/;/admin',
  ])('%s: 400', async (path) => {
    expect(await ask(path)).toBe('400')
  })

  test.each([
    ['/Login', 'POST'],
    ['/login;x', 'POST'],
    // Its route takes no other method: none may get in by another spelling.
    ['/Login', 'GET'],
  ])('%s (%s), whose route has a limit and a method: 400', async (path, method) => {
    expect(await ask(path, method)).toBe('400')
  })

  test.each(['/shop/Item;colour=red', '/Shop/ABC', '/open/ABC;v=1', '/public;x/a', '/a%3Bb'])(
    '%s, which is public however it is read, is forwarded as it is written',
    async (path) => {
      expect(await ask(path)).toBe(path)
    },
  )

  test.each(['/admin/Secret;x', '/users/ME', '/users/Ada;v=1', '/Reports/A'])(
    '%s is asked for its token as the other one would be',
    async (path) => {
      expect(await ask(path)).toBe('401')
    },
  )

  test.each(['/Admin/secret', '/admin;x/secret'])(
    '%s is forwarded where the route says that its upstream reads paths exactly',
    async (path) => {
      expect(await ask(path, 'GET', { exactPath: true })).toBe(path)
    },
  )
})

test('routes that differ in nothing but their letters are told apart', () => {
  const upper = { path: '/Files', auth: false } as const
  const lower = { path: '/files', auth: 'token' }
  const mayBeMisread = createMisreading<Protected>([upper, lower])!

  expect(mayBeMisread(upper, 'GET', undefined, '/Files')).toBe(false)
})

test('nothing is asked where all routes are protected alike', () => {
  const limit = { limit: 1, window: 1_000 }

  expect(createMisreading([{ path: '/**' }, { path: '/admin' }])).toBeUndefined()
  expect(
    createMisreading([
      { path: '/**', auth: 'token', rateLimit: limit },
      { path: '/admin', auth: 'token', rateLimit: { ...limit } },
    ]),
  ).toBeUndefined()
  expect(createMisreading([])).toBeUndefined()
})

test('no path reaches by any reading what its route does not guard', () => {
  const name = fc.constantFrom('a', 'A', 'b', ':p', '*')
  const route = fc.record({
    path: fc.array(name, { minLength: 1, maxLength: 3 }).map((names) => `/${names.map(unique).join('/')}`),
    auth: fc.constantFrom<Protected['auth']>(false, 'token', 'other'),
  })
  const segment = fc.constantFrom('a', 'A', 'b', 'B', 'a;x', 'A;', 'b%3Bx', 'c')
  const path = fc.array(segment, { minLength: 1, maxLength: 3 }).map((segments) => `/${segments.join('/')}`)
  const lower = (text: string): string => text.toLowerCase()
  const strip = (text: string): string => text.replace(/(?:;|%3B)[^/]*/g, '')

  fc.assert(
    fc.property(
      fc.uniqueArray(route, { minLength: 1, maxLength: 5, selector: ({ path }) => path }),
      path,
      (some, asked) => {
        const routes: Protected[] = [...some, { path: '/**', auth: false }]
        const match = createRouter(routes).match('GET', undefined, asked)
        if (match.kind !== 'found') return
        const misread = createMisreading(routes)?.(match.route, 'GET', undefined, asked) ?? false
        if (misread) return

        // What an upstream has under a path is what the routes say of it.
        for (const read of [strip, lower, (text: string) => lower(strip(text))]) {
          const spelt = read === strip ? routes : routes.map((one) => ({ ...one, path: lower(one.path), one }))
          const found = spelt.filter((one) => naive(one.path, read(asked)))
          const guards = new Set(mostSpecific(found).map(({ auth }) => auth))
          const allowed = guards.has(false) || guards.has(match.route.auth)
          expect(allowed, `${asked} as ${read(asked)}`).toBe(true)
        }
      },
    ),
    { numRuns: 3_000 },
  )
})

/** Two parameters of one path need two names. */
const unique = (name: string, index: number): string => (name === ':p' ? `:p${index}` : name)

function naive(pattern: string, path: string): boolean {
  if (pattern === '/**') return true

  const [want, got] = [pattern.split('/'), path.split('/')]
  return want.length === got.length && want.every((one, index) => one === got[index] || /^[:*]/.test(one))
}

function mostSpecific<R extends { path: string }>(routes: readonly R[]): R[] {
  const rank = (path: string): string =>
    path.replace(/[^/]+/g, (one) => (one === '**' ? '3' : one === '*' ? '2' : one.startsWith(':') ? '1' : '0'))
  const best = [...routes].sort((one, other) => (rank(one.path) < rank(other.path) ? -1 : 1))[0]

  return best === undefined ? [] : routes.filter(({ path }) => rank(path) === rank(best.path))
}
