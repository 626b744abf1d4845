import { execFile } from 'node:child_process'
import { generateKeyPairSync } from 'node:crypto'
import { once } from 'node:events'
import { readFile, writeFile } from 'node:fs/promises'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { createEdges } from '@shop/platform'
import { afterEach, describe, expect, test } from 'vitest'
import { z } from 'zod'
import { kongConfig } from './kong.js'
import { routeTable, upstreams } from './routes.js'

const folder = fileURLToPath(new URL('../../../deploy/kong/config/', import.meta.url))
const behind = [...upstreams, 'payment-service']
const services = Object.fromEntries(behind.map((name) => [name, `http://${name}:3000`]))
const differences: string[] = []
const options = {
  services,
  rateLimit: 100,
  signInLimit: 10,
  onDifference: ({ path, message }: { path: string; message: string }) => void differences.push(`${path} ${message}`),
}
const table = routeTable(createEdges())
const config = kongConfig(table, options)

// Kong's declarative format, as far as it is used here; no checker for it is to be had without Kong.
const plugin = z.strictObject({ name: z.string(), config: z.record(z.string(), z.unknown()) })
const milliseconds = z
  .int()
  .min(1)
  .max(2 ** 31 - 2)
const route = z.strictObject({
  name: z.string().regex(/^[\w.~-]+$/),
  methods: z.array(z.string().regex(/^[A-Z]+$/)).min(1),
  paths: z.array(z.string().regex(/^(\/|~\/)/)).min(1),
  regex_priority: z.int(),
  path_handling: z.enum(['v0', 'v1']),
  strip_path: z.boolean(),
  preserve_host: z.boolean(),
  plugins: z.array(plugin),
})
const count = z.int().min(1).max(255)
const upstream = z.strictObject({
  name: z.string().regex(/^[\w.~-]+$/),
  host_header: z.string(),
  targets: z.array(z.strictObject({ target: z.string().regex(/^[\w.-]+:\d+$/), weight: z.int().min(0).max(65_535) })),
  healthchecks: z.strictObject({
    passive: z.strictObject({
      type: z.literal('http'),
      healthy: z.strictObject({ successes: count }),
      unhealthy: z.strictObject({
        http_statuses: z.array(z.int().min(100).max(999)),
        http_failures: count,
        tcp_failures: count,
        timeouts: count,
      }),
    }),
    active: z.strictObject({
      type: z.literal('tcp'),
      healthy: z.strictObject({ interval: z.literal(0), successes: count }),
      unhealthy: z.strictObject({ interval: z.int().min(1) }),
    }),
  }),
})
const format = z.strictObject({
  _format_version: z.enum(['2.1', '3.0']),
  _transform: z.boolean(),
  services: z.array(
    z.strictObject({
      name: z.string().regex(/^[\w.~-]+$/),
      url: z.url(),
      connect_timeout: milliseconds,
      read_timeout: milliseconds,
      write_timeout: milliseconds,
      retries: z.int().min(0).max(32_767),
      routes: z.array(route),
    }),
  ),
  upstreams: z.array(upstream),
  plugins: z.array(plugin),
})

const routesOf = (kong: typeof config) => kong.services.flatMap((service) => service.routes)

describe('Kong’s config', () => {
  test('is of the form that Kong reads, and the one that is deployed', async () => {
    expect(format.parse(config)).toEqual(config)
    const file = `${folder}kong.json`
    // `UPDATE_KONG=1` writes it after a change of the routes.
    if (process.env['UPDATE_KONG'] === '1') await writeFile(file, `${JSON.stringify(config, null, 2)}\n`)
    expect(JSON.parse(await readFile(file, 'utf8'))).toEqual(config)
  })

  test('has each route of our gateway, to the same service, and with a token where ours wants one', () => {
    const routes = routesOf(config)

    expect(routes.map(({ name }) => name).sort()).toEqual(table.routes.map(({ id }) => id).sort())
    for (const { id, auth, methods, rateLimit, upstream } of table.routes) {
      const found = routes.find(({ name }) => name === id)
      const service = config.services.find(({ routes }) => routes.some(({ name }) => name === id))
      expect(service?.name).toMatch(new RegExp(`^${upstream}`))
      expect(found?.methods).toEqual(expect.arrayContaining([...(methods ?? [])]))
      expect(found?.plugins.some(({ name }) => name === 'jwt')).toBe(auth !== false)
      expect(found?.plugins.some(({ name }) => name === 'rate-limiting')).toBe(rateLimit === 'sign-in')
    }
  })

  test('has a breaker for each service, and none is left out', () => {
    const places = (config.upstreams ?? []).flatMap(({ targets }) => targets.map(({ target }) => target))

    expect(places.sort()).toEqual(behind.map((name) => `${name}:3000`).sort())
    for (const { url } of config.services) {
      expect(config.upstreams?.map(({ name }) => `http://${name}`)).toContain(url)
    }
    expect(differences.filter((text) => text.includes('breaker is left out'))).toEqual([])
  })

  test.each([
    ['GET', '/api/products', 'products'],
    ['GET', '/api/products/espresso-cup', 'product'],
    ['GET', '/api/orders/1/saga', 'order-saga'],
    ['POST', '/api/orders/1/cancel', 'cancel-order'],
    ['POST', '/api/payments', 'pay'],
    ['GET', '/internal/users/1', undefined],
    ['GET', '/api/products/1/2', undefined],
    ['GET', '/x/api/products', undefined],
  ])('%s %s goes to %s', (method, path, name) => {
    const matching = routesOf(config).filter(
      ({ methods, paths }) =>
        methods?.includes(method) === true && paths.some((one) => new RegExp(`^${one.slice(1)}`).test(path)),
    )

    expect(matching.map((one) => one.name)).toEqual(name === undefined ? [] : [name])
  })

  test('believes no client who it says it is', () => {
    for (const { plugins } of routesOf(config)) {
      expect(plugins).toContainEqual({ name: 'request-transformer', config: { remove: { headers: ['x-user-id'] } } })
    }
  })
})

describe('the keys that Kong checks tokens with', () => {
  let server: Server
  afterEach(() => void server.close())

  /** Kong's admin API and user-service, as far as the script asks them. */
  async function world(known: { id: string; key: string }[]) {
    const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
    const asked: { method: string; path: string; body: unknown }[] = []
    server = createServer(async (req, res) => {
      let text = ''
      for await (const chunk of req) text += chunk
      const path = req.url ?? ''
      if (req.method !== 'GET') asked.push({ method: req.method ?? '', path, body: text && JSON.parse(text) })
      if (req.method === 'DELETE') return void res.writeHead(204).end()
      const body =
        path === '/jwks' ? { keys: [{ ...publicKey.export({ format: 'jwk' }), kid: 'new' }] } : { data: known }
      res.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(body))
    })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
    const pem = publicKey.export({ type: 'spki', format: 'pem' }).toString()
    const run = (env: Record<string, string>) =>
      promisify(execFile)(process.execPath, [`${folder}keys.mjs`], {
        env: { ...process.env, KONG_ADMIN_URL: url, JWKS_URL: `${url}/jwks`, ...env },
      })
    return { asked, pem, run }
  }

  test('come from user-service: new ones are told, old ones forgotten', async () => {
    const { asked, pem, run } = await world([{ id: '7', key: 'old' }])

    await run({})

    expect(asked).toEqual([
      { method: 'PUT', path: '/consumers/shop-customers', body: { username: 'shop-customers' } },
      {
        method: 'POST',
        path: '/consumers/shop-customers/jwt',
        body: { key: 'new', algorithm: 'ES256', rsa_public_key: pem },
      },
      { method: 'DELETE', path: '/consumers/shop-customers/jwt/7', body: '' },
    ])
  })

  test('are sent with the whole config where there is no database', async () => {
    const { asked, pem, run } = await world([])

    await run({ KONG_DATABASE: 'off', KONG_CONFIG: `${folder}kong.json` })

    expect(asked).toMatchObject([
      {
        method: 'POST',
        path: '/config?check_hash=1',
        body: { services: expect.any(Array), consumers: [{ jwt_secrets: [{ key: 'new', rsa_public_key: pem }] }] },
      },
    ])
  })
})
