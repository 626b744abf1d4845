import { createHash } from 'node:crypto'
import { createServer, type IncomingMessage } from 'node:http'
import { type AddressInfo, connect, type Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { afterEach, describe, expect, onTestFinished, test, vi } from 'vitest'
import { createGateway, type Gateway } from './gateway.js'
import { raw, signalled } from './internal/test-servers.js'
import type { AccessLogEntry } from './request-log.js'

const opened: Gateway[] = []
afterEach(async () => {
  for (const gateway of opened.splice(0)) await gateway.close({ timeout: 0 })
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
): Promise<{ gateway: Gateway; port: number }> {
  const gateway = createGateway(
    {
      routes: [
        { path: '/ws', upstream, websocket: true, auth: false, ...more },
        { path: '/private', upstream, websocket: true, auth: 'token' },
        { path: '/plain', upstream, auth: false },
      ],
    },
    { log, verifiers: { token: (token) => ({ sub: token }) } },
  )
  opened.push(gateway)
  const server = await gateway.listen(0, '127.0.0.1')
  return { gateway, port: (server.address() as AddressInfo).port }
}

const handshake = (path: string, more = ''): string =>
  `GET ${path} HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n${more}\r\n`

/** Sends bytes and gathers what comes back. */
function open(port: number, bytes: string): { socket: Socket; text(): string; closed: Promise<void> } {
  const socket = connect(port, '127.0.0.1', () => socket.write(bytes, 'latin1'))
  let text = ''
  socket.setEncoding('latin1')
  socket.on('data', (chunk: string) => {
    text += chunk
  })
  socket.on('error', () => {})
  onTestFinished(() => void socket.destroy())

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
