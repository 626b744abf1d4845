import { once } from 'node:events'
import type { RequestListener } from 'node:http'
import { type AddressInfo, connect, type Socket } from 'node:net'
import { expect, onTestFinished, test, vi } from 'vitest'
import { createGateway } from './gateway.js'
import { dial, raw, serve, signalled, startUpstream } from './internal/test-servers.js'
import { inTurn } from './pipelining.js'
import { proxy } from './proxy.js'
import type { AccessLogEntry } from './request-log.js'

const get = (path: string, more = ''): string => `GET ${path} HTTP/1.1\r\nHost: a\r\n${more}\r\n`

/** A gateway, and its connections as it has them. */
async function start(listener: RequestListener) {
  const upstream = await startUpstream(listener)
  const gateway = createGateway({ routes: [{ path: '/**', upstream: upstream.url }] })
  onTestFinished(() => gateway.close({ timeout: 0 }))
  const server = await gateway.listen(0, '127.0.0.1')
  const sockets: Socket[] = []
  server.on('connection', (socket) => sockets.push(socket))
  return { port: (server.address() as AddressInfo).port, sockets }
}

/** Answers to all but the first at once; that one waits. */
function firstWaits() {
  const asked: string[] = []
  const answer = signalled()
  const listener: RequestListener = (req, res) => {
    asked.push(req.url!)
    if (req.url === '/first') void answer.promise.then(() => res.end('first'))
    else res.end(req.url)
  }
  return { asked, answer: answer.fire, listener }
}

test.each(['gateway', 'proxy'])(
  'a %s asks for what was sent in advance only once the one before is answered',
  async (kind) => {
    const { asked, answer, listener } = firstWaits()
    const port =
      kind === 'gateway' ? (await start(listener)).port : (await serve(proxy((await startUpstream(listener)).url))).port

    const answers = raw(port, get('/first') + get('/second') + get('/third', 'Connection: close\r\n'))
    await vi.waitFor(() => expect(asked).toEqual(['/first']))
    // Whoever else asks has had an answer by the time the second would have been asked for.
    expect(await raw(port, get('/other', 'Connection: close\r\n'))).toContain('/other')
    expect(asked).toEqual(['/first', '/other'])
    answer()

    expect(await answers).toMatch(/first[\s\S]*\/second[\s\S]*\/third/)
    expect(asked).toEqual(['/first', '/other', '/second', '/third'])
  },
)

test('who sends far more than is answered is not read from, until it is', async () => {
  const { asked, answer, listener } = firstWaits()
  const { port, sockets } = await start(listener)
  const count = 1_500
  const bytes = get('/first') + get('/more', `X-Fill: ${'x'.repeat(8_000)}\r\n`).repeat(count)

  const client = dial(port, bytes)
  let text = ''
  client.on('data', (chunk) => {
    text += chunk.toString('latin1')
  })
  await vi.waitFor(() => expect(sockets[0]?.isPaused()).toBe(true))
  expect(sockets[0]!.bytesRead).toBeLessThan(bytes.length / 4)
  expect(asked).toEqual(['/first'])
  answer()

  await vi.waitFor(() => expect(text.match(/\/more/g)).toHaveLength(count), { timeout: 20_000 })
}, 30_000)

test('what waits is forgotten with its connection', async () => {
  const { asked, answer, listener } = firstWaits()
  const { port } = await start(listener)

  const client = dial(port, get('/first') + get('/second'))
  await vi.waitFor(() => expect(asked).toEqual(['/first']))
  client.destroy()
  answer()

  expect(await raw(port, get('/other', 'Connection: close\r\n'))).toContain('/other')
  expect(asked).toEqual(['/first', '/other'])
})

test('a response that another one stands for has its turn when that one has', async () => {
  const { url } = await startUpstream((req, res) => {
    const wrapped = new Proxy(res, {
      get(target, name) {
        const value: unknown = Reflect.get(target, name)
        return typeof value === 'function' ? value.bind(target) : value
      },
    })
    inTurn((_req, given) => void given.end('served'))(req, wrapped, () => {})
  })

  expect(await (await fetch(url)).text()).toBe('served')
})

test('CONNECT is refused after what came before it is answered', async () => {
  const { asked, answer, listener } = firstWaits()
  const { port } = await start(listener)

  const answers = raw(port, `${get('/first')}CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n`)
  await vi.waitFor(() => expect(asked).toEqual(['/first']))
  answer()

  expect(await answers).toMatch(/^HTTP\/1\.1 200 [\s\S]*firstHTTP\/1\.1 405 /)
})

test.each(['', get('/first')])(
  'a client that resets its connection at once after %jCONNECT harms nobody',
  async (before) => {
    const { answer, listener } = firstWaits()
    const { port, sockets } = await start(listener)

    for (let turn = 0; turn < 20; turn += 1) {
      const client = dial(port)
      await once(client, 'connect')
      client.write(`${before}CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n`)
      client.resetAndDestroy()
    }
    answer()

    // An error that nobody hears fails the run.
    await vi.waitFor(() => expect(sockets.filter(({ destroyed }) => destroyed)).toHaveLength(20))
  },
)

test('the connection of a refused CONNECT is closed, whatever its client does', async () => {
  const { listener } = firstWaits()
  const { port, sockets } = await start(listener)
  const client = connect({ port, host: '127.0.0.1', allowHalfOpen: true })
  client.on('error', () => {})
  onTestFinished(() => void client.destroy())

  client.write('CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n')

  await vi.waitFor(() => expect(sockets.map(({ destroyed }) => destroyed)).toEqual([true]))
})

test('what was sent in advance counts from its turn on, as it does in a trace', async () => {
  const { asked, answer, listener } = firstWaits()
  const upstream = await startUpstream(listener)
  const log: AccessLogEntry[] = []
  const gateway = createGateway(
    { routes: [{ path: '/**', upstream: upstream.url }] },
    { log: (entry) => void log.push(entry) },
  )
  onTestFinished(() => gateway.close({ timeout: 0 }))
  const { port } = (await gateway.listen(0, '127.0.0.1')).address() as AddressInfo
  const answers = raw(port, get('/first') + get('/second', 'Connection: close\r\n'))
  await vi.waitFor(() => expect(asked).toEqual(['/first']))
  const seen = Date.now()
  await vi.waitFor(() => expect(Date.now()).toBeGreaterThan(seen + 5))

  const answered = Date.now()
  answer()
  await answers

  await vi.waitFor(() => expect(log.map(({ path }) => path)).toEqual(['/first', '/second']))
  expect(Date.parse(log[1]!.time)).toBeGreaterThanOrEqual(answered)
})
