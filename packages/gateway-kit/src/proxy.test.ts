import { request } from 'node:http'
import { Agent } from 'undici'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import type { ProxyError } from './errors.js'
import { type Echoed, echo, raw, serve, startTcp, startUpstream } from './internal/test-servers.js'
import type { Middleware } from './middleware.js'
import { type ProxyOptions, proxy } from './proxy.js'

async function front(target: string, options?: ProxyOptions): Promise<{ url: string; port: number }> {
  return serve(proxy(target, options))
}

async function echoThrough(options: ProxyOptions, path: string, init?: RequestInit): Promise<Echoed> {
  const upstream = await startUpstream(echo)
  const { url } = await front(upstream.url, options)

  return (await (await fetch(url + path, init)).json()) as Echoed
}

describe('what the upstream sees', () => {
  test.each(['//b', '/a/../b', '/%2e%2e/b', 'b', '/a b', '/a#b'])(
    'no path that the gateway would not have taken, such as %s of a rewrite',
    async (path) => {
      let asked = 0
      const upstream = await startUpstream((_req, res) => {
        asked += 1
        res.end()
      })
      const warned = vi.spyOn(process, 'emitWarning').mockImplementation(() => {})
      onTestFinished(() => warned.mockRestore())
      const { url } = await front(upstream.url, { rewrite: () => path })

      expect((await fetch(`${url}/a`)).status).toBe(500)
      expect(asked).toBe(0)
      expect(String(warned.mock.calls[0]?.[0])).toContain('the rewrite gave')
    },
  )

  test.each(['GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'PROPFIND'])('%s with its body', async (method) => {
    const body = method === 'GET' ? null : 'some text'

    expect(await echoThrough({}, '/a/b?c=d', { method, body })).toMatchObject({
      method,
      url: '/a/b?c=d',
      body: body ?? '',
    })
  })

  test('a GET with a body keeps it: framing decides, not the method', async () => {
    const upstream = await startUpstream(echo)
    const { port } = await front(upstream.url)

    const answer = await raw(port, 'GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbody')

    expect(answer).toContain('"body":"body"')
  })

  test('no header that concerns one connection, nor one that Connection names', async () => {
    const upstream = await startUpstream(echo)
    const { port } = await front(upstream.url)

    const answer = await raw(
      port,
      [
        'GET / HTTP/1.1',
        'Host: shop.example',
        'Connection: close, X-Private, X-Real-IP, Authorization',
        'Authorization: Bearer kept',
        'X-Private: gone',
        'Keep-Alive: timeout=5',
        'Proxy-Connection: keep-alive',
        'Proxy-Authorization: Basic secret',
        'TE: trailers',
        'Upgrade: h2c',
        'HTTP2-Settings: AAMAAABkAAQAAP__',
        'Expect: 100-continue',
        '\r\n',
      ].join('\r\n'),
    )
    const { headers } = JSON.parse(answer.slice(answer.lastIndexOf('\r\n\r\n'))) as Echoed

    expect(Object.keys(headers).sort()).toEqual(
      [
        'authorization',
        'connection',
        'forwarded',
        'host',
        'via',
        'x-forwarded-for',
        'x-forwarded-host',
        'x-forwarded-proto',
        'x-real-ip',
      ].sort(),
    )
    expect(headers).toMatchObject({ authorization: 'Bearer kept', 'x-real-ip': '127.0.0.1' })
  })

  test('its own Host, and the asked one in X-Forwarded-Host', async () => {
    const upstream = await startUpstream(echo)
    const { url } = await front(upstream.url)
    const { headers } = (await (await fetch(url)).json()) as Echoed

    expect(headers).toMatchObject({ host: `127.0.0.1:${upstream.port}`, 'x-forwarded-host': new URL(url).host })
  })

  test('the Host of the client with preserveHost', async () => {
    const { headers } = await echoThrough({ preserveHost: true }, '/')

    expect(headers['host']).toBe(headers['x-forwarded-host'])
  })

  test('nothing that an unknown peer claims about where the request came from', async () => {
    const headers = {
      'x-forwarded-for': '6.6.6.6',
      'x-forwarded-proto': 'https',
      forwarded: 'for=6.6.6.6',
      'x-real-ip': '6.6.6.6',
    }
    const seen = (await echoThrough({}, '/', { headers })).headers

    expect(seen).toMatchObject({
      'x-forwarded-for': '127.0.0.1',
      'x-forwarded-proto': 'http',
      'x-real-ip': '127.0.0.1',
      forwarded: expect.stringMatching(/^for=127\.0\.0\.1;host="127\.0\.0\.1:\d+";proto=http$/),
    })
  })

  test('what a trusted peer says, with the peer added', async () => {
    const headers = { 'x-forwarded-for': '6.6.6.6', 'x-forwarded-proto': 'https', 'x-forwarded-host': 'shop.example' }
    const seen = (await echoThrough({ trust: ['127.0.0.1'] }, '/', { headers })).headers

    expect(seen).toMatchObject({ ...headers, 'x-forwarded-for': '6.6.6.6, 127.0.0.1', 'x-real-ip': '6.6.6.6' })
    expect(seen['forwarded']).toMatch(
      /^for=6\.6\.6\.6;host=shop\.example;proto=https, for=127\.0\.0\.1;host="127\.0\.0\.1:\d+";proto=http$/,
    )
  })

  test('what a trusted peer says by Forwarded, in the words that upstreams know', async () => {
    const headers = { forwarded: 'for=6.6.6.6;proto=http;host=a, for="[2001:db8::1]";proto=https;host=shop.example' }
    const trust = { networks: ['127.0.0.1'], headers: 'forwarded' } as const
    const seen = (await echoThrough({ trust }, '/', { headers })).headers

    expect(seen).toMatchObject({
      'x-forwarded-for': '6.6.6.6, 2001:db8::1, 127.0.0.1',
      'x-forwarded-proto': 'https',
      'x-forwarded-host': 'shop.example',
      'x-real-ip': '2001:db8::1',
      forwarded: expect.stringMatching(
        /^for=6\.6\.6\.6;host=a;proto=http, for="\[2001:db8::1\]";host=shop\.example;proto=https, for=127\.0\.0\.1;host="127\.0\.0\.1:\d+";proto=http$/,
      ),
    })
  })

  test('no identity that comes from outside, however it is spelled', async () => {
    const headers = { 'x-user-id': 'admin', 'X-User-Roles': 'root', x_user_id: 'admin', 'x-user_id': 'admin' }
    const seen = (await echoThrough({}, '/', { headers })).headers

    expect(Object.keys(seen).filter((name) => /user/.test(name))).toEqual(['user-agent'])
  })

  test('the headers its route sets, and not those it removes', async () => {
    const rules = { request: { 'X-Shop': 'yes', Cookie: null } }
    const seen = (await echoThrough({ headers: rules }, '/', { headers: { cookie: 'a=b', 'x-shop': 'no' } })).headers

    expect(seen['x-shop']).toBe('yes')
    expect(seen).not.toHaveProperty('cookie')
  })

  test('the base path of its URL before the path', async () => {
    const upstream = await startUpstream(echo)
    const { url } = await front(`${upstream.url}/base/`)

    expect(await (await fetch(`${url}/a?b`)).json()).toMatchObject({ url: '/base/a?b' })
  })

  test.each<[string, number, string | undefined]>([
    ['application/json', 200, '{"a":1}'],
    ['application/json ;charset=utf-8', 200, '{"a":1}'],
    ['application/json; charset="UTF-8"', 200, '{"a":1}'],
    ['application/json; charset=utf-16', 500, undefined],
    ['text/plain; charset=us-ascii', 200, '{ "a" :  1 }'],
    ['text/plain; charset=iso-8859-1', 500, undefined],
  ])('a body of %s that a parser in front has read: %d', async (type, status, body) => {
    const upstream = await startUpstream(echo)
    const forward = proxy(upstream.url)
    const parse: Middleware = (req, _res, next) => {
      let text = ''
      req.on('data', (chunk) => {
        text += chunk
      })
      req.on('end', () => {
        Object.assign(req, { body: type.startsWith('text') ? text : JSON.parse(text) })
        next()
      })
    }
    const { url } = await serve((req, res, next) => parse(req, res, () => forward(req, res, next)))

    const response = await fetch(url, { method: 'POST', body: '{ "a" :  1 }', headers: { 'content-type': type } })
    const answer = (await response.json()) as Echoed

    expect([response.status, answer.body]).toEqual([status, body])
    expect(answer.headers?.['content-length']).toBe(body === undefined ? undefined : String(body.length))
  })
})

test('the bytes of a body come before what a parser made of them, where it kept them', async () => {
  const upstream = await startUpstream(echo)
  const forward = proxy(upstream.url)
  const { url } = await serve((req, res, next) => {
    req.on('data', (rawBody) => Object.assign(req, { rawBody, body: JSON.parse(rawBody) }))
    req.on('end', () => forward(req, res, next))
  })
  const body = '{ "id": 12345678901234567890, "price": 1.0 }'

  const response = await fetch(url, { method: 'POST', body, headers: { 'content-type': 'application/json' } })

  expect(((await response.json()) as Echoed).body).toBe(body)
})

describe('what the client sees', () => {
  test('status, headers and body as they are, every Set-Cookie of them, and nothing that ends at the gateway', async () => {
    const upstream = await startUpstream((_req, res) => {
      res.writeHead(201, [
        'Set-Cookie',
        'a=1',
        'Set-Cookie',
        'b=2',
        'X-Odd',
        'é',
        'Connection',
        'x-hop',
        'X-Hop',
        '1',
        'Content-Encoding',
        'gzip',
      ])
      res.end('not really gzip')
    })
    const { port } = await front(upstream.url)

    const answer = await raw(port, 'GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n')

    expect(answer).toMatch(/^HTTP\/1\.1 201 Created\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nX-Odd: é\r\n/)
    expect(answer).not.toContain('X-Hop')
    expect(answer).toContain('Content-Encoding: gzip')
    expect(answer).toContain('not really gzip')
  })

  test('redirects are not followed', async () => {
    const upstream = await startUpstream((_req, res) => res.writeHead(302, { location: '/elsewhere' }).end())
    const { url } = await front(upstream.url)

    expect((await fetch(url, { redirect: 'manual' })).status).toBe(302)
  })

  test.each([204, 304])('%d has no body and keeps the connection', async (status) => {
    const upstream = await startUpstream((_req, res) => res.writeHead(status).end())
    const { url } = await front(upstream.url)

    const response = await fetch(url)
    expect(response.status).toBe(status)
    expect(response.headers.get('connection')).toBe('keep-alive')
  })

  test('HEAD keeps the length of what GET would give', async () => {
    const upstream = await startUpstream((_req, res) => res.setHeader('content-length', 1_234).end())
    const { url } = await front(upstream.url)

    expect((await fetch(url, { method: 'HEAD' })).headers.get('content-length')).toBe('1234')
  })

  test('early hints arrive before the response', async () => {
    const upstream = await startUpstream((_req, res) => {
      res.writeEarlyHints({ link: '</style.css>; rel=preload; as=style' })
      res.end('done')
    })
    const { port } = await front(upstream.url)

    const answer = await raw(port, 'GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n')
    expect(answer).toMatch(
      /^HTTP\/1\.1 103 Early Hints\r\nLink: <\/style.css>; rel=preload; as=style\r\n\r\nHTTP\/1\.1 200/i,
    )
  })

  test('trailers follow a chunked body', async () => {
    const upstream = await startUpstream((_req, res) => {
      res.writeHead(200, { trailer: 'x-sum' })
      res.write('body')
      res.addTrailers({ 'x-sum': '42', te: 'gzip', 'proxy-authenticate': 'x' })
      res.end()
    })
    const { port } = await front(upstream.url)

    const trailers = await new Promise((resolve, reject) => {
      request({ port, host: '127.0.0.1' }, (res) => res.resume().on('end', () => resolve(res.trailers)))
        .on('error', reject)
        .end()
    })
    expect(trailers).toEqual({ 'x-sum': '42' })
  })

  test('the headers its route sets, and not those it removes', async () => {
    const upstream = await startUpstream((_req, res) => res.setHeader('server', 'secret 1.0').end())
    const { url } = await front(upstream.url, { headers: { response: { Server: null, 'x-frame-options': 'DENY' } } })
    const { headers } = await fetch(url)

    expect(headers.get('server')).toBeNull()
    expect(headers.get('x-frame-options')).toBe('DENY')
  })

  test('a header that is not valid is a 502 with the reason of a 502', async () => {
    const upstream = await startUpstream((_req, res) => void res.end())
    const dispatcher = new Agent().compose(
      (dispatch) => (options, handler) =>
        dispatch(options, {
          onRequestStart: (controller, context) => handler.onRequestStart?.(controller, context),
          onResponseStart: (controller, _status, headers) => {
            Object.assign(controller, { rawHeaders: ['x-bad', 'a\nb'] })
            handler.onResponseStart?.(controller, 200, headers)
          },
          onResponseError: (controller, error) => handler.onResponseError?.(controller, error),
        }),
    )
    const { port } = await front(upstream.url, { dispatcher })

    const answer = await raw(port, 'GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n')
    expect(answer).toMatch(/^HTTP\/1\.1 502 Bad Gateway\r\n/)
    expect(answer).not.toMatch(/x-bad/i)
  })

  test('what the gateway has set stands, and Vary is added up', async () => {
    const upstream = await startUpstream((_req, res) => {
      res.writeHead(200, ['vary', 'Accept', 'x-request-id', 'theirs', 'set-cookie', 'a=1', 'set-cookie', 'b=2']).end()
    })
    const forward = proxy(upstream.url)
    const { url } = await serve((req, res, next) => {
      res.setHeader('vary', 'Origin')
      res.setHeader('x-request-id', 'ours')
      forward(req, res, next)
    })
    const { headers } = await fetch(url)

    expect(headers.get('vary')).toBe('Origin, Accept')
    expect(headers.get('x-request-id')).toBe('ours')
    expect(headers.getSetCookie()).toEqual(['a=1', 'b=2'])
  })

  test.each([
    ['of one byte', 1],
    ['that fits into one write', 8_192],
    ['that does not', 8_193],
    ['that comes in many pieces', 300_000],
  ])('every byte of a body %s', async (_what, length) => {
    const body = Buffer.from(Array.from({ length }, (_, index) => (index * 7 + 13) % 256))
    const upstream = await startUpstream((_req, res) => res.setHeader('content-length', length).end(body))
    const { url } = await front(upstream.url)

    expect(Buffer.from(await (await fetch(url)).arrayBuffer()).equals(body)).toBe(true)
  })

  test('one response after another on the same connection', async () => {
    let count = 0
    const upstream = await startUpstream((req, res) => {
      count += 1
      res.end(`${req.url} ${count}`)
    })
    const { port } = await front(upstream.url)

    const get = (path: string, more = '') => `GET ${path} HTTP/1.1\r\nHost: a\r\n${more}\r\n`
    const answer = await raw(port, get('/a') + get('/b') + get('/c', 'Connection: close\r\n'))

    expect(answer.match(/\/[abc] \d/g)).toEqual(['/a 1', '/b 2', '/c 3'])
    expect(answer.match(/HTTP\/1\.1 200 OK/g)).toHaveLength(3)
  })

  test('a response that ends with its connection ends so for the client too', async () => {
    const upstream = await startTcp((socket) =>
      socket.once('data', () => socket.end('HTTP/1.1 200 OK\r\n\r\nuntil the end')),
    )
    const { port } = await front(upstream)

    const answer = await raw(port, 'GET / HTTP/1.1\r\nHost: a\r\n\r\n')
    expect(answer).toMatch(/\r\nconnection: close\r\n/i)
    expect(answer).not.toMatch(/transfer-encoding/i)
    expect(answer).toMatch(/\r\n\r\nuntil the end$/)
  })
})

describe('loops', () => {
  test('a request that comes back is answered with 508', async () => {
    const errors: ProxyError[] = []
    let target = ''
    const first = await serve((req, res, next) =>
      proxy(target, { via: 'me', onError: (error) => errors.push(error) })(req, res, next),
    )
    target = first.url

    const response = await fetch(first.url)

    expect(response.status).toBe(508)
    expect(errors.map(({ code }) => code)).toEqual(['MSX_PROXY_LOOP'])
  })
})

test.each<[string, ProxyOptions, string]>([
  ['ftp://a', {}, 'target must be an http or https URL'],
  ['http://a/?b', {}, 'target must be a URL without credentials'],
  ['user-service', {}, 'discovery is needed'],
  ['http://a', { maxBody: -1 }, 'maxBody must be a whole number'],
  ['http://a', { timeout: { idle: Number.NaN } }, 'timeout.idle must be'],
  ['http://a', { timeout: { total: 2 ** 31 } }, 'timeout.total must be'],
  ['http://a', { trust: ['x'] }, 'trust must be'],
])('proxy(%s, %j) is refused', (target, options, message) => {
  expect(() => proxy(target, options)).toThrow(message)
})

test('shares a request with an older copy of the package, which knows nothing of connections', async () => {
  const upstream = await startUpstream(echo)
  const forward = proxy(upstream.url)
  const { url } = await serve((req, res, next) => {
    Object.assign(req, { [Symbol.for('@msx/gateway-kit.context')]: { requestId: 'older', attempts: 0 } })
    forward(req, res, next)
  })

  const told = (await (await fetch(url)).json()) as Echoed
  expect(told.headers).toMatchObject({ 'x-request-id': 'older', 'x-forwarded-for': '127.0.0.1' })
})
