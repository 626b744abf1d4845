import { describe, expect, test } from 'vitest'
import { createRouter, hostName } from './router.js'

const found = (route: unknown) => ({ kind: 'found', route })

describe('createRouter', () => {
  test.each([
    ['/users/me', '/users/me'],
    ['/users/7', '/users/:id'],
    ['/users', '/users'],
    ['/users/', '/users'],
    ['/users/7/orders', '/users/*/orders'],
    ['/users/7/orders/1', '/users/**'],
    ['/anything', '/**'],
    ['/', '/**'],
  ])('%s is taken by %s', (asked, path) => {
    const paths = ['/**', '/users', '/users/:id', '/users/me', '/users/*/orders', '/users/**']
    const router = createRouter(paths.map((one) => ({ path: one })))

    expect(router.match('GET', undefined, asked)).toMatchObject(found({ path }))
  })

  test('goes back to a wider segment when a narrower one leads nowhere', () => {
    const router = createRouter([{ path: '/a/b/c' }, { path: '/:x/b/d' }])

    expect(router.match('GET', undefined, '/a/b/d')).toEqual(found({ path: '/:x/b/d' }))
  })

  test('answers what a path could be asked instead', () => {
    const router = createRouter([
      { path: '/orders', methods: ['GET'] },
      { path: '/orders', methods: ['POST'] },
      { path: '/**' },
    ])

    expect(router.match('DELETE', undefined, '/orders')).toEqual({ kind: 'method', allow: ['GET', 'HEAD', 'POST'] })
  })

  test('takes HEAD where GET is taken', () => {
    const route = { path: '/orders', methods: ['GET'] }

    expect(createRouter([route]).match('HEAD', undefined, '/orders')).toEqual(found(route))
  })

  test('prefers an exact host to a wildcard, the longer wildcard to the shorter, and any of them to none', () => {
    const routes = [undefined, '*.example', '*.shop.example', 'api.shop.example'].map((host) => ({ path: '/', host }))
    const router = createRouter(routes)
    const host = (name: string | undefined) =>
      (router.match('GET', name, '/') as { route: { host: unknown } }).route.host

    expect(host('API.shop.example:8080')).toBe('api.shop.example')
    expect(host('www.shop.example')).toBe('*.shop.example')
    expect(host('shop.example')).toBe('*.example')
    expect(host('example')).toBeUndefined()
    expect(host(undefined)).toBeUndefined()
  })

  test('matches what a segment means, so that another spelling does not get around a route', () => {
    const guarded = { path: '/@admin' }
    const router = createRouter([guarded, { path: '/**' }])

    expect(router.match('GET', undefined, '/%40admin')).toEqual(found(guarded))
  })

  test('finds nothing where there is nothing', () => {
    expect(createRouter([{ path: '/a' }]).match('GET', undefined, '/b')).toEqual({ kind: 'none' })
  })
})

test.each([
  ['Shop.Example.', 'shop.example'],
  ['shop.example:80', 'shop.example'],
  ['[::1]:80', '[::1]'],
])('the name of host %s is %s', (host, name) => {
  expect(hostName(host)).toBe(name)
})
