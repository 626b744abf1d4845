import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type IncomingMessage } from 'node:http'
import { type ClientHttp2Session, type ClientHttp2Stream, connect, type IncomingHttpHeaders } from 'node:http2'
import type { AddressInfo } from 'node:net'
import type { Duplex } from 'node:stream'
import { createDiscovery, fixed } from '@msx/discovery'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import type { GatewayConfig } from './config.js'
import { createGateway, type Gateway } from './gateway.js'
import { certificateFor } from './internal/test-certificates.js'
import { END_HEADERS, frame, HEADERS, RST_STREAM, rawHttp2 } from './internal/test-http2.js'
import { signalled, startTcp } from './internal/test-servers.js'
import type { AccessLogEntry } from './request-log.js'

const one = certificateFor('one.example')

const acceptOf = (key: unknown): string =>
  createHash('sha1').update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64')

/** An upstream of HTTP/1.1 that opens WebSockets and sends back what it gets. */
async function startUpstream(
  accepting: (key: unknown) => string = acceptOf,
): Promise<{ url: string; asked: IncomingMessage[]; sockets: Duplex[] }> {
  const asked: IncomingMessage[] = []
  const sockets: Duplex[] = []
  const server = createServer((req, res) => {
    asked.push(req)
    res.end('no upgrade')
  })
  server.on('upgrade', (req, socket) => {
    asked.push(req)
    sockets.push(socket)
    socket.on('error', () => {})
    socket.write(
      `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nX-Room: 7\r\nSec-WebSocket-Protocol: chat\r\nSec-WebSocket-Accept: ${accepting(req.headers['sec-websocket-key'])}\r\n\r\n`,
    )
    socket.on('data', (chunk) => socket.write(chunk)).on('end', () => socket.end())
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
    server.closeAllConnections()
  })

  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, asked, sockets }
}

async function front(
  upstream: string,
  log?: (entry: AccessLogEntry) => void,
  more: Partial<GatewayConfig> = {},
): Promise<{ gateway: Gateway; port: number }> {
  const gateway = createGateway(
    {
      routes: [
        { path: '/ws', upstream, websocket: true, auth: false, cors: { origins: ['https://shop.example'] } },
        { path: '/private', upstream, websocket: true, auth: 'token' },
        { path: '/plain', upstream, auth: false },
      ],
      listen: { port: 0, tls: one, http2: true },
      health: { live: '/live' },
      ...more,
    },
    { log, verifiers: { token: (token) => ({ sub: token }) } },
  )
  onTestFinished(() => gateway.close({ timeout: 0 }))
  return { gateway, port: ((await gateway.listen(0, '127.0.0.1')).address() as AddressInfo).port }
}

async function session(port: number): Promise<ClientHttp2Session> {
  const client = connect(`https://127.0.0.1:${port}`, { ca: one.cert, servername: 'one.example' })
  client.on('error', () => {})
  onTestFinished(() => client.destroy())
  await new Promise((resolve) => client.once('remoteSettings', resolve))
  return client
}

interface Opened {
  readonly stream: ClientHttp2Stream
  readonly headers: IncomingHttpHeaders & { ':status'?: number | undefined }
  bytes(): Buffer
  readonly closed: Promise<void>
}

function open(client: ClientHttp2Session, path: string, more: object = {}): Promise<Opened> {
  return new Promise((resolve, reject) => {
    const stream = client.request({
      ':method': 'CONNECT',
      ':protocol': 'websocket',
      ':scheme': 'https',
      ':path': path,
      ':authority': 'shop.example',
      'sec-websocket-version': '13',
      'sec-websocket-protocol': 'chat',
      ...more,
    })
    let bytes = Buffer.alloc(0)
    stream.on('data', (chunk: Buffer) => {
      bytes = Buffer.concat([bytes, chunk])
    })
    const closed = new Promise<void>((done) => void stream.once('close', done))
    stream.once('error', reject)
    stream.once('response', (headers) => {
      // Who was refused has nothing more to say.
      if (headers[':status'] !== 200) stream.end()
      resolve({ stream, headers, bytes: () => bytes, closed })
    })
  })
}

describe('a WebSocket over HTTP/2', () => {
  test('is opened on its stream, and asked for by HTTP/1.1 with a key of its own', async () => {
    const logged = signalled<AccessLogEntry>()
    const upstream = await startUpstream()
    const { port } = await front(upstream.url, logged.fire)
    const client = await session(port)

    const { headers, stream, bytes, closed } = await open(client, '/ws?room=7', {
      'x-user-id': 'root',
      'sec-websocket-key': 'mine',
    })
    stream.write('hello')
    await vi.waitFor(() => expect(String(bytes())).toBe('hello'))

    expect(headers).toMatchObject({ ':status': 200, 'sec-websocket-protocol': 'chat', 'x-room': '7' })
    expect(headers).toHaveProperty('x-request-id')
    for (const name of ['sec-websocket-accept', 'upgrade', 'connection']) expect(headers).not.toHaveProperty(name)
    const [asked] = upstream.asked
    expect(asked).toMatchObject({ method: 'GET', url: '/ws?room=7' })
    expect(asked!.headers).toMatchObject({
      upgrade: 'websocket',
      'sec-websocket-version': '13',
      'x-forwarded-host': 'shop.example',
      'x-forwarded-proto': 'https',
      via: expect.stringMatching(/^2 msx-/),
    })
    expect(asked!.headers['sec-websocket-key']).toMatch(/^[A-Za-z0-9+/]{22}==$/)
    expect(asked!.headers).not.toHaveProperty('x-user-id')

    // Other streams of the session go on beside it, and it ends by itself.
    stream.end()
    await closed
    expect(await logged.promise).toMatchObject({ status: 200, method: 'GET', path: '/ws', route: '/ws', attempts: 1 })
    expect((await logged.promise).error).toBeUndefined()
    expect(client.closed).toBe(false)
  })

  test('carries much in both directions', async () => {
    const upstream = await startUpstream()
    const { port } = await front(upstream.url)
    const { stream, bytes } = await open(await session(port), '/ws')
    const sent = Buffer.alloc(3_000_000, 'x')

    stream.write(sent)

    await vi.waitFor(() => expect(bytes().byteLength).toBe(sent.byteLength), { timeout: 10_000 })
  })

  test('ends when its upstream does, and its upstream when it is reset', async () => {
    const upstream = await startUpstream()
    const { port } = await front(upstream.url)
    const client = await session(port)

    const first = await open(client, '/ws')
    upstream.sockets[0]!.end()
    await first.closed

    const second = await open(client, '/ws')
    const gone = new Promise((resolve) => upstream.sockets[1]!.once('close', resolve))
    second.stream.close(8)
    await gone
  })

  test('is told that the gateway closes', async () => {
    const upstream = await startUpstream()
    const { gateway, port } = await front(upstream.url)
    const { bytes, stream, closed } = await open(await session(port), '/ws')

    const closing = gateway.close()
    await vi.waitFor(() => expect(bytes()).toEqual(Buffer.from([0x88, 2, 0x03, 0xe9])), { timeout: 3_000 })
    stream.end()

    await closed
    await closing
  })
})

describe('what is not opened over HTTP/2', () => {
  test.each([
    ['without a token', '/private', {}, 401],
    ['on a route without websocket', '/plain', {}, 501],
    ['for another protocol', '/ws', { ':protocol': 'webtransport' }, 501],
    ['on a path of health', '/live', {}, 404],
    ['for a page of another origin', '/ws', { origin: 'https://evil.example' }, 403],
    ['on a path that is not valid', '/ws/../private', {}, 400],
  ])('%s: %s %o is a %i', async (_what, path, more, status) => {
    const upstream = await startUpstream()
    const { port } = await front(upstream.url)

    const { headers, closed } = await open(await session(port), path, more)
    await closed

    expect(headers[':status']).toBe(status)
    expect(upstream.asked).toHaveLength(0)
  })

  test('where the upstream answers as if it had not been asked: its 200 would say that it is open', async () => {
    const upstream = await startUpstream()
    const plain = createServer((_req, res) => res.end('no upgrade'))
    await new Promise<void>((resolve) => plain.listen(0, '127.0.0.1', resolve))
    onTestFinished(() => void plain.close())
    const { port } = await front(`http://127.0.0.1:${(plain.address() as AddressInfo).port}`)

    const { headers, closed } = await open(await session(port), '/ws')
    await closed

    expect(headers[':status']).toBe(502)
    expect(upstream.asked).toHaveLength(0)
  })

  test('where the upstream does not know the key', async () => {
    const upstream = await startUpstream(() => 'nonsense')
    const { port } = await front(upstream.url)

    const { headers, closed } = await open(await session(port), '/ws')
    await closed

    expect(headers[':status']).toBe(502)
  })

  test('where no route takes WebSockets: the session is not told of them, and a stream that asks is reset', async () => {
    const upstream = await startUpstream()
    const { port } = await front(upstream.url, undefined, { routes: [{ path: '/ws', upstream: upstream.url }] })
    const client = await session(port)
    expect(client.remoteSettings.enableConnectProtocol).toBe(false)

    const plain = await rawHttp2(port)
    const literal = (name: string, value: string): Buffer =>
      Buffer.from([0, name.length, ...Buffer.from(name), value.length, ...Buffer.from(value)])
    const head = [
      literal(':method', 'CONNECT'),
      literal(':protocol', 'websocket'),
      literal(':path', '/ws'),
      literal(':scheme', 'https'),
      literal(':authority', 'a'),
    ]
    plain.socket.write(frame(HEADERS, END_HEADERS, 1, Buffer.concat(head)))

    await vi.waitFor(() =>
      expect(plain.frames.some(({ type, stream }) => type === RST_STREAM && stream === 1)).toBe(true),
    )
    expect(upstream.asked).toHaveLength(0)
  })

  test('plain CONNECT', async () => {
    const upstream = await startUpstream()
    const { port } = await front(upstream.url)
    const stream = (await session(port)).request({ ':method': 'CONNECT', ':authority': 'evil.example:443' })
    stream.on('error', () => {})

    const status = await new Promise((resolve) => stream.once('response', (headers) => resolve(headers[':status'])))

    expect(status).toBe(405)
    expect(upstream.asked).toHaveLength(0)
  })
})

test.each(['content-type', 'age', 'date'])(
  'two %ss of an upstream, which HTTP/2 cannot say, are a bad answer',
  async (name) => {
    const head = `${name}: 1\r\n${name}: 2\r\n\r\n`
    const url = await startTcp((socket) =>
      socket.once('data', (bytes) =>
        socket.write(
          /^upgrade:/im.test(String(bytes))
            ? `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: ${acceptOf(/^sec-websocket-key: (\S+)/im.exec(String(bytes))![1]!)}\r\n${head}`
            : `HTTP/1.1 200 OK\r\nContent-Length: 0\r\n${head}`,
        ),
      ),
    )
    const { port } = await front(url)
    const client = await session(port)

    const { headers, closed } = await open(client, '/ws')
    await closed
    const plain = client.request({ ':path': '/plain', ':authority': 'shop.example' })
    plain.on('error', () => {}).end()
    const [answer] = (await once(plain, 'response')) as [IncomingHttpHeaders & { ':status': number }]

    expect([headers[':status'], answer[':status']]).toEqual([502, 502])
  },
)

test('an instance that switches to something else has failed, and is given back', async () => {
  const upstream = await startTcp((socket) =>
    socket.once('data', () =>
      socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: other\r\n\r\n'),
    ),
  )
  const discovery = createDiscovery({ source: fixed({ chat: [upstream] }) })
  onTestFinished(() => discovery.close())
  const gateway = createGateway(
    { routes: [{ path: '/ws', upstream: 'chat', websocket: true }], listen: { port: 0, tls: one, http2: true } },
    { discovery },
  )
  onTestFinished(() => gateway.close({ timeout: 0 }))
  const client = await session(((await gateway.listen(0, '127.0.0.1')).address() as AddressInfo).port)

  const { headers } = await open(client, '/ws')

  expect(headers[':status']).toBe(502)
  expect(discovery.service('chat').metrics.endpoints).toMatchObject([{ picked: 1, failed: 1, inflight: 0 }])
})
