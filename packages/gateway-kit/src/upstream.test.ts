import { expect, test } from 'vitest'
import { createGateway } from './gateway.js'
import { type Echoed, echo, serve, startTcp, startUpstream } from './internal/test-servers.js'
import { fromTargets, type Pick } from './upstream.js'

const [a, b, c] = ['http://a:1', 'http://b:2/base/', 'http://c:3']

function picks(count: number, targets: Parameters<typeof fromTargets>[0], exclude?: ReadonlySet<string>): string[] {
  const upstream = fromTargets(targets)

  return Array.from({ length: count }, () => (upstream.pick(exclude) as Pick).origin.slice(7, 8))
}

test('targets get their shares, smoothly', () => {
  expect(picks(8, [{ url: a, weight: 3 }, { url: b }]).join('')).toBe('aabaaaba')
  expect(picks(6, [{ url: a }, { url: b }, { url: c }]).join('')).toBe('abcabc')
  expect(
    picks(4, [
      { url: a, weight: 0 },
      { url: b, weight: 0.5 },
    ]).join(''),
  ).toBe('bbbb')
})

test('one that was tried is not asked again, unless all were', () => {
  expect(picks(3, [{ url: a, weight: 100 }, { url: b }], new Set([a])).join('')).toBe('bbb')
  expect(picks(2, [{ url: a }, { url: b }], new Set([a, b])).join('')).toBe('ab')
})

test('a request that could not be sent to one target goes to another, with its Host and its base path', async () => {
  const dead = await startTcp((socket) => socket.destroy())
  const alive = await startUpstream(echo)
  const gateway = createGateway({
    routes: [{ path: '/**', upstream: 'pair', retry: { attempts: 2, backoff: () => 0 } }],
    upstreams: { pair: { targets: [{ url: dead, weight: 100 }, { url: `${alive.url}/base` }] } },
  })
  const { url } = await serve(gateway.handler)

  const seen = (await (await fetch(`${url}/a?b`)).json()) as Echoed

  expect(seen).toMatchObject({ url: '/base/a?b', headers: { host: `127.0.0.1:${alive.port}` } })
})

test.each([
  [{ pair: { targets: [] } }, /upstreams\.pair\.targets: a non-empty list/],
  [{ pair: { targets: [{ url: 'service' }] } }, /upstreams\.pair\.targets\[0\]\.url/],
  [{ pair: { targets: [{ url: a, weight: -1 }] } }, /targets\[0\]\.weight/],
  [{ pair: { targets: [{ url: a, weight: 0 }] } }, /no weight/],
  [{ 'a b': { targets: [{ url: a }] } }, /upstreams\.a b: is no name/],
  [{ pair: { target: [] } }, /upstreams\.pair\.target: is not an option/],
])('upstreams %j are refused', (upstreams, message) => {
  expect(() => createGateway({ routes: [], upstreams: upstreams as never })).toThrow(message)
})
