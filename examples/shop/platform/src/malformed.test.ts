import { once } from 'node:events'
import { createServer, type RequestListener } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import { expect, it, onTestFinished } from 'vitest'
import { refuseMalformed } from './malformed.js'
import { rawAnswer } from './testing.js'

async function answerTo(bytes: string, answer: RequestListener = (_request, response) => response.end('ok')) {
  const server = createServer(answer)
  refuseMalformed(server)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  onTestFinished(() => void server.close())
  return rawAnswer(`http://127.0.0.1:${(server.address() as AddressInfo).port}`, bytes)
}

it.each([
  ['what is not HTTP', 'hello\r\n\r\n', 400],
  ['the beginning of a handshake of TLS', '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03', 400],
  ['two lengths', 'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab', 400],
  ['a body in chunks that are none', 'POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n', 400],
  ['headers that are too large', `GET / HTTP/1.1\r\nHost: a\r\nX: ${'x'.repeat(20_000)}\r\n\r\n`, 431],
  ['CONNECT', 'CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n', 405],
])('answers %s with a problem, and hangs up', async (_, bytes, status) => {
  const received = await answerTo(bytes, (request, response) => {
    request.on('error', () => undefined).on('end', () => response.end('ok'))
    request.resume()
  })

  const [head = '', body = ''] = received.split('\r\n\r\n')
  expect(head.split('\r\n')[0]).toMatch(new RegExp(`^HTTP/1\\.1 ${status} `))
  expect(head.split('\r\n')).toEqual(
    expect.arrayContaining([
      'Connection: close',
      'Content-Type: application/problem+json',
      `Content-Length: ${body.length}`,
    ]),
  )
  expect(JSON.parse(body)).toEqual({
    type: 'about:blank',
    status,
    title: expect.any(String),
    detail: expect.any(String),
  })
})

it('never answers in the place of an earlier request that is still being answered', async () => {
  const received = await answerTo(
    'POST /orders HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\nhello\r\n\r\n',
    () => {},
  )

  expect(received).toBe('')
})

it('adds nothing to an answer of which a part has left', async () => {
  const received = await answerTo('GET / HTTP/1.1\r\nHost: a\r\n\r\nhello\r\n\r\n', (_request, response) => {
    response.write('a part of it')
  })

  expect(received.match(/HTTP\/1\.1/g)?.length ?? 0).toBeLessThanOrEqual(1)
  expect(received).not.toContain('400')
})

it('lets an answer leave that is whole', async () => {
  const received = await answerTo('GET / HTTP/1.1\r\nHost: a\r\n\r\nhello\r\n\r\n')

  expect(received).toMatch(/^HTTP\/1\.1 200 OK\r\n/)
  expect(received).toMatch(/\r\n\r\nok$/)
})

it('is not ended by a client that asks for a tunnel and resets its connection at once', async () => {
  const server = createServer()
  refuseMalformed(server)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  onTestFinished(() => void server.close())
  const closed: Promise<unknown>[] = []
  server.on('connection', (socket) => closed.push(new Promise((resolve) => socket.once('close', resolve))))
  const errors: unknown[] = []
  const hear = (error: unknown) => errors.push(error)
  process.on('uncaughtException', hear)
  onTestFinished(() => void process.off('uncaughtException', hear))

  for (let turn = 0; turn < 20; turn += 1) {
    const client = connect((server.address() as AddressInfo).port, '127.0.0.1').on('error', () => {})
    await once(client, 'connect')
    client.write('CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n')
    client.resetAndDestroy()
  }
  await expect.poll(() => closed.length).toBe(20)
  await Promise.all(closed)

  expect(errors).toEqual([])
})
