import { type AddressInfo, connect } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { expect, onTestFinished, test, vi } from 'vitest'
import type { GatewayLimits } from './config.js'
import { createGateway } from './gateway.js'
import { certificateFor } from './internal/test-certificates.js'
import {
  ACK,
  CONTINUATION,
  DATA,
  END_HEADERS,
  END_STREAM,
  frame,
  GET,
  HEADERS,
  PING,
  RST_STREAM,
  rawHttp2,
  SETTINGS,
  word,
} from './internal/test-http2.js'
import { signalled, startUpstream } from './internal/test-servers.js'
import type { AccessLogEntry } from './request-log.js'

const one = certificateFor('one.example')

const ENHANCE_YOUR_CALM = 11

async function start(limits: GatewayLimits = {}) {
  const answer = signalled()
  const asked = signalled()
  const connections = { count: 0 }
  const upstream = await startUpstream((req, res) => {
    asked.fire()
    if (req.url === '/') res.end('x')
    else void answer.promise.then(() => res.end('late'))
  })
  upstream.server.on('connection', () => {
    connections.count += 1
  })
  const logged: AccessLogEntry[] = []
  const gateway = createGateway(
    { routes: [{ path: '/**', upstream: upstream.url }], listen: { port: 0, tls: one, http2: true }, limits },
    { log: (entry) => void logged.push(entry) },
  )
  onTestFinished(() => gateway.close({ timeout: 0 }))
  const { port } = (await gateway.listen(0, '127.0.0.1')).address() as AddressInfo
  return { port, asked: asked.promise, answer: answer.fire, connections, logged }
}

const times = (count: number, bytes: Buffer): Buffer => Buffer.concat(Array.from({ length: count }, () => bytes))

test.each([
  ['says nothing', Buffer.alloc(0), undefined],
  ['does not end its header fields', frame(HEADERS, END_STREAM, 1, GET), undefined],
  ['only pings', Buffer.alloc(0), frame(PING, 0, 0, '12345678')],
  ['sends a frame byte by byte', frame(HEADERS, END_STREAM, 1, GET).subarray(0, 3), Buffer.from([0])],
])('a session that %s is ended', async (_what, first, then) => {
  const { port, logged } = await start({ headerTimeout: 300, keepAliveTimeout: 60_000 })
  const client = await rawHttp2(port)
  client.socket.write(first)
  const timer = setInterval(() => then !== undefined && client.socket.writable && client.socket.write(then), 50)
  onTestFinished(() => clearInterval(timer))

  await client.closed

  expect(logged).toHaveLength(0)
})

test('one that has begun with a request is ended when it asks for nothing more, and not while one is under way', async () => {
  const { port, asked, answer } = await start({ headerTimeout: 60_000, keepAliveTimeout: 150 })
  const client = await rawHttp2(port)
  const slow = Buffer.concat([Buffer.from([0x82, 0x87, 0x41, 1, 0x61, 0x04, 5]), Buffer.from('/slow')])
  client.socket.write(frame(HEADERS, END_STREAM | END_HEADERS, 1, slow))
  await asked
  const early = await Promise.race([
    client.closed.then(() => 'closed'),
    new Promise((resolve) => setTimeout(resolve, 400, 'open')),
  ])

  answer()
  // Half a request makes it no less idle.
  client.socket.write(frame(HEADERS, END_STREAM, 3, GET))
  await client.closed

  expect(early).toBe('open')
  expect(client.frames.flatMap(({ type, payload }) => (type === DATA ? String(payload) : [])).join('')).toBe('late')
})

test.each([
  ['pings', frame(PING, 0, 0, '12345678')],
  ['settings', frame(SETTINGS, 0, 0)],
])('a flood of %s ends the session, also of a client that reads the answers', async (_what, bytes) => {
  const { port, asked } = await start({ headerTimeout: 60_000 })
  const client = await rawHttp2(port)
  const path = Buffer.concat([Buffer.from([0x82, 0x87, 0x41, 1, 0x61, 0x04, 5]), Buffer.from('/slow')])
  client.socket.write(frame(HEADERS, END_STREAM | END_HEADERS, 1, path))
  await asked
  const answered = () => client.frames.filter(({ type, flags }) => type === bytes[3] && flags === ACK).length

  for (let sent = 0; client.socket.writable && sent < 20_000; sent += 100) {
    client.socket.write(times(100, bytes))
    await vi.waitFor(() => expect(client.socket.writable && answered() < sent + 100).toBe(false), { interval: 1 })
  }
  await client.closed

  expect(client.goneAway()).toContain(ENHANCE_YOUR_CALM)
  expect(answered()).toBeLessThan(1_200)
})

test('a flood of pieces of header fields ends the session', async () => {
  const { port, logged } = await start()
  const client = await rawHttp2(port)

  client.socket.write(Buffer.concat([frame(HEADERS, END_STREAM, 1, GET), times(2_000, frame(CONTINUATION, 0, 1, 'a'))]))
  await client.closed

  expect(logged).toHaveLength(0)
})

test('requests that are reset at once cost no connection to the upstream, and a flood of them ends the session', async () => {
  const { port, connections, logged } = await start({ keepAliveTimeout: 100 })
  const client = await rawHttp2(port)
  const pairs = Array.from({ length: 5_000 }, (_, index) => [
    frame(HEADERS, END_STREAM | END_HEADERS, 2 * index + 1, GET),
    frame(RST_STREAM, 0, 2 * index + 1, word(8)),
  ])

  client.socket.write(Buffer.concat(pairs.flat()))
  await client.closed

  expect(client.goneAway()[0]).toBeGreaterThan(0)
  expect(logged.length).toBeGreaterThan(100)
  expect(logged.length).toBeLessThan(2_500)
  expect(new Set(logged.map(({ status }) => status))).toEqual(new Set([499]))
  expect(connections.count).toBeLessThan(150)
})

test('a request that goes on after its answer is given up, so that it does not keep the session open', async () => {
  const { port } = await start({ keepAliveTimeout: 100 })
  const client = await rawHttp2(port)
  const path = Buffer.concat([Buffer.from([0x83, 0x87, 0x41, 1, 0x61, 0x04, 4]), Buffer.from('/a/.')])

  client.socket.write(frame(HEADERS, END_HEADERS, 1, path))
  await client.closed

  const codes = client.frames.filter(({ type }) => type === RST_STREAM).map(({ payload }) => payload.readUInt32BE(0))
  expect(codes).toEqual([0])
})

test('a connection without a handshake is ended', async () => {
  const { port } = await start({ headerTimeout: 200 })
  const socket = connect(port, '127.0.0.1')
  socket.on('error', () => {})

  await new Promise((resolve) => socket.once('close', resolve))
})

test('the head of a request of HTTP/1.1 has its time on this listener, too', async () => {
  const { port } = await start({ headerTimeout: 200 })
  const socket = connectTls({ port, host: '127.0.0.1', rejectUnauthorized: false, ALPNProtocols: ['http/1.1'] })
  let text = ''
  socket.on('data', (chunk) => {
    text += String(chunk)
  })
  socket.on('error', () => {})
  socket.write('GET / HTTP/1.1\r\nHost: a\r\nX-Slow: ')

  await new Promise((resolve) => socket.once('close', resolve))

  expect(text).toMatch(/^HTTP\/1\.1 408 /)
})
