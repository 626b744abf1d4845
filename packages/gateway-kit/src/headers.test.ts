import { expect, onTestFinished, test } from 'vitest'
import type { RouteConfig } from './config.js'
import { createGateway, type GatewayDeps } from './gateway.js'
import { type Echoed, echo, raw, serve, startTcp, startUpstream } from './internal/test-servers.js'
import { proxy } from './proxy.js'

async function gatewayTo(route: Partial<RouteConfig>, deps?: GatewayDeps, trust: readonly string[] | false = false) {
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
