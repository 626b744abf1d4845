import { createHash } from 'node:crypto'
import { createServer, type IncomingMessage } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { WebSocket } from 'undici'
import { afterEach, describe, expect, onTestFinished, test, vi } from 'vitest'
import type { Clock } from './clock.js'
import type { GatewayLimits } from './config.js'
import { createGateway, type Gateway } from './gateway.js'
import { dial, manualClock, raw, signalled, startUpstream } from './internal/test-servers.js'
import type { AccessLogEntry } from './request-log.js'

const opened: Gateway[] = []
const clocks: ReturnType<typeof manualClock>[] = []
afterEach(async () => {
  const closed = opened.splice(0).map((gateway) => gateway.close({ timeout: 0 }))
  for (const clock of clocks.splice(0)) clock.advance(1e9)
  await Promise.all(closed)
})

/** An upstream that accepts every handshake and does with the socket what the test says. */
async function startWebSockets(
  onSocket: (socket: Duplex, req: IncomingMessage, head: Buffer) => void,
): Promise<{ url: string; asked: IncomingMessage[] }> {
  const asked: IncomingMessage[] = []
  const sockets = new Set<Duplex>()
  const server = createServer((req, res) => {
    asked.push(req)
    res.writeHead(200, { 'x-plain': 'yes' }).end('no upgrade')
  })
  server.on('upgrade', (req, socket, head) => {
    asked.push(req)
    sockets.add(socket)
    socket.on('error', () => {})
    onSocket(socket, req, head)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
    server.closeAllConnections()
  })

  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, asked }
}

function accept(socket: Duplex, req: IncomingMessage): void {
  const key = `${req.headers['sec-websocket-key']}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`
  socket.write(
    `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade, X-Hop\r\nX-Hop: 1\r\nSec-WebSocket-Accept: ${createHash('sha1').update(key).digest('base64')}\r\n\r\n`,
  )
}

async function front(
  upstream: string,
  log?: (entry: AccessLogEntry) => void,
  more: object = {},
  limits: GatewayLimits = {},
  clock?: Clock,
): Promise<{ gateway: Gateway; port: number }> {
  const gateway = createGateway(
    {
      routes: [
        { path: '/ws', upstream, websocket: true, auth: false, ...more },
        { path: '/private', upstream, websocket: true, auth: 'token' },
        { path: '/plain', upstream, auth: false },
      ],
      limits,
    },
    { log, clock, verifiers: { token: (token) => ({ sub: token }) } },
  )
  opened.push(gateway)
  const server = await gateway.listen(0, '127.0.0.1')
  return { gateway, port: (server.address() as AddressInfo).port }
}

const handshake = (path: string, more = ''): string =>
  `GET ${path} HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n${more}\r\n`

/** Sends bytes and gathers what comes back. */
function open(port: number, bytes: string): { socket: Socket; text(): string; closed: Promise<void> } {
  const socket = dial(port)
  socket.write(bytes, 'latin1')
  let text = ''
  socket.setEncoding('latin1')
  socket.on('data', (chunk: string) => {
    text += chunk
  })

  return { socket, text: () => text, closed: new Promise((resolve) => socket.on('close', () => resolve())) }
}

describe('a WebSocket', () => {
  test('is opened on its route, and carries the bytes of both sides', async () => {
    const upstream = await startWebSockets((socket, req) => {
      accept(socket, req)
      socket.on('data', (chunk) => socket.write(`<${chunk}>`))
    })
    const { port } = await front(upstream.url)

    const client = open(port, handshake('/ws?room=1', 'X-User-Id: root\r\nSec-WebSocket-Protocol: chat\r\n'))
    await vi.waitFor(() => expect(client.text()).toContain('\r\n\r\n'))
    client.socket.write('hello')
    await vi.waitFor(() => expect(client.text()).toContain('<hello>'))

    expect(client.text()).toMatch(
      /^HTTP\/1\.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n/,
    )
    expect(client.text()).toContain('Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=')
    expect(client.text()).not.toMatch(/x-hop/i)
    expect(upstream.asked[0]!.url).toBe('/ws?room=1')
    expect(upstream.asked[0]!.headers).toMatchObject({
      'sec-websocket-protocol': 'chat',
      'x-forwarded-for': '127.0.0.1',
    })
    expect(upstream.asked[0]!.headers).not.toHaveProperty('x-user-id')
  })

  test('is opened with the key it was let in by, whatever the client says of its connection', async () => {
    const upstream = await startWebSockets(accept)
    const partners = Object.assign((token: string) => ({ sub: token }), { header: 'x-partner-key' })
    const gateway = createGateway(
      { routes: [{ path: '/ws', upstream: upstream.url, websocket: true, auth: 'partners' }] },
      { verifiers: { partners } },
    )
    opened.push(gateway)
    const server = await gateway.listen(0, '127.0.0.1')

    const asked = handshake('/ws', 'X-Partner-Key: p1\r\n').replace('Upgrade\r\n', 'Upgrade, X-Partner-Key\r\n')
    const client = open((server.address() as AddressInfo).port, asked)
    await vi.waitFor(() => expect(client.text()).toContain('\r\n\r\n'))

    expect(upstream.asked[0]!.headers).toMatchObject({ 'x-partner-key': 'p1', 'x-user-id': 'p1' })
  })

  test('waits for the answers to what came before it on its connection, and stays', async () => {
    const answer = signalled()
    const asked = signalled()
    const plain = await startUpstream((_req, res) => {
      asked.fire()
      void answer.promise.then(() => res.end('first'))
    })
    const upstream = await startWebSockets((socket, req, head) => {
      accept(socket, req)
      socket.write(head)
      socket.on('data', (chunk) => socket.write(chunk))
    })
    const gateway = createGateway({
      routes: [
        { path: '/ws', upstream: upstream.url, websocket: true },
        { path: '/first', upstream: plain.url },
      ],
      limits: { keepAliveTimeout: 50 },
    })
    opened.push(gateway)
    const { port } = (await gateway.listen(0, '127.0.0.1')).address() as AddressInfo

    const client = open(port, `GET /first HTTP/1.1\r\nHost: a\r\n\r\n${handshake('/ws')}early`)
    await asked.promise
    expect(upstream.asked).toHaveLength(0)
    answer.fire()
    await vi.waitFor(() =>
      expect(client.text()).toMatch(/^HTTP\/1\.1 200 OK[\s\S]*first[\s\S]*HTTP\/1\.1 101 [\s\S]*early$/),
    )
    // What Node gives an idle connection is over by then.
    await new Promise((resolve) => setTimeout(resolve, 1_500))
    client.socket.write('late')

    await vi.waitFor(() => expect(client.text()).toMatch(/late$/))
  })

  test('does not come to be on a connection that has ended before', async () => {
    const asked = signalled()
    const plain = await startUpstream((_req, res) => {
      asked.fire()
      res.writeHead(200, { 'content-length': 9 }).write('half')
      setImmediate(() => res.destroy())
    })
    const upstream = await startWebSockets(accept)
    const gateway = createGateway({
      routes: [
        { path: '/ws', upstream: upstream.url, websocket: true },
        { path: '/first', upstream: plain.url },
      ],
    })
    opened.push(gateway)
    const { port } = (await gateway.listen(0, '127.0.0.1')).address() as AddressInfo

    const client = open(port, `GET /first HTTP/1.1\r\nHost: a\r\n\r\n${handshake('/ws')}`)
    await client.closed

    expect(client.text()).not.toContain('101')
    expect(upstream.asked).toHaveLength(0)
  })

  test('gets the bytes that came along with its handshake, and those that came along with the 101', async () => {
    const got = signalled<string>()
    const upstream = await startWebSockets((socket, req, head) => {
      accept(socket, req)
      socket.write('at once')
      if (head.byteLength > 0) got.fire(String(head))
      else socket.once('data', (chunk) => got.fire(String(chunk)))
    })
    const { port } = await front(upstream.url)

    const client = open(port, `${handshake('/ws')}early`)

    expect(await got.promise).toBe('early')
    await vi.waitFor(() => expect(client.text()).toMatch(/\r\n\r\nat once$/))
  })

  test('is slowed down by a client that does not read', async () => {
    let written = 0
    const upstream = await startWebSockets((socket, req) => {
      accept(socket, req)
      const write = (): void => {
        while (written < 268_435_456) {
          written += 1_048_576
          if (!socket.write(Buffer.alloc(1_048_576))) {
            socket.once('drain', write)
            return
          }
        }
      }
      write()
    })
    const { port } = await front(upstream.url)
    const client = open(port, handshake('/ws'))
    client.socket.pause()

    await settled(() => written)

    expect(written).toBeGreaterThan(0)
    expect(written).toBeLessThan(67_108_864)
  })

  test('ends for the other side when one side ends, after the last bytes', async () => {
    const logged = signalled<AccessLogEntry>()
    const last = Buffer.alloc(200_000, 'x')
    const upstream = await startWebSockets((socket, req) => {
      accept(socket, req)
      socket.end(last)
    })
    const { port } = await front(upstream.url, logged.fire)

    const client = open(port, handshake('/ws'))
    await client.closed

    expect(client.text().split('\r\n\r\n')[1]).toHaveLength(last.byteLength)
    expect(await logged.promise).toMatchObject({ status: 101, route: '/ws', path: '/ws', attempts: 1 })
  })

  test('is closed upstream when the client is gone, without a word', async () => {
    const gone = signalled()
    const upstream = await startWebSockets((socket, req) => {
      accept(socket, req)
      socket.on('end', () => gone.fire())
      socket.resume()
    })
    const { port } = await front(upstream.url)
    const client = open(port, handshake('/ws'))
    await vi.waitFor(() => expect(client.text()).toContain('101'))

    client.socket.resetAndDestroy()

    await gone.promise
  })

  test('does not count as a request under way', async () => {
    const upstream = await startWebSockets(accept)
    const gateway = createGateway({
      routes: [
        { path: '/ws', upstream: upstream.url, websocket: true },
        { path: '/plain', upstream: upstream.url },
      ],
      limits: { inFlight: 1 },
    })
    opened.push(gateway)
    const { port } = (await gateway.listen(0, '127.0.0.1')).address() as AddressInfo
    for (let count = 0; count < 3; count += 1) {
      const client = open(port, handshake('/ws'))
      await vi.waitFor(() => expect(client.text()).toMatch(/^HTTP\/1\.1 101 /))
    }

    expect((await fetch(`http://127.0.0.1:${port}/plain`)).status).toBe(200)
  })

  test('is waited for when the gateway closes', async () => {
    const upstream = await startWebSockets((socket, req) => {
      accept(socket, req)
      socket.on('data', (chunk) => socket.end(`last ${chunk}`))
    })
    const { gateway, port } = await front(upstream.url)
    const client = open(port, handshake('/ws'))
    await vi.waitFor(() => expect(client.text()).toContain('101'))

    const closing = gateway.close({ timeout: 10_000 })
    client.socket.write('words')
    await closing

    expect(client.text()).toMatch(/last words$/)
  })

  test('is cut when the gateway closes and its time is over', async () => {
    const upstream = await startWebSockets(accept)
    const { gateway, port } = await front(upstream.url)
    const client = open(port, handshake('/ws'))
    await vi.waitFor(() => expect(client.text()).toContain('101'))

    await gateway.close({ timeout: 20 })

    await client.closed
  })
})

/** One frame; those of clients are masked. */
function frame(opcode: number, text: string, { mask = false, last = true } = {}): Buffer {
  const payload = Buffer.from(text, 'latin1')
  const head = Buffer.from([(last ? 0x80 : 0) | opcode, (mask ? 0x80 : 0) | payload.length])
  return mask ? Buffer.concat([head, Buffer.alloc(4), payload]) : Buffer.concat([head, payload])
}

const TEXT = 1
const CLOSE = 8
const PING = 9
const closing = frame(CLOSE, '\x03\xe9').toString('latin1')

/** What came after the head. */
const body = (text: string): string => text.slice(text.indexOf('\r\n\r\n') + 4)

function unmasked(bytes: Buffer): Buffer {
  const mask = bytes.subarray(2, 6)
  return Buffer.from(bytes.subarray(6).map((byte, index) => byte ^ mask[index % 4]!))
}

/** A WebSocket through a gateway with a time of its own; the upstream's end is given, too. */
async function converse(limits: GatewayLimits = {}, more: object = {}) {
  const clock = manualClock()
  clocks.push(clock)
  const accepted = signalled<Duplex>()
  const upstream = await startWebSockets((socket, req) => {
    accept(socket, req)
    accepted.fire(socket)
  })
  const logged = signalled<AccessLogEntry>()
  const { gateway, port } = await front(upstream.url, logged.fire, more, limits, clock)
  const client = open(port, handshake('/ws'))
  const socket = await accepted.promise
  let received = Buffer.alloc(0)
  socket.on('data', (chunk: Buffer) => {
    received = Buffer.concat([received, chunk])
  })
  await vi.waitFor(() => expect(client.text()).toContain('\r\n\r\n'))

  return { clock, gateway, client, upstream: socket, received: () => received, logged: logged.promise }
}

describe('a WebSocket whose gateway closes', () => {
  test('is told by 1001 after a quiet moment, and so is its upstream', async () => {
    const got = signalled<Buffer>()
    const upstream = await startWebSockets((socket, req) => {
      accept(socket, req)
      socket.once('data', (chunk) => {
        got.fire(chunk)
        socket.end(frame(CLOSE, '\x03\xe9'))
      })
    })
    const { gateway, port } = await front(upstream.url)
    const client = new WebSocket(`ws://127.0.0.1:${port}/ws`)
    const over = new Promise<{ code: number; wasClean: boolean }>((resolve) => {
      client.addEventListener('close', resolve)
    })
    await new Promise((resolve) => client.addEventListener('open', resolve))

    const closed = gateway.close()

    const { code, wasClean } = await over
    expect({ code, wasClean }).toEqual({ code: 1001, wasClean: true })
    const told = await got.promise
    expect(told[0]).toBe(0x80 | CLOSE)
    expect(unmasked(told).readUInt16BE(0)).toBe(1001)
    await closed
  })

  test('is not told while a message is under way, and gets all of that', async () => {
    const { clock, gateway, client, upstream } = await converse()
    const message = [frame(TEXT, 'Hel', { last: false }), frame(PING, 'p'), frame(0, 'lo')]
    const bytes = Buffer.concat(message)
    upstream.write(bytes.subarray(0, 3))
    await vi.waitFor(() => expect(body(client.text())).toHaveLength(3))

    void gateway.close({ timeout: 60_000 })
    clock.advance(10_000)
    upstream.write(bytes.subarray(3, message[0]!.length + 1))
    await vi.waitFor(() =>
      expect(body(client.text())).toBe(bytes.subarray(0, message[0]!.length + 1).toString('latin1')),
    )
    // What comes with the end of the message, but after it, is not passed on any more.
    upstream.write(Buffer.concat([bytes.subarray(message[0]!.length + 1), frame(TEXT, 'late')]))

    await vi.waitFor(() => expect(body(client.text())).toBe(bytes.toString('latin1') + closing))
  })

  test('what the client sends until it answers still arrives', async () => {
    const { clock, gateway, client, received } = await converse()
    void gateway.close({ timeout: 60_000 })
    clock.advance(1_000)
    await vi.waitFor(() => expect(body(client.text())).toBe(closing))
    const sent = Buffer.concat([frame(TEXT, 'last', { mask: true }), frame(CLOSE, '\x03\xe9', { mask: true })])

    client.socket.write(sent)

    await vi.waitFor(() => expect(received()).toEqual(sent))
    // It has been told: nothing is added.
    clock.advance(1_000)
    clock.advance(1_000)
    await client.closed
    expect(received()).toEqual(sent)
  })

  test('a client that does not answer: the upstream is told by us, and both are ended', async () => {
    const { clock, gateway, client, upstream, received } = await converse()
    const closed = gateway.close({ timeout: 60_000 })
    const over = new Promise((resolve) => upstream.once('close', resolve))
    clock.advance(1_000)
    await vi.waitFor(() => expect(body(client.text())).toBe(closing))
    expect(received()).toHaveLength(0)

    clock.advance(1_000)
    await vi.waitFor(() => expect(received()).toHaveLength(8))
    expect(received().subarray(0, 2)).toEqual(Buffer.from([0x80 | CLOSE, 0x82]))
    expect(unmasked(received()).readUInt16BE(0)).toBe(1001)
    clock.advance(1_000)

    await client.closed
    upstream.end()
    await over
    await closed
  })

  test.each([
    ['between two frames', frame(TEXT, 'Hel', { last: false }), closing],
    ['within a frame', frame(TEXT, 'Hello').subarray(0, 4), ''],
    ['where there are no frames', Buffer.from('no frames'), ''],
  ])('at the end of the time, %s: what can be said is said, and it is cut', async (_where, bytes, told) => {
    const { clock, gateway, client, upstream } = await converse()
    upstream.write(bytes)
    await vi.waitFor(() => expect(body(client.text())).toHaveLength(bytes.length))

    const closed = gateway.close({ timeout: 5_000 })
    clock.advance(4_999)
    expect(body(client.text())).toHaveLength(bytes.length)
    clock.advance(1)
    await client.closed

    expect(body(client.text())).toBe(bytes.toString('latin1') + told)
    await closed
  })
})

describe('limits of WebSockets', () => {
  test('one on which nothing passes is ended, with 1001 for both', async () => {
    const { clock, client, upstream, received, logged } = await converse({}, { timeout: { tunnel: 60_000 } })
    clock.advance(60_000)
    await vi.waitFor(() => expect(body(client.text())).toBe(closing))
    clock.advance(1_000)
    await vi.waitFor(() => expect(received()).toHaveLength(8))
    clock.advance(1_000)

    await client.closed
    upstream.end()
    expect(await logged).toMatchObject({ status: 101, error: { code: 'MSX_PROXY_TIMEOUT' } })
  })

  test('a ping of either side keeps it open', async () => {
    const { clock, client, upstream, received } = await converse({}, { timeout: { tunnel: 60_000 } })
    clock.advance(59_000)
    client.socket.write(frame(PING, '', { mask: true }))
    await vi.waitFor(() => expect(received()).toHaveLength(6))
    clock.advance(59_000)
    upstream.write(frame(PING, ''))
    await vi.waitFor(() => expect(body(client.text())).toHaveLength(2))

    clock.advance(59_000)
    upstream.write(frame(PING, ''))

    await vi.waitFor(() => expect(body(client.text())).toBe(frame(PING, '').toString('latin1').repeat(2)))
  })

  test('one whose frame does not come to its end is cut', async () => {
    const { clock, client, upstream } = await converse({}, { timeout: { tunnel: 60_000 } })
    upstream.write(frame(TEXT, 'Hello').subarray(0, 3))
    await vi.waitFor(() => expect(body(client.text())).toHaveLength(3))

    clock.advance(60_000)
    clock.advance(3_000)
    await client.closed

    expect(body(client.text())).toHaveLength(3)
  })

  test('without a limit none is ended, and by default after an hour', async () => {
    const endless = await converse({}, { timeout: { tunnel: false } })
    const usual = await converse()

    endless.clock.advance(3_600_000)
    usual.clock.advance(3_600_000)
    await vi.waitFor(() => expect(body(usual.client.text())).toBe(closing))

    expect(body(endless.client.text())).toBe('')
  })

  test('more at once than allowed are a 503, until one has ended', async () => {
    const upstream = await startWebSockets((socket, req) => {
      accept(socket, req)
      socket.on('end', () => socket.end()).resume()
    })
    const { port } = await front(upstream.url, undefined, {}, { webSockets: 1 })
    const first = open(port, handshake('/ws'))
    await vi.waitFor(() => expect(first.text()).toContain(' 101 '))

    const second = open(port, handshake('/ws'))
    await second.closed
    expect(second.text()).toMatch(/^HTTP\/1\.1 503 /)
    expect(second.text()).toMatch(/\r\nretry-after: 1\r\n/i)
    expect(upstream.asked).toHaveLength(1)

    first.socket.destroy()
    await vi.waitFor(async () => {
      const third = open(port, handshake('/ws'))
      await vi.waitFor(() => expect(third.text()).toContain('\r\n\r\n'))
      expect(third.text()).toMatch(/^HTTP\/1\.1 101 /)
    })
  })

  test('none is opened any more on a connection of a gateway that closes', async () => {
    const asked = signalled()
    const answer = signalled()
    const upstream = await startWebSockets(accept)
    const slow = createServer((_req, res) => {
      asked.fire()
      void answer.promise.then(() => res.end('done'))
    })
    await new Promise<void>((resolve) => slow.listen(0, '127.0.0.1', resolve))
    onTestFinished(() => void slow.close())
    const gateway = createGateway({
      routes: [
        { path: '/ws', upstream: upstream.url, websocket: true },
        { path: '/slow', upstream: `http://127.0.0.1:${(slow.address() as AddressInfo).port}` },
      ],
    })
    opened.push(gateway)
    const { port } = (await gateway.listen(0, '127.0.0.1')).address() as AddressInfo
    const other = open(port, 'GET /slow HTTP/1.1\r\nHost: a\r\n\r\n')
    const client = open(port, '')
    await asked.promise

    const closed = gateway.close()
    client.socket.write(handshake('/ws'))
    await client.closed
    answer.fire()

    expect(client.text()).not.toContain(' 101 ')
    expect(upstream.asked).toHaveLength(0)
    await closed
    await other.closed
    expect(other.text()).toContain('done')
  })
})

test('a client is slowed down by an upstream that does not read', async () => {
  const upstream = await startWebSockets((socket, req) => {
    accept(socket, req)
    socket.pause()
  })
  const { port } = await front(upstream.url)
  const client = open(port, handshake('/ws'))
  await vi.waitFor(() => expect(client.text()).toContain(' 101 '))
  let written = 0
  const write = (): void => {
    while (written < 268_435_456) {
      written += 1_048_576
      if (!client.socket.write(Buffer.alloc(1_048_576))) {
        client.socket.once('drain', write)
        return
      }
    }
  }
  write()

  await settled(() => written)

  expect(written).toBeLessThan(67_108_864)
})

describe('what is not opened', () => {
  test('without a token: 401, and the upstream hears of nothing', async () => {
    const upstream = await startWebSockets(accept)
    const { port } = await front(upstream.url)
    const client = open(port, handshake('/private'))
    await client.closed

    expect(client.text()).toMatch(/^HTTP\/1\.1 401 /)
    expect(client.text()).toMatch(/\r\nconnection: close\r\n/i)
    expect(upstream.asked).toHaveLength(0)
  })

  test('with a token it is', async () => {
    const upstream = await startWebSockets(accept)
    const { port } = await front(upstream.url)
    const client = open(port, handshake('/private', 'Authorization: Bearer ada\r\n'))
    await vi.waitFor(() => expect(client.text()).toMatch(/^HTTP\/1\.1 101 /))

    expect(upstream.asked[0]!.headers['x-user-id']).toBe('ada')
  })

  test('another answer than 101 is passed on as it is', async () => {
    const upstream = await startWebSockets((socket) =>
      socket.end('HTTP/1.1 403 Forbidden\r\nX-Why: origin\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno'),
    )
    const { port } = await front(upstream.url)
    const client = open(port, handshake('/ws'))
    await client.closed

    expect(client.text()).toMatch(/^HTTP\/1\.1 403 Forbidden\r\nX-Why: origin\r\n/)
    expect(client.text()).toMatch(/\r\n\r\nno$/)
  })

  test('a 101 for something else is a 502', async () => {
    const upstream = await startWebSockets((socket) =>
      socket.write('HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n'),
    )
    const { port } = await front(upstream.url)
    const client = open(port, handshake('/ws'))
    await client.closed

    expect(client.text()).toMatch(/^HTTP\/1\.1 502 /)
  })

  test('an upstream that is not there is a 502', async () => {
    const { port } = await front('http://127.0.0.1:9')
    const client = open(port, handshake('/ws'))
    await client.closed

    expect(client.text()).toMatch(/^HTTP\/1\.1 502 /)
    expect(client.text()).toContain('MSX_PROXY_CONNECT')
  })

  test.each([
    ['a route without websocket', handshake('/plain')],
    ['another protocol', 'GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n'],
    ['another method', handshake('/ws').replace('GET', 'DELETE')],
  ])('%s: the request is served as if it had not asked', async (_what, bytes) => {
    const upstream = await startWebSockets(accept)
    const { port } = await front(upstream.url)
    const client = open(port, bytes)
    await client.closed

    expect(client.text()).toMatch(/^HTTP\/1\.1 200 OK\r\n/)
    expect(client.text()).toContain('\r\nno upgrade\r\n')
    expect(upstream.asked[0]!.headers).not.toHaveProperty('upgrade')
  })

  test('a request with a body: 400, and what follows is no request', async () => {
    const upstream = await startWebSockets(accept)
    const { port } = await front(upstream.url)
    const bytes = handshake('/ws').replace('\r\n\r\n', '\r\nContent-Length: 50\r\n\r\n')
    const client = open(port, `${bytes}GET /plain HTTP/1.1\r\nHost: a\r\n\r\n${' '.repeat(20)}`)
    await client.closed

    expect(client.text().match(/HTTP\/1\.1/g)).toHaveLength(1)
    expect(client.text()).toMatch(/^HTTP\/1\.1 400 /)
    expect(upstream.asked).toHaveLength(0)
  })

  test('nothing is left over of a client that goes away during the handshake', async () => {
    const logged = signalled<AccessLogEntry>()
    const asked = signalled<Duplex>()
    const gone = signalled()
    const upstream = await startWebSockets((socket) => {
      socket.on('end', () => gone.fire()).resume()
      asked.fire(socket)
    })
    const { port } = await front(upstream.url, logged.fire)
    const client = open(port, handshake('/ws'))
    await asked.promise

    client.socket.destroy()

    expect((await logged.promise).status).toBe(499)
    await gone.promise
  })
})

/** Waits until a number stands still. */
async function settled(read: () => number): Promise<void> {
  for (let before = -1; before !== read() || before === 0; ) {
    before = read()
    await new Promise((resolve) => setTimeout(resolve, 150))
  }
}

test('a page of another origin opens none where cors says which pages may read', async () => {
  const { url, asked } = await startWebSockets((socket, req) => {
    accept(socket, req)
    socket.end()
  })
  const { port } = await front(url, undefined, { cors: { origins: ['https://shop.example'] } })
  const open = async (origin: string | undefined) =>
    (await raw(port, handshake('/ws', origin === undefined ? '' : `Origin: ${origin}\r\n`))).slice(9, 12)

  expect(await open('https://shop.example')).toBe('101')
  // Its own pages, and what is no page.
  expect(await open('https://a')).toBe('101')
  expect(await open(undefined)).toBe('101')
  expect(asked).toHaveLength(3)

  expect(await open('https://evil.example')).toBe('403')
  expect(await open('null')).toBe('403')
  expect(await open('a')).toBe('403')
  expect(asked).toHaveLength(3)
})
