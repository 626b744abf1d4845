import { request } from 'node:http'
import { circuitBreaker } from '@msx/circuit-breaker'
import { describe, expect, test, vi } from 'vitest'
import { contextOf } from './context.js'
import type { ProxyError } from './errors.js'
import { dial, manualClock, serve, signalled, startTcp, startUpstream } from './internal/test-servers.js'
import { type ProxyOptions, proxy } from './proxy.js'

async function front(target: string, options: ProxyOptions = {}) {
  const errors: ProxyError[] = []
  const forward = proxy(target, { onError: (error) => errors.push(error), ...options })

  return { ...(await serve(forward)), errors }
}

/** Reads to the end, and tells whether there was one. */
function whole(url: string, method = 'GET'): Promise<{ status: number; body: string; complete: boolean }> {
  return new Promise((resolve) => {
    const req = request(url, { method, agent: false }, (res) => {
      let body = ''
      res.on('data', (chunk) => {
        body += chunk
      })
      res.on('error', () => {})
      res.on('close', () => resolve({ status: res.statusCode!, body, complete: res.complete }))
    })
    req.on('error', () => resolve({ status: 0, body: '', complete: false }))
    req.end()
  })
}

describe('an upstream that dies', () => {
  test.each([
    ['before a byte', ''],
    ['in the middle of the status line', 'HTTP/1.1 20'],
    ['in the middle of the headers', 'HTTP/1.1 200 OK\r\nContent-Length: 10\r\nX-A'],
    ['after the headers, before the empty line', 'HTTP/1.1 200 OK\r\nContent-Length: 10\r\n'],
  ])('%s gives a 502, never a 200', async (_, bytes) => {
    const upstream = await startTcp((socket) => socket.once('data', () => socket.end(bytes)))
    const { url, errors } = await front(upstream)

    const { status, body, complete } = await whole(url)

    expect({ status, complete }).toEqual({ status: 502, complete: true })
    expect(JSON.parse(body)).toMatchObject({
      status: 502,
      code: expect.stringMatching(/^MSX_PROXY_(?:RESET|BAD_RESPONSE)$/),
    })
    expect(errors).toHaveLength(1)
    expect(errors[0]!.cause).toBeInstanceOf(Error)
  })

  test.each([
    ['a length', 'HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf'],
    ['chunks', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n'],
    ['chunks, inside of one', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nhalf'],
  ])('in the middle of a body with %s never gives a complete response', async (_, bytes) => {
    for (const end of ['end', 'resetAndDestroy'] as const) {
      const upstream = await startTcp((socket) =>
        socket.once('data', () => socket.write(bytes, () => setImmediate(() => socket[end]()))),
      )
      const { url, errors } = await front(upstream)

      expect(await whole(url)).toMatchObject({ complete: false })
      expect(errors.map(({ code }) => code)).toEqual(['MSX_PROXY_RESET'])
    }
  })

  test('in the middle of a long body, with the client reading', async () => {
    const upstream = await startUpstream((_req, res) => {
      res.setHeader('content-length', 10_000_000)
      res.write(Buffer.alloc(1_000_000), () => res.destroy())
    })
    const { url, errors } = await front(upstream.url)

    const { complete, body } = await whole(url)

    expect(complete).toBe(false)
    expect(body.length).toBeLessThan(10_000_000)
    expect(errors[0]).toMatchObject({ kind: 'reset', phase: 'response' })
  })
})

describe('an upstream that', () => {
  test.each(['gzip, chunked', 'gzip', 'chunked, chunked'])(
    'packs its answer by %s for the way, unasked',
    async (encoding) => {
      const upstream = await startTcp((socket) =>
        socket.once('data', () =>
          socket.end(`HTTP/1.1 200 OK\r\nTransfer-Encoding: ${encoding}\r\n\r\n2\r\nok\r\n0\r\n\r\n`),
        ),
      )
      const { url, errors } = await front(upstream)

      expect((await whole(url)).status).toBe(502)
      expect(errors.map(({ code }) => code)).toEqual(['MSX_PROXY_BAD_RESPONSE'])
    },
  )

  test('is not there: 502 without a word about where it would be', async () => {
    const { url, errors } = await front('http://127.0.0.1:1')

    const { status, body } = await whole(url)

    expect(status).toBe(502)
    expect(body).not.toMatch(/127\.0\.0\.1|ECONN|undici/)
    expect(errors[0]).toMatchObject({ code: 'MSX_PROXY_CONNECT', phase: 'request', cause: { code: 'ECONNREFUSED' } })
  })

  test('speaks something else: 502', async () => {
    const upstream = await startTcp((socket) => socket.once('data', () => socket.end('SSH-2.0-OpenSSH_9.2\r\n')))
    const { url, errors } = await front(upstream)

    expect((await whole(url)).status).toBe(502)
    expect(errors[0]!.code).toBe('MSX_PROXY_BAD_RESPONSE')
  })

  test('gives no headers in time: 504', async () => {
    const clock = manualClock()
    const asked = signalled()
    const upstream = await startUpstream(() => asked.fire())
    const { url, errors } = await front(upstream.url, { clock, timeout: { headers: 1_000, idle: 50 } })

    const answer = whole(url)
    await asked.promise
    clock.advance(999)
    expect(errors).toEqual([])
    clock.advance(1)

    expect((await answer).status).toBe(504)
    expect(errors[0]).toMatchObject({ code: 'MSX_PROXY_TIMEOUT', phase: 'request' })
    expect(clock.waiting).toBe(0)
  })

  test('falls silent in the middle of a body: the connection is cut', async () => {
    const clock = manualClock()
    const upstream = await startUpstream((_req, res) => void res.write('half'))
    const { url, errors } = await front(upstream.url, { clock, timeout: { idle: 1_000 } })

    const res = await fetch(url)
    const text = res.text()
    clock.advance(1_000)

    await expect(text).rejects.toThrow()
    expect(errors[0]).toMatchObject({ code: 'MSX_PROXY_TIMEOUT', phase: 'response' })
  })

  test('streams events may be silent for as long as it likes', async () => {
    const clock = manualClock()
    const upstream = await startUpstream((_req, res) => {
      res.setHeader('content-type', 'text/event-stream')
      res.write('data: 1\n\n')
    })
    const { url, errors } = await front(upstream.url, { clock })

    const reader = (await fetch(url)).body!.getReader()
    await reader.read()
    clock.advance(2 ** 30)

    expect(errors).toEqual([])
    await reader.cancel()
  })

  test('takes too long in all: 504, whatever moves', async () => {
    const clock = manualClock()
    const asked = signalled()
    const upstream = await startUpstream(() => asked.fire())
    const { url } = await front(upstream.url, { clock, timeout: { total: 100, headers: false } })

    const answer = whole(url)
    await asked.promise
    clock.advance(100)

    expect((await answer).status).toBe(504)
    expect(clock.waiting).toBe(0)
  })
})

describe('a client that goes away', () => {
  test('before the headers: the upstream is told, and nobody is blamed', async () => {
    const asked = signalled()
    const closed = signalled()
    const upstream = await startUpstream((req) => {
      req.on('close', () => closed.fire())
      asked.fire()
    })
    const breaker = circuitBreaker({ trip: { failures: 1 } })
    const { port, errors } = await front(upstream.url, { breaker })

    const socket = dial(port, 'GET / HTTP/1.1\r\nHost: a\r\n\r\n')
    await asked.promise
    socket.destroy()
    await closed.promise

    expect(errors.map(({ code, phase }) => [code, phase])).toEqual([['MSX_PROXY_CLIENT_GONE', 'request']])
    expect(breaker.state).toBe('closed')
  })

  test('in the middle of the response: the upstream is told', async () => {
    const closed = signalled()
    const upstream = await startUpstream((_req, res) => {
      res.write('half')
      res.on('close', () => closed.fire())
    })
    const { url, errors } = await front(upstream.url)

    const reader = (await fetch(url)).body!.getReader()
    await reader.read()
    await reader.cancel()
    await closed.promise

    expect(errors[0]).toMatchObject({ code: 'MSX_PROXY_CLIENT_GONE', phase: 'response' })
  })

  test('in the middle of a chunked request: the upstream never takes half for the whole', async () => {
    const first = signalled()
    const over = signalled<boolean>()
    const upstream = await startUpstream((req) => {
      req.on('data', () => first.fire())
      req.on('error', () => {})
      req.on('close', () => over.fire(req.complete))
    })
    const { port } = await front(upstream.url)

    const socket = dial(port, 'POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n')
    await first.promise
    socket.destroy()

    expect(await over.promise).toBe(false)
  })
})

describe('a client that stops sending', () => {
  test.each([
    ['short', 'Content-Length: 10\r\n\r\nhalf'],
    ['long', 'Content-Length: 100000\r\n\r\nhalf'],
    ['chunked', 'Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n'],
  ])('in the middle of a %s body: 408, and the upstream is not blamed', async (_, rest) => {
    const clock = manualClock()
    const breaker = circuitBreaker({ trip: { failures: 1 } })
    const upstream = await startUpstream((req) => void req.resume().on('error', () => {}))
    const { port, errors } = await front(upstream.url, { clock, breaker, timeout: { idle: 1_000 } })

    const answer = signalled<string>()
    const socket = dial(port, `POST / HTTP/1.1\r\nHost: a\r\n${rest}`)
    socket.on('data', (chunk) => answer.fire(String(chunk)))
    await vi.waitFor(() => expect(clock.waiting).toBe(1))
    await vi.waitFor(() => {
      clock.advance(1_000)
      expect(errors).toHaveLength(1)
    })

    expect(await answer.promise).toMatch(/^HTTP\/1\.1 408 /)
    expect(errors[0]).toMatchObject({ code: 'MSX_PROXY_CLIENT_TIMEOUT', phase: 'request' })
    expect(breaker.state).toBe('closed')
    socket.destroy()
  })
})

describe('maxBody', () => {
  test('refuses a longer body by its announced length, before the upstream hears of it', async () => {
    let asked = 0
    const upstream = await startUpstream((_req, res) => {
      asked += 1
      res.end()
    })
    const { url } = await front(upstream.url, { maxBody: 3 })

    const response = await fetch(url, { method: 'POST', body: '1234' })

    expect(response.status).toBe(413)
    expect(await response.json()).toMatchObject({ code: 'MSX_PROXY_BODY_LIMIT' })
    expect(asked).toBe(0)
  })

  test('refuses a longer chunked body when it gets too long; the upstream does not take it for whole', async () => {
    const first = signalled()
    const over = signalled<boolean>()
    const upstream = await startUpstream((req) => {
      req.on('data', () => first.fire()).on('error', () => {})
      req.on('close', () => over.fire(req.complete))
    })
    const { port } = await front(upstream.url, { maxBody: 6 })

    const answer = signalled<string>()
    const socket = dial(port, 'POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n1234\r\n')
    socket.on('data', (chunk) => answer.fire(String(chunk)))
    await first.promise
    socket.write('4\r\n5678\r\n')

    expect(await answer.promise).toMatch(/^HTTP\/1\.1 413 [\s\S]*\r\nconnection: close\r\n/)
    expect(await over.promise).toBe(false)
    socket.destroy()
  })

  test('lets a body of exactly this length pass', async () => {
    const upstream = await startUpstream((req, res) => void req.resume().on('end', () => res.end('ok')))
    const { url } = await front(upstream.url, { maxBody: 4 })

    expect((await fetch(url, { method: 'POST', body: '1234' })).status).toBe(200)
  })
})

test('a body that was read and cannot be written again is a 500, not a request that hangs', async () => {
  const upstream = await startUpstream((_req, res) => res.end())
  const forward = proxy(upstream.url)
  const { url } = await serve((req, res, next) => req.resume().on('end', () => forward(req, res, next)))

  const response = await fetch(url, { method: 'POST', body: 'x' })

  expect(response.status).toBe(500)
  expect(await response.json()).toMatchObject({ code: 'MSX_PROXY_BODY_CONSUMED' })
})

describe('breaker', () => {
  test('opens on failures, then answers 503 with Retry-After without asking the upstream', async () => {
    let asked = 0
    const upstream = await startUpstream((_req, res) => {
      asked += 1
      res.writeHead(500).end()
    })
    const breaker = circuitBreaker({ trip: { failures: 2 }, openDuration: 7_000 })
    const { url } = await front(upstream.url, { breaker })

    await fetch(url)
    await fetch(url)
    const response = await fetch(url)

    expect(response.status).toBe(503)
    expect(response.headers.get('retry-after')).toBe('7')
    expect(await response.json()).toMatchObject({ code: 'MSX_PROXY_CIRCUIT_OPEN' })
    expect(asked).toBe(2)
  })

  test('counts a body that breaks off', async () => {
    const upstream = await startUpstream((_req, res) => {
      res.setHeader('content-length', 10)
      res.write('half', () => res.destroy())
    })
    const breaker = circuitBreaker({ trip: { failures: 1 } })
    const { url } = await front(upstream.url, { breaker })

    await whole(url)

    expect(breaker.state).toBe('open')
  })

  test('a 404 is an answer like any other', async () => {
    const upstream = await startUpstream((_req, res) => res.writeHead(404).end())
    const breaker = circuitBreaker({ trip: { failures: 1 } })
    const { url } = await front(upstream.url, { breaker })

    await fetch(url)

    expect(breaker.state).toBe('closed')
  })
})

test('what went wrong is with the request, for the log', async () => {
  let code: string | undefined
  const forward = proxy('http://127.0.0.1:1')
  const { url } = await serve((req, res, next) => {
    res.on('close', () => {
      code = contextOf(req).error?.code
    })
    forward(req, res, next)
  })

  await whole(url)

  expect(code).toBe('MSX_PROXY_CONNECT')
})
