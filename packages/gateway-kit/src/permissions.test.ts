import { describe, expect, test } from 'vitest'
import { apiKeys, hashApiKey } from './api-keys.js'
import { type AuthenticateOptions, authenticate, authOf } from './authenticate.js'
import type { Claims } from './claims.js'
import { createGateway } from './gateway.js'
import { type Echoed, echo, raw, serve, startUpstream } from './internal/test-servers.js'
import { compose } from './middleware.js'
import { proxy } from './proxy.js'

const bearer = { headers: { authorization: 'Bearer t' } }

async function ask(claims: Claims, options: Omit<AuthenticateOptions, 'verify'>): Promise<Response> {
  const guard = authenticate({ ...options, verify: () => claims })
  const { url } = await serve((req, res, next) => guard(req, res, (error) => (error ? next(error) : res.end('in'))))

  return fetch(url, bearer)
}

describe('scopes and roles', () => {
  test.each<[Claims, Omit<AuthenticateOptions, 'verify'>, number]>([
    [{ scope: 'a b' }, { scopes: ['b', 'a'] }, 200],
    [{ scope: 'a b' }, { scopes: ['a', 'c'] }, 403],
    [{ scope: 'ab' }, { scopes: ['a'] }, 403],
    [{ scp: ['a', 'b'] }, { scopes: ['a'] }, 200],
    [{ scp: 'a b' }, { scopes: ['b'] }, 200],
    [{}, { scopes: ['a'] }, 403],
    [{ scope: { a: true } }, { scopes: ['a'] }, 403],
    [{ roles: ['clerk', 'admin'] }, { roles: ['admin', 'owner'] }, 200],
    [{ role: 'admin' }, { roles: ['admin'] }, 200],
    [{ role: 'admin clerk' }, { roles: ['admin'] }, 403],
    [{ roles: ['clerk'] }, { roles: ['admin'] }, 403],
    [{ roles: ['admin'] }, { roles: ['admin'], scopes: ['a'] }, 403],
    [Object.create({ roles: ['admin'] }) as Claims, { roles: ['admin'] }, 403],
  ])('%j with %j is a %d', async (claims, options, status) => {
    expect((await ask(claims, options)).status).toBe(status)
  })

  test('a 403 says which scopes it would take', async () => {
    const response = await ask({ scope: 'a' }, { scopes: ['orders:read', 'orders:write'] })

    expect(response.headers.get('www-authenticate')).toBe(
      'Bearer error="insufficient_scope", scope="orders:read orders:write"',
    )
    expect(response.headers.get('content-type')).toBe('application/problem+json')
  })

  test('are said by route, and checked with the config', async () => {
    const upstream = await startUpstream(echo)
    const verifiers = { users: (token: string) => ({ sub: token, roles: [token] }) }
    const gateway = createGateway(
      {
        defaults: { upstream: upstream.url, auth: 'users' },
        routes: [{ path: '/all' } as never, { path: '/admin', auth: { verifier: 'users', roles: ['admin'] } } as never],
      },
      { verifiers },
    )
    const { url } = await serve(gateway.handler)
    const as = async (who: string, path: string) =>
      (await fetch(url + path, { headers: { authorization: `Bearer ${who}` } })).status

    expect([await as('clerk', '/all'), await as('clerk', '/admin'), await as('admin', '/admin')]).toEqual([
      200, 403, 200,
    ])
    expect(() =>
      createGateway(
        { routes: [{ path: '/', upstream: upstream.url, auth: { verifier: 'users', scopes: ['a b'], roles: [] } }] },
        { verifiers },
      ),
    ).toThrow(/routes\[0\]\.auth\.scopes: .*\n {2}routes\[0\]\.auth\.roles: /)
    await gateway.close()
  })
})

describe('apiKeys', () => {
  const key = 'k-4c1f0b7e9d2a46c58f3e'
  const verify = apiKeys({ keys: { [hashApiKey(key)]: { sub: 'partner-1', scope: 'orders:read' } } })

  test('knows whose a key is, from its header', async () => {
    const upstream = await startUpstream(echo)
    const gateway = createGateway(
      { routes: [{ path: '/**', upstream: upstream.url, auth: { verifier: 'partners', scopes: ['orders:read'] } }] },
      { verifiers: { partners: verify } },
    )
    const { url } = await serve(gateway.handler)

    const response = await fetch(`${url}/a`, { headers: { 'x-api-key': key, 'x-user-id': 'root' } })
    const none = await fetch(`${url}/a`, { headers: { authorization: `Bearer ${key}` } })
    const wrong = await fetch(`${url}/a`, { headers: { 'x-api-key': `${key}x` } })
    const twice = await fetch(`${url}/a`, {
      headers: [
        ['x-api-key', key],
        ['x-api-key', key],
      ],
    })

    expect(((await response.json()) as Echoed).headers['x-user-id']).toBe('partner-1')
    expect([none.status, wrong.status, twice.status]).toEqual([401, 401, 401])
    expect(await none.json()).toMatchObject({ detail: 'The header x-api-key is required.' })
    await gateway.close()
  })

  test('keeps no key, and gives nobody a handle on what it keeps', () => {
    expect(hashApiKey(key)).toMatch(/^sha256:[0-9a-f]{64}$/)
    expect(() => verify(hashApiKey(key), {} as never)).toThrow('not known')
    expect(() => verify('__proto__', {} as never)).toThrow('not known')
    expect(Object.isFrozen(verify(key, {} as never))).toBe(true)
  })

  test('whoever handles one request gives nothing to those that come with the same key', () => {
    const roles = ['clerk']
    const claimsOf = apiKeys({ keys: { [hashApiKey(key)]: { roles } } })
    const claims = claimsOf(key, {} as never) as { roles: string[] }

    expect(() => claims.roles.push('admin')).toThrow(TypeError)
    roles.push('owner')
    expect(claimsOf(key, {} as never)).toEqual({ roles: ['clerk'] })
  })

  test('claims may name themselves', () => {
    const claims: Record<string, unknown> = { sub: 'p' }
    claims['all'] = claims

    expect(apiKeys({ keys: { [hashApiKey(key)]: claims } })(key, {} as never)).toMatchObject({ all: { sub: 'p' } })
  })

  test('takes a key as a bearer token where it is told so', async () => {
    const guard = authenticate({
      verify: apiKeys({ keys: { [hashApiKey(key)]: { sub: 'p' } }, header: 'Authorization' }),
    })
    const { url } = await serve((req, res, next) => guard(req, res, (e) => (e ? next(e) : res.end(authOf(req)?.sub))))

    expect(await (await fetch(url, { headers: { authorization: `Bearer ${key}` } })).text()).toBe('p')
  })

  test.each([
    [{ keys: { [key]: {} } }, 'hashApiKey()'],
    [{ keys: [] }, 'keys must be'],
    [{ keys: key }, 'keys must be an object'],
    [{ keys: { [hashApiKey(key)]: key } }, 'claims of a key'],
    [
      { keys: { [hashApiKey(key)]: {}, [hashApiKey(key).replace(/[a-f]/g, (one) => one.toUpperCase())]: {} } },
      'each once',
    ],
    [{ keys: {}, header: 'a b' }, 'header must be'],
  ])('refuses %j', (options, message) => {
    expect(() => apiKeys(options as never)).toThrow(message)
    expect(() => apiKeys(options as never)).not.toThrow(key)
  })

  test.each([
    ['that could be guessed', 'secret'],
    ['that no header could carry', `${key}-ключ`],
    ['with the end of the line it was read from', `${key}\n`],
    ['with a blank in front', ` ${key}`],
  ])('a key %s is not hashed', (_, text) => {
    expect(() => hashApiKey(text)).toThrow('at least 16 characters')
    expect(() => hashApiKey(text)).not.toThrow(text)
  })

  test('a client cannot have its key taken away before the upstream reads it', async () => {
    const upstream = await startUpstream(echo)
    const gateway = createGateway(
      { routes: [{ path: '/**', upstream: upstream.url, auth: 'partners' }] },
      { verifiers: { partners: verify } },
    )
    const { port } = await serve(gateway.handler)

    const answer = await raw(
      port,
      `GET /a HTTP/1.1\r\nHost: a\r\nX-API-Key: ${key}\r\nConnection: close, x-api-key\r\n\r\n`,
    )

    expect(answer).toContain(`"x-api-key":"${key}"`)
    await gateway.close()
  })

  test('nor a key in a header of its own, not even where the request has two', async () => {
    const { url } = await startUpstream(echo)
    const keyIn = (header: string) => apiKeys({ keys: { [hashApiKey(key)]: { sub: header } }, header })
    const { port } = await serve(
      compose(
        authenticate({ verify: keyIn('X-Partner-Key') }),
        authenticate({ verify: keyIn('X-Shop-Key') }),
        proxy(url),
      ),
    )

    const answer = await raw(
      port,
      `GET /a HTTP/1.1\r\nHost: a\r\nX-Partner-Key: ${key}\r\nX-Shop-Key: ${key}\r\nX-Mine: 1\r\nConnection: close, X-Partner-Key, x-shop-key , x-mine\r\n\r\n`,
    )

    expect(answer).toContain(`"x-partner-key":"${key}"`)
    expect(answer).toContain(`"x-shop-key":"${key}"`)
    expect(answer).not.toContain('"x-mine"')
  })
})
