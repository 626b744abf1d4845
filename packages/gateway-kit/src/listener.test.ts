import { type ClientHttp2Session, connect as connectHttp2, type IncomingHttpHeaders } from 'node:http2'
import { request } from 'node:https'
import type { AddressInfo } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { afterEach, describe, expect, onTestFinished, test } from 'vitest'
import type { GatewayConfig } from './config.js'
import { createGateway, type Gateway } from './gateway.js'
import { certificateFor } from './internal/test-certificates.js'
import { dial, type Echoed, echo, raw, signalled, startTcp, startUpstream } from './internal/test-servers.js'
import type { AccessLogEntry } from './request-log.js'

const one = certificateFor('one.example')
const two = certificateFor('two.example')

const opened: Gateway[] = []
afterEach(async () => {
  for (const gateway of opened.splice(0)) await gateway.close({ timeout: 0 })
})

async function start(
  config: Omit<GatewayConfig, 'routes'>,
  upstream: string,
): Promise<{ gateway: Gateway; port: number }> {
  const gateway = createGateway({ routes: [{ path: '/**', upstream }], ...config })
  opened.push(gateway)
  const server = await gateway.listen(0, '127.0.0.1')
  return { gateway, port: (server.address() as AddressInfo).port }
}

/** Whose certificate is shown to a client that asks for a name. */
function shownFor(port: number, servername: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connectTls({ port, host: '127.0.0.1', servername, rejectUnauthorized: false }, () => {
      resolve(String(socket.getPeerCertificate().subject.CN))
      socket.destroy()
    })
    socket.on('error', reject)
  })
}

describe('TLS', () => {
  test('requests arrive, and the upstream learns that they were encrypted', async () => {
    const upstream = await startUpstream(echo)
    const { port } = await start({ listen: { port: 0, tls: one } }, upstream.url)

    const text = await new Promise<string>((resolve, reject) => {
      request({ port, host: '127.0.0.1', servername: 'one.example', ca: one.cert, path: '/a' }, async (res) => {
        let body = ''
        for await (const chunk of res) body += String(chunk)
        resolve(body)
      })
        .on('error', reject)
        .end()
    })

    expect(JSON.parse(text)).toMatchObject({ url: '/a', headers: { 'x-forwarded-proto': 'https' } })
  })

  test('each name is shown its own certificate, every other name the first', async () => {
    const { port } = await start(
      { listen: { port: 0, tls: { ...one, sni: { 'two.example': two, '*.two.example': two } } } },
      'http://127.0.0.1:9',
    )

    expect(await shownFor(port, 'one.example')).toBe('one.example')
    expect(await shownFor(port, 'TWO.example')).toBe('two.example')
    expect(await shownFor(port, 'a.two.example')).toBe('two.example')
    expect(await shownFor(port, 'a.b.two.example')).toBe('one.example')
    expect(await shownFor(port, 'elsewhere.example')).toBe('one.example')
  })

  test.each([false, true])('a reload shows new certificates to new connections (http2: %s)', async (http2) => {
    const listen = { port: 0, http2 }
    const { gateway, port } = await start({ listen: { ...listen, tls: one } }, 'http://127.0.0.1:9')
    expect(await shownFor(port, 'a')).toBe('one.example')

    gateway.reload({ routes: [], listen: { ...listen, tls: two } })

    expect(await shownFor(port, 'a')).toBe('two.example')
  })

  test.each([
    [{ cert: '/nowhere.pem', key: one.key }, /listen\.tls: cannot be used: ENOENT/],
    [{ cert: one.cert, key: two.key }, /listen\.tls: cannot be used: .*mismatch/],
    [{ cert: one.cert }, /listen\.tls\.key/],
    [{ ...one, sni: { 'a b': two } }, /listen\.tls\.sni\.a b/],
    [{ ...one, sni: { a: {} } }, /listen\.tls\.sni\.a\.cert/],
  ])('what cannot work is refused', (tls, message) => {
    expect(() => createGateway({ routes: [], listen: { port: 0, tls: tls as never } })).toThrow(message)
  })

  test('HTTP/2 without TLS is refused', () => {
    expect(() => createGateway({ routes: [], listen: { port: 0, http2: true } })).toThrow(/listen\.http2/)
  })
})

interface Answer {
  readonly headers: IncomingHttpHeaders & { ':status'?: number | undefined }
  readonly trailers: IncomingHttpHeaders | undefined
  readonly body: string
  /** How the stream ended: 0 is well. */
  readonly code: number
}

function session(port: number): ClientHttp2Session {
  const client = connectHttp2(`https://127.0.0.1:${port}`, { ca: one.cert, servername: 'one.example' })
  client.on('error', () => {})
  onTestFinished(() => client.destroy())
  return client
}

function ask(client: ClientHttp2Session, headers: Record<string, string | string[]>, body?: string): Promise<Answer> {
  return new Promise((resolve) => {
    const stream = client.request({ ':path': '/', ...headers } as never, { endStream: body === undefined })
    let answer: Omit<Answer, 'code'> = { headers: {}, trailers: undefined, body: '' }
    stream.on('response', (received) => {
      answer = { ...answer, headers: received }
    })
    stream.on('trailers', (trailers) => {
      answer = { ...answer, trailers }
    })
    stream.setEncoding('utf8')
    stream.on('data', (chunk: string) => {
      answer = { ...answer, body: answer.body + chunk }
    })
    stream.on('error', () => {})
    stream.on('close', () => resolve({ ...answer, code: stream.rstCode }))
    if (body !== undefined) stream.end(body)
  })
}

const listen = { port: 0, tls: one, http2: true }

describe('HTTP/2', () => {
  test('a request becomes one of HTTP/1.1: :authority is the host, and no pseudo-header arrives', async () => {
    const upstream = await startUpstream(echo)
    const { port } = await start({ listen }, upstream.url)

    const { headers, body } = await ask(session(port), {
      ':path': '/a?b',
      ':authority': 'shop.example',
      cookie: ['a=1', 'b=2'],
      'x-user-id': 'root',
      te: 'trailers',
    })
    const seen = JSON.parse(body) as Echoed

    expect(headers[':status']).toBe(200)
    expect(headers).not.toHaveProperty('connection')
    expect(seen.url).toBe('/a?b')
    expect(seen.headers).toMatchObject({
      host: `127.0.0.1:${upstream.port}`,
      'x-forwarded-host': 'shop.example',
      'x-forwarded-proto': 'https',
      via: expect.stringMatching(/^2 msx-/),
    })
    expect(seen.rawHeaders.filter((name) => name.startsWith(':') || name === 'te' || name === 'x-user-id')).toEqual([])
    expect(seen.rawHeaders.filter((name) => name === 'cookie')).toHaveLength(1)
    expect(seen.headers['cookie']).toBe('a=1; b=2')
  })

  test('routes by :authority', async () => {
    const upstream = await startUpstream(echo)
    const gateway = createGateway({ routes: [{ path: '/', host: 'shop.example', upstream: upstream.url }], listen })
    opened.push(gateway)
    const { port } = (await gateway.listen(0, '127.0.0.1')).address() as AddressInfo
    const client = session(port)

    expect((await ask(client, { ':authority': 'shop.example' })).headers[':status']).toBe(200)
    expect((await ask(client, { ':authority': 'else.example' })).headers[':status']).toBe(404)
  })

  test.each([
    ['with content-length', { 'content-length': '5' }],
    ['without', {}],
  ])('a body arrives, %s', async (_what, more) => {
    const upstream = await startUpstream(echo)
    const { port } = await start({ listen }, upstream.url)

    const { body } = await ask(session(port), { ':method': 'POST', ...more }, 'hello')

    expect(JSON.parse(body)).toMatchObject({ method: 'POST', body: 'hello' })
  })

  test('every Set-Cookie and the trailers come back', async () => {
    const upstream = await startUpstream((_req, res) => {
      res.writeHead(200, [
        'set-cookie',
        'a=1',
        'set-cookie',
        'b=2',
        'trailer',
        'x-sum',
        'connection',
        'x-hop',
        'x-hop',
        '1',
      ])
      res.write('body')
      res.addTrailers({ 'x-sum': '4' })
      res.end()
    })
    const { port } = await start({ listen }, upstream.url)

    const { headers, trailers, body, code } = await ask(session(port), {})

    expect(headers['set-cookie']).toEqual(['a=1', 'b=2'])
    expect(headers).not.toHaveProperty('x-hop')
    expect(trailers).toMatchObject({ 'x-sum': '4' })
    expect([body, code]).toEqual(['body', 0])
  })

  test('a response that breaks off is no whole one', async () => {
    const upstream = await startTcp((socket) =>
      socket.once('data', () => socket.end('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n')),
    )
    const { port } = await start({ listen }, upstream)

    const { headers, code } = await ask(session(port), {})

    expect(headers[':status']).toBe(200)
    expect(code).not.toBe(0)
  })

  test('one bad request does not concern the other streams of its connection', async () => {
    const upstream = await startUpstream(echo)
    const { port } = await start({ listen }, upstream.url)
    const client = session(port)

    expect((await ask(client, { ':path': '/a/../b' })).headers[':status']).toBe(400)
    expect((await ask(client, { ':authority': 'a@b' })).headers[':status']).toBe(400)
    for (const method of ['get', 'Delete', 'trace', 'G3T']) {
      const { headers, body } = await ask(client, { ':method': method })
      expect(headers[':status'], method).toBe(400)
      expect(body).toContain('The method is not valid.')
    }
    expect((await ask(client, { ':authority': 'a', host: 'b' })).headers[':status']).toBe(400)
    expect((await ask(client, { ':path': '/b' })).headers[':status']).toBe(200)
  })

  test('the upstream is told when a stream is given up', async () => {
    const asked = signalled()
    const gone = signalled()
    const upstream = await startUpstream((_req, res) => {
      res.on('close', () => gone.fire())
      asked.fire()
    })
    const { port } = await start({ listen }, upstream.url)
    const stream = session(port).request({ ':path': '/' })
    stream.on('error', () => {})
    await asked.promise

    stream.close(8)

    await gone.promise
  })

  test('is logged with the status the client has seen', async () => {
    const upstream = await startUpstream(echo)
    const logged = signalled<AccessLogEntry>()
    const gateway = createGateway({ routes: [{ path: '/', upstream: upstream.url }], listen }, { log: logged.fire })
    opened.push(gateway)
    const { port } = (await gateway.listen(0, '127.0.0.1')).address() as AddressInfo

    await ask(session(port), {})

    const { status, error } = await logged.promise
    expect({ status, error }).toEqual({ status: 200, error: undefined })
  })

  test('a head that is too long is refused', async () => {
    const { port } = await start({ listen, limits: { headerBytes: 2_000 } }, 'http://127.0.0.1:9')
    const asking = (length: number) => ask(session(port), { ':path': '/', 'x-long': 'a'.repeat(length) })

    expect((await asking(1_000)).headers[':status']).toBe(502)
    expect((await asking(3_000)).headers[':status']).toBe(431)
  })

  test('a connection on which nothing is asked any more is ended, one that waits for its answer is not', async () => {
    const answer = signalled()
    const upstream = await startUpstream((_req, res) => void answer.promise.then(() => res.end('late')))
    const { port } = await start({ listen, limits: { keepAliveTimeout: 100 } }, upstream.url)
    const [idle, busy] = [session(port), session(port)]
    idle
      .request({ ':path': '/' })
      .on('error', () => {})
      .close(8)
    const idleClosed = new Promise<void>((resolve) => void idle.once('close', resolve))
    const late = ask(busy, {})

    await idleClosed
    expect(busy.closed).toBe(false)
    answer.fire()

    expect(await late).toMatchObject({ body: 'late', code: 0 })
  })

  test('clients of HTTP/1.1 are served by the same listener', async () => {
    const upstream = await startUpstream(echo)
    const { port } = await start({ listen }, upstream.url)

    const version = await new Promise((resolve, reject) => {
      request({ port, host: '127.0.0.1', servername: 'one.example', ca: one.cert }, (res) => {
        res.resume()
        resolve(res.httpVersion)
      })
        .on('error', reject)
        .end()
    })

    expect(version).toBe('1.1')
  })

  test('close() lets a request under way finish, and says goodbye', async () => {
    const asked = signalled()
    const answer = signalled()
    const upstream = await startUpstream((_req, res) => {
      asked.fire()
      void answer.promise.then(() => res.end('done'))
    })
    const { gateway, port } = await start({ listen }, upstream.url)
    const client = session(port)
    const answered = ask(client, {})
    await asked.promise

    const closed = gateway.close()
    answer.fire()

    expect(await answered).toMatchObject({ body: 'done', code: 0 })
    await closed
  })
})

describe('an expectation that nobody meets', () => {
  test('is refused, logged, and has a request id', async () => {
    const entries: AccessLogEntry[] = []
    const gateway = createGateway(
      { routes: [{ path: '/**', upstream: 'http://127.0.0.1:1' }] },
      { log: (entry) => void entries.push(entry) },
    )
    opened.push(gateway)
    const { port } = (await gateway.listen(0, '127.0.0.1')).address() as AddressInfo

    const answer = await raw(port, 'GET /a HTTP/1.1\r\nHost: a\r\nExpect: a-pizza\r\nConnection: close\r\n\r\n')

    expect(answer).toMatch(/^HTTP\/1\.1 417 /)
    expect(answer).toContain('application/problem+json')
    expect(entries).toMatchObject([{ path: '/a', status: 417, requestId: expect.any(String) }])
  })

  test('is refused over HTTP/2, too', async () => {
    const { port } = await start(
      { listen: { port: 0, tls: { cert: one.cert, key: one.key }, http2: true } },
      'http://127.0.0.1:1',
    )
    const session = connectHttp2(`https://127.0.0.1:${port}`, { rejectUnauthorized: false })
    // Of its end, which it may hear of by a reset; what befalls the request is heard there.
    session.on('error', () => {})
    onTestFinished(() => session.destroy())

    const headers = await new Promise<IncomingHttpHeaders>((resolve, reject) => {
      session.request({ ':path': '/a', expect: 'a-pizza' }).on('response', resolve).on('error', reject).resume()
    })

    expect(headers).toMatchObject({ ':status': 417, 'content-type': 'application/problem+json' })
  })
})

describe('limits of a connection', () => {
  test('a head that does not come to its end is cut off with 408', async () => {
    const { port } = await start({ limits: { headerTimeout: 200 } }, 'http://127.0.0.1:9')

    expect(await raw(port, 'GET / HTTP/1.1\r\nHost: a\r\nX-Slow:')).toMatch(/^HTTP\/1\.1 408 /)
  })

  test('a head that is too long is a 431', async () => {
    const { port } = await start({ limits: { headerBytes: 1_000 } }, 'http://127.0.0.1:9')

    expect(await raw(port, `GET / HTTP/1.1\r\nHost: a\r\nX-Long: ${'a'.repeat(1_000)}\r\n\r\n`)).toMatch(
      /^HTTP\/1\.1 431 /,
    )
  })

  test('more connections than are allowed are closed as they come', async () => {
    const { port } = await start({ limits: { connections: 1 } }, 'http://127.0.0.1:9')
    const first = dial(port)
    await new Promise((resolve) => first.once('connect', resolve))

    expect(await raw(port, 'GET / HTTP/1.1\r\nHost: a\r\n\r\n')).toBe('')
  })
})
