import { type TextMapPropagator, trace } from '@opentelemetry/api'
import { describe, expect, onTestFinished, test } from 'vitest'
import type { TrustConfig } from './address.js'
import type { RouteConfig } from './config.js'
import { createGateway, type GatewayDeps } from './gateway.js'
import { type Echoed, echo, raw, serve, startTcp, startUpstream } from './internal/test-servers.js'
import { openTelemetry } from './opentelemetry.js'
import { proxy } from './proxy.js'

async function gatewayTo(route: Partial<RouteConfig>, deps?: GatewayDeps, trust: TrustConfig = false) {
  const upstream = await startUpstream(echo)
  const gateway = createGateway({ trust, routes: [{ path: '/**', upstream: upstream.url, ...route }] }, deps)
  onTestFinished(() => gateway.close({ timeout: 0 }))
  return { ...(await serve(gateway.handler)), upstream }
}

const named = ({ rawHeaders }: Echoed, name: string): string[] =>
  rawHeaders.filter((_, index) => index % 2 === 1 && rawHeaders[index - 1]!.toLowerCase() === name)

test('a rule stands in the place of what the gateway itself would say', async () => {
  const verifiers = { users: () => ({ sub: 'u1' }) }
  const request = { Host: 'inside.example', 'X-Forwarded-For': null, 'X-Real-IP': '-', 'x-user-id': 'rule' }
  const { url } = await gatewayTo({ auth: 'users', headers: { request } }, { verifiers })

  const told = (await (await fetch(url, { headers: { authorization: 'Bearer a' } })).json()) as Echoed

  expect(named(told, 'host')).toEqual(['inside.example'])
  expect(named(told, 'x-forwarded-for')).toEqual([])
  expect(named(told, 'x-real-ip')).toEqual(['-'])
  expect(named(told, 'x-user-id')).toEqual(['rule'])
})

test.each([
  'Connection',
  'transfer-encoding',
  'Content-Length',
  'Keep-Alive',
  'TE',
  'upgrade',
  'trailer',
  '+connection',
])('a rule cannot set %s: it says how a message is cut or how long a connection lasts', (name) => {
  for (const side of ['request', 'response']) {
    const route = { path: '/', upstream: 'http://a', headers: { [side]: { [name]: '1' } } }

    expect(() => createGateway({ routes: [route] })).toThrow(`routes[0].headers.${side}: `)
  }
})

test.each([{ via: null }, { '+host': 'b' }, { HOST: null }, { expect: '100-continue' }])(
  'a rule for the upstream cannot be %o',
  (request) => {
    const route = { path: '/', upstream: 'http://a', headers: { request } } as RouteConfig

    expect(() => createGateway({ routes: [route] })).toThrow('routes[0].headers.request: ')
    expect(() => proxy('http://a', { headers: { request: request as Record<string, string | null> } })).toThrow(
      'proxy: headers.request',
    )
  },
)

test('who is not trusted says nothing of where a request came from or went to, in no spelling', async () => {
  const claims = {
    X_Forwarded_For: '10.0.0.1',
    X_Real_IP: '10.0.0.1',
    'X-Forwarded-Prefix': '/admin',
    'X-Original-URL': '/admin',
    'X-Rewrite-URL': '/admin',
    X_Request_Id: 'mine',
  }
  const far = await gatewayTo({})
  const near = await gatewayTo({}, {}, ['127.0.0.1'])

  const stranger = (await (await fetch(far.url, { headers: claims })).json()) as Echoed
  const own = (await (await fetch(near.url, { headers: claims })).json()) as Echoed

  for (const name of Object.keys(claims)) expect(named(stranger, name.toLowerCase()), name).toEqual([])
  expect(named(own, 'x-forwarded-prefix')).toEqual(['/admin'])
  expect(named(own, 'x_forwarded_for')).toEqual([])
})

test('what a rule decides, no other spelling of its name decides', async () => {
  const { url } = await gatewayTo({
    headers: { request: { 'X-Tenant-Id': 'ours', 'x-secret': null, '+x-tag': 'added' } },
  })
  const claims = {
    X_Tenant_Id: 'theirs',
    'x.tenant.id': 'theirs',
    x_secret: 'known',
    'x-tag': 'own',
    x_other: 'through',
  }

  const told = (await (await fetch(url, { headers: claims })).json()) as Echoed

  expect(named(told, 'x-tenant-id')).toEqual(['ours'])
  expect(named(told, 'x-tag').join(', ')).toBe('own, added')
  expect(named(told, 'x_other')).toEqual(['through'])
  for (const name of ['x_tenant_id', 'x.tenant.id', 'x_secret']) expect(named(told, name), name).toEqual([])
})

test.each([
  'X_User_Id',
  'x.user.id',
  'X-User_Id',
  'x~user!id',
  'x.forwarded.for',
  'x+real+ip',
  'Content_Length',
  'Content.Length',
])('%s becomes a variable that is not for clients to set', async (name) => {
  const { url } = await gatewayTo({})

  const told = (await (await fetch(url, { headers: { [name]: '1' } })).json()) as Echoed

  expect(named(told, name.toLowerCase())).toEqual([])
})

describe('behind a proxy that writes only one family of headers, a client says nothing by the other', () => {
  const claims = {
    'X-Forwarded-For': '6.6.6.6',
    'X-Forwarded-Host': 'evil.example',
    'X-Forwarded-Proto': 'https',
    'X-Forwarded-Prefix': '/admin',
    'X-Original-URL': '/admin',
    X_Forwarded_For: '6.6.6.6',
  }

  test('not by X-Forwarded-* behind one that writes Forwarded', async () => {
    const { url } = await gatewayTo({}, {}, { networks: ['127.0.0.1'], headers: 'forwarded' })
    const headers = { ...claims, Forwarded: 'for=1.1.1.1;host=shop.example;proto=http' }

    const told = (await (await fetch(url, { headers })).json()) as Echoed

    expect(named(told, 'x-forwarded-for')).toEqual(['1.1.1.1, 127.0.0.1'])
    expect(named(told, 'x-forwarded-host')).toEqual(['shop.example'])
    expect(named(told, 'x-forwarded-proto')).toEqual(['http'])
    expect(named(told, 'x-real-ip')).toEqual(['1.1.1.1'])
    expect(named(told, 'forwarded')).toEqual([
      `for=1.1.1.1;host=shop.example;proto=http, for=127.0.0.1;host="${new URL(url).host}";proto=http`,
    ])
    for (const name of ['x-forwarded-prefix', 'x-original-url', 'x_forwarded_for'])
      expect(named(told, name), name).toEqual([])
  })

  test('nor where that proxy did not write any', async () => {
    const { url } = await gatewayTo({}, {}, { networks: ['127.0.0.1'], headers: 'forwarded' })

    const told = (await (await fetch(url, { headers: claims })).json()) as Echoed

    expect(named(told, 'x-forwarded-for')).toEqual(['127.0.0.1'])
    expect(named(told, 'x-forwarded-host')).toEqual([new URL(url).host])
    expect(named(told, 'x-forwarded-proto')).toEqual(['http'])
    expect(named(told, 'x-real-ip')).toEqual(['127.0.0.1'])
  })

  test.each([
    ['1.1.1.1', '1.1.1.1, 127.0.0.1', 'for=1.1.1.1, '],
    [undefined, '127.0.0.1', ''],
  ])('not by Forwarded behind one that writes X-Forwarded-For: %s', async (forwardedFor, chain, before) => {
    const { url } = await gatewayTo({}, {}, ['127.0.0.1'])
    const headers: Record<string, string> = { Forwarded: 'for=6.6.6.6;host=evil.example;proto=https' }
    if (forwardedFor !== undefined) headers['X-Forwarded-For'] = forwardedFor

    const told = (await (await fetch(url, { headers })).json()) as Echoed

    expect(named(told, 'x-forwarded-for')).toEqual([chain])
    expect(named(told, 'x-forwarded-host')).toEqual([new URL(url).host])
    expect(named(told, 'x-forwarded-proto')).toEqual(['http'])
    expect(named(told, 'forwarded')).toEqual([`${before}for=127.0.0.1;host="${new URL(url).host}";proto=http`])
  })
})

test.each([
  ['2001:db8::1', 'for="[2001:db8::1]"'],
  ['[2001:DB8::1]:4711', 'for="[2001:db8::1]:4711"'],
  ['::ffff:1.1.1.1', 'for=1.1.1.1'],
  ['1.1.1.1:4711', 'for="1.1.1.1:4711"'],
  ['unknown', 'for=unknown'],
  ['_hidden', 'for=_hidden'],
  ['"', 'for=unknown'],
  ['6.6.6.6;host=evil', 'for=unknown'],
  ['6.6.6.6, ,1.1.1.1', 'for=6.6.6.6, for=unknown, for=1.1.1.1'],
])('X-Forwarded-For: %s is %s in Forwarded', async (entry, elements) => {
  const { url } = await gatewayTo({}, {}, ['127.0.0.1'])

  const told = (await (await fetch(url, { headers: { 'x-forwarded-for': entry } })).json()) as Echoed

  expect(named(told, 'forwarded')[0]).toBe(`${elements}, for=127.0.0.1;host="${new URL(url).host}";proto=http`)
})

test.each([
  ['for="6.6.6.6, for=1.1.1.1', 'unknown, 1.1.1.1, 127.0.0.1', 'for=unknown, for=1.1.1.1'],
  ['for=6.6.6.6, proto=https', '6.6.6.6, unknown, 127.0.0.1', 'for=6.6.6.6, for=unknown;proto=https'],
  ['for=1.1.1.1;host="a\\"b";proto="x y"', '1.1.1.1, 127.0.0.1', 'for=1.1.1.1;host="a\\\\\\"b"'],
])('Forwarded: %s is written anew, hop by hop', async (forwarded, chain, elements) => {
  const { url } = await gatewayTo({}, {}, { hops: 1, headers: 'forwarded' })

  const told = (await (await fetch(url, { headers: { forwarded } })).json()) as Echoed

  expect(named(told, 'x-forwarded-for')).toEqual([chain])
  expect(named(told, 'forwarded')).toEqual([`${elements}, for=127.0.0.1;host="${new URL(url).host}";proto=http`])
})

test('a rule leaves Forwarded out', async () => {
  const { url } = await gatewayTo({ headers: { request: { Forwarded: null } } })

  expect(named((await (await fetch(url)).json()) as Echoed, 'forwarded')).toEqual([])
})

test('early hints that Node would not write are left out, and HTTP/1.0 gets none', async () => {
  const answer = (link: string) =>
    `HTTP/1.1 103 Early Hints\r\nLink: ${link}\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok`
  const links = { odd: '</a>; rel=preload; title="b c"', fine: '</a>; rel=preload' }
  const upstream = await startTcp((socket) =>
    socket.on('data', (data) => socket.write(answer(data.toString().includes(' /odd') ? links.odd : links.fine))),
  )
  const { port } = await gatewayTo({ upstream })
  const get = (path: string, version: string) =>
    raw(port, `GET ${path} HTTP/${version}\r\nHost: a\r\nConnection: close\r\n\r\n`)

  expect(await get('/odd', '1.1')).toMatch(/^HTTP\/1\.1 200 /)
  expect(await get('/fine', '1.1')).toMatch(/^HTTP\/1\.1 103 /)
  expect(await get('/fine', '1.0')).toMatch(/^HTTP\/1\.1 200 /)
})

/** One that nobody here knows the header of. */
const b3: TextMapPropagator = {
  fields: () => ['b3'],
  extract: (context) => context,
  inject: (_context, carrier, setter) => setter.set(carrier, 'b3', 'ours'),
}

test('a client takes away what came from it, never what the gateway or a rule says in its place', async () => {
  const request = { 'X-Tenant': 'rule', '+x-tag': 'rule', 'X-Gone': null }
  const { port } = await gatewayTo(
    { auth: 'users', headers: { request } },
    {
      verifiers: { users: () => ({ sub: 'u1' }) },
      telemetry: openTelemetry({ tracer: trace.getTracer('none'), propagator: b3 }),
    },
  )

  const answer = await raw(
    port,
    'GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer a\r\nX-Tenant: client\r\nX-Tag: client\r\nB3: client\r\nX-Request-Id: client\r\nX-Mine: client\r\n' +
      'Connection: close, authorization, x-tenant, x-tag, b3, x-request-id, x-user-id, via, forwarded, x-forwarded-for, x-mine\r\n\r\n',
  )
  const told = JSON.parse(/\r\n\r\n(?:[0-9a-f]+\r\n)?(\{.*\})/.exec(answer)![1]!) as Echoed

  expect(named(told, 'authorization')).toEqual(['Bearer a'])
  expect(named(told, 'x-tenant')).toEqual(['rule'])
  expect(named(told, 'x-tag')).toEqual(['rule'])
  expect(named(told, 'b3')).toEqual(['ours'])
  expect(named(told, 'x-request-id')).toEqual([/x-request-id: (\S+)/i.exec(answer)![1]])
  expect(named(told, 'x-user-id')).toEqual(['u1'])
  expect(named(told, 'via')).toHaveLength(1)
  expect(named(told, 'forwarded')).toHaveLength(1)
  expect(named(told, 'x-forwarded-for')).toEqual(['127.0.0.1'])
  expect(named(told, 'x-mine')).toEqual([])
})
