import { describe, expect, test } from 'vitest'
import { createGateway } from './gateway.js'
import { raw, serve, startUpstream } from './internal/test-servers.js'

async function gatewayPort(): Promise<{ port: number; seen: string[] }> {
  const seen: string[] = []
  const upstream = await startUpstream((req, res) => {
    seen.push(req.url!)
    res.end('from upstream')
  })
  const gateway = createGateway({ routes: [{ path: '/**', upstream: upstream.url }] })
  const { port } = await serve(gateway.handler)

  return { port, seen }
}

const get = (target: string, ...headers: string[]) =>
  `GET ${target} HTTP/1.1\r\n${['Host: shop.example', ...headers].join('\r\n')}\r\n\r\n`

describe('what never reaches a route', () => {
  test.each([
    ['two Host headers', get('/', 'Host: other.example')],
    ['two equal Host headers', get('/', 'host: shop.example')],
    ['a Host header that is none', 'GET / HTTP/1.1\r\nHost: a/../b\r\n\r\n'],
    ['two Authorization headers', get('/', 'Authorization: Bearer a', 'Authorization: Bearer b')],
    ['an odd Transfer-Encoding', `POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n`],
    [
      'Transfer-Encoding twice',
      `POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
    ],
    [
      'Transfer-Encoding and Content-Length',
      `POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
    ],
    ['Transfer-Encoding in HTTP/1.0', `POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`],
    ['a target in absolute form', get('http://shop.example/')],
    ['a target that looks like an authority', get('//evil.example/')],
    ['an empty segment', get('/a//b')],
    ['a dot segment', get('/a/../b')],
    ['an encoded dot segment', get('/a/%2e%2e/b')],
    ['an encoded slash', get('/a%2fb')],
    ['an encoded backslash', get('/a%5cb')],
    ['a backslash', get('/a\\b')],
    ['an encoded NUL', get('/a%00')],
    ['a malformed encoding', get('/a%zz')],
    ['a target without a path', get('*')],
    ['a version that is not spoken here', 'GET / HTTP/2.0\r\nHost: a\r\n\r\n'],
    ['a version of old', 'GET / HTTP/0.9\r\nHost: a\r\n\r\n'],
  ])('%s: 400, and the connection is closed', async (_, request) => {
    const { port, seen } = await gatewayPort()

    const answer = await raw(port, request)

    expect(answer).toMatch(/^HTTP\/1\.1 400 /)
    expect(answer.match(/HTTP\/1\.1/g)).toHaveLength(1)
    expect(seen).toEqual([])
  })

  test.each(['TRACE', 'CONNECT'])('%s: 405, with what is allowed', async (method) => {
    const { seen } = await gatewayPort()
    const gateway = createGateway({ routes: [] })
    const server = await gateway.listen(0, '127.0.0.1')
    const { port } = server.address() as { port: number }

    const answer = await raw(
      port,
      `${method} ${method === 'CONNECT' ? 'evil.example:443' : '/'} HTTP/1.1\r\nHost: a\r\n\r\n`,
    )
    await gateway.close()

    expect(answer).toMatch(/^HTTP\/1\.1 405 /)
    expect(answer).toMatch(/\r\nallow: .*GET/i)
    expect(seen).toEqual([])
  })

  test('a problem document tells why', async () => {
    const { port } = await gatewayPort()

    const [head, body] = (await raw(port, get('//x'))).split('\r\n\r\n')

    expect(head).toMatch(/content-type: application\/problem\+json/i)
    expect(head).toMatch(/connection: close/i)
    expect(JSON.parse(body!)).toMatchObject({
      status: 400,
      title: 'Bad Request',
      detail: 'The path has an empty segment.',
    })
  })
})

test('a request after a refused one on the same connection is not read', async () => {
  const { port, seen } = await gatewayPort()

  await raw(port, get('/a//b') + get('/smuggled'))

  expect(seen).toEqual([])
})

test('what is routed is what is forwarded', async () => {
  const { port, seen } = await gatewayPort()

  await raw(port, get('/%61dm%69n?q=%61', 'Connection: close'))

  expect(seen).toEqual(['/admin?q=%61'])
})

describe('what never becomes a request', () => {
  const lines = (count: number) => Array.from({ length: count }, (_, index) => `X-${index}: ${'a'.repeat(1_000)}`)

  test.each([
    ['bytes of another protocol', '\x16\x03\x01\x02\x00\x01', 400],
    ['a bare LF', 'GET / HTTP/1.1\nHost: a\n\n', 400],
    ['an obsolete line fold', 'GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n 2\r\n\r\n', 400],
    ['more headers than fit', get('/', ...lines(40)), 431],
  ])('%s: a problem document, and the connection is closed', async (_, request, status) => {
    const gateway = createGateway({ routes: [] })
    const server = await gateway.listen(0, '127.0.0.1')

    const answer = await raw((server.address() as { port: number }).port, request)
    await gateway.close()

    const [head, body] = answer.split('\r\n\r\n')
    expect(head).toMatch(new RegExp(`^HTTP/1\\.1 ${status} `))
    expect(head).toMatch(/connection: close/i)
    expect(head).toMatch(/content-type: application\/problem\+json/i)
    expect(JSON.parse(body!)).toMatchObject({ status })
  })
})
