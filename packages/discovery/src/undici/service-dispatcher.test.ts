import { once } from 'node:events'
import { Readable, Writable } from 'node:stream'
import { retryBudget } from '@msx/retry'
import { Agent, Client, Dispatcher, interceptors, request, type errors as undiciErrors } from 'undici'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { consistentHash } from '../balancers/consistent-hash.js'
import { createDiscovery, type Discovery } from '../discovery.js'
import { fixed } from '../sources/fixed.js'
import { ScriptedSource, VirtualClock } from '../test-support.js'
import { ServiceDispatcher, type ServiceDispatcherOptions } from './service-dispatcher.js'
import { discover, leases, signalled, startServer, type TestServer } from './test-servers.js'

const url = 'http://user-service/api/users/1'

function dispatcherOf(discovery: Discovery, options?: ServiceDispatcherOptions): ServiceDispatcher {
  const dispatcher = new ServiceDispatcher(discovery, options)
  onTestFinished(() => dispatcher.destroy())
  return dispatcher
}

const addressOf = ({ url }: TestServer) => ({ host: new URL(url).hostname, port: Number(new URL(url).port) })

describe('ServiceDispatcher', () => {
  it.each([
    ['discovery', undefined, {}],
    ['services', discover, { services: 'users' }],
    ['pool', discover, { pool: 5 }],
    ['fallback', discover, { fallback: {} }],
    ['hostHeader', discover, { hostHeader: 'none' }],
    ['zone', discover, { zone: 1 }],
    ['hashKey', discover, { hashKey: 'path' }],
    ['retries', discover, { retries: -1 }],
    ['retries', discover, { retries: 1.5 }],
    ['budget', discover, { budget: 0.2 }],
  ])('refuses a wrong %s, naming it', (option, make, options) => {
    const create = () => new ServiceDispatcher(make?.([]) as Discovery, options as ServiceDispatcherOptions)

    expect(create).toThrow(TypeError)
    expect(create).toThrow(new RegExp(`^${option} must be`))
  })

  it('is a Dispatcher that request, stream and composed interceptors take', async () => {
    const server = await startServer((req, res) => void req.pipe(res))
    const discovery = discover([server])
    const dispatcher = dispatcherOf(discovery)
    expect(dispatcher).toBeInstanceOf(Dispatcher)

    const posted = await request(url, { dispatcher, method: 'POST', body: 'hello' })
    expect(await posted.body.text()).toBe('hello')

    const composed = dispatcher.compose(interceptors.responseError())
    expect(await (await request(url, { dispatcher: composed, method: 'PUT', body: 'again' })).body.text()).toBe('again')

    const chunks: Buffer[] = []
    await dispatcher.stream(
      { origin: 'http://user-service', path: '/', method: 'POST', body: Readable.from(['streamed']) },
      () =>
        new Writable({
          write(chunk: Buffer, _, done) {
            chunks.push(chunk)
            done()
          },
        }),
    )
    expect(Buffer.concat(chunks).toString()).toBe('streamed')
    expect(leases(discovery)).toEqual({ inflight: 0, picked: 3, failed: 0, cancelled: 0 })
  })

  it('sends what is about one thing to one endpoint, and the next best while that one is broken', async () => {
    const servers = await Promise.all([1, 2, 3].map((id) => startServer((_, res) => void res.end(`${id}`))))
    const source = fixed({ 'user-service': servers.map(({ url }) => url) })
    const discovery = createDiscovery({ source, balancer: consistentHash() })
    onTestFinished(() => discovery.close())
    const dispatcher = dispatcherOf(discovery, { hashKey: ({ path }) => path, retries: 1 })
    const answer = async () => (await request('http://user-service/carts/7', { dispatcher })).body.text()

    const first = await answer()
    expect([await answer(), await answer(), await answer()]).toEqual([first, first, first])

    await servers[Number(first) - 1]!.kill()
    const second = await answer()
    expect(second).not.toBe(first)
    expect([await answer(), await answer()]).toEqual([second, second])
  })

  it('prefers the endpoints of its zone', async () => {
    const [near, far] = await Promise.all([
      startServer((_, res) => void res.end('near')),
      startServer((_, res) => void res.end('far')),
    ])
    const source = new ScriptedSource()
    const discovery = createDiscovery({ source })
    onTestFinished(() => discovery.close())
    const dispatcher = dispatcherOf(discovery, { zone: 'a' })
    discovery.service('user-service')
    source.sink.update([
      { ...addressOf(far), zone: 'b' },
      { ...addressOf(near), zone: 'a' },
    ])

    for (let i = 0; i < 5; i++) expect(await (await request(url, { dispatcher })).body.text()).toBe('near')
  })

  it('fails a request whose key cannot be told', async () => {
    const hashKey = () => {
      throw new Error('no key in this path')
    }
    const dispatcher = dispatcherOf(discover([await startServer()]), { hashKey })

    await expect(request(url, { dispatcher })).rejects.toThrow('no key in this path')
  })

  it("works under Node's own fetch", async () => {
    const server = await startServer((req, res) => void res.end(req.headers.host))
    const discovery = discover([server])
    const init = { dispatcher: dispatcherOf(discovery) } as object

    expect(await (await globalThis.fetch(url, init)).text()).toBe('user-service')
    expect(leases(discovery)).toMatchObject({ inflight: 0, picked: 1 })
  })

  it('leaves a Host header alone, in each of the forms headers have', async () => {
    const server = await startServer((req, res) => void res.end(`${req.headers.host} ${req.headers['x-a']}`))
    const dispatcher = dispatcherOf(discover([server]))
    const answer = async (headers: Dispatcher.DispatchOptions['headers'] | undefined) =>
      (await request(url, { dispatcher, headers: headers ?? null })).body.text()

    expect(await answer(undefined)).toBe('user-service undefined')
    expect(await answer({ 'x-a': '1' })).toBe('user-service 1')
    expect(await answer(['x-a', '1'])).toBe('user-service 1')
    expect(await answer(new Map([['x-a', '1']]))).toBe('user-service 1')
    expect(await answer({ 'x-a': '1', Host: 'own' })).toBe('own 1')
    expect(await answer(['host', 'own', 'x-a', 'host'])).toBe('own host')
    expect(await answer(['x-a', 'host'])).toBe('user-service host')
    expect(await answer(new Map([['HOST', 'own']]))).toBe('own undefined')
  })

  it('hands every option on to the pools, those that it does not know, too', async () => {
    const seen: object[] = []
    const server = await startServer()
    const factory = (origin: URL, options: object) => {
      const client = new Client(origin, options)
      const dispatch = client.dispatch.bind(client)
      client.dispatch = (request, handler) => {
        seen.push(request)
        return dispatch(request, handler)
      }
      return client
    }
    const dispatcher = dispatcherOf(discover([server]), { pool: { factory } })
    const plain = { query: { q: 1 }, bodyTimeout: 7_000, headersTimeout: 8_000, reset: true, blocking: false } as const

    await (await request(url, { dispatcher, ...plain, opaque: 'mine' })).body.dump()
    await (await dispatcher.request({ origin: 'http://user-service', path: '/', method: 'GET', ...plain })).body.dump()

    const headers = { host: 'user-service' }
    expect(seen[0]).toMatchObject({ ...plain, headers, opaque: 'mine' })
    expect(seen[1]).toMatchObject({ ...plain, headers, servername: 'user-service' })
  })

  it('does not retry a body that is already read, nor one that is a stream', async () => {
    const [broken, healthy] = await Promise.all([startServer((req) => void req.socket.destroy()), startServer()])
    const send = (body: string | Readable) =>
      request(url, { dispatcher: dispatcherOf(discover([broken, healthy]), { retries: 1 }), method: 'PUT', body })

    await expect(send(Readable.from(['x']))).rejects.toThrow()
    expect(healthy.requests).toEqual([])

    expect((await send('x')).statusCode).toBe(200)
    expect(healthy.requests).toEqual(['PUT /api/users/1'])
  })

  it('keeps the body of a request that never left for the next endpoint', async () => {
    const dead = await startServer()
    const echo = await startServer((req, res) => void req.pipe(res))
    await dead.kill()
    const dispatcher = dispatcherOf(discover([dead, echo]))

    const response = await request(url, { dispatcher, method: 'POST', body: Readable.from(['one ', 'piece']) })

    expect(await response.body.text()).toBe('one piece')
  })

  it('does not blame the endpoint for a request that cannot be sent', async () => {
    const server = await startServer()
    const discovery = discover([server])
    const dispatcher = dispatcherOf(discovery)

    await expect(request(url, { dispatcher, headers: { 'x-bad': 'a\nb' } })).rejects.toMatchObject({
      code: 'UND_ERR_INVALID_ARG',
    })
    const upload = request(url, { dispatcher, method: 'POST', body: Readable.from(failing()) })
    await expect(upload).rejects.toThrow('disk read error')

    expect(leases(discovery)).toEqual({ inflight: 0, picked: 2, failed: 0, cancelled: 2 })
  })

  it('does not blame the endpoint for a handler that throws', async () => {
    const server = await startServer()
    const discovery = discover([server])
    const dispatcher = dispatcherOf(discovery)
    const failed = vi.fn()
    const thrown = new Error('handler')

    dispatcher.dispatch(
      { origin: 'http://user-service', path: '/', method: 'GET' },
      {
        onRequestStart() {},
        onResponseStart() {
          throw thrown
        },
        onResponseError: (_, error) => failed(error),
      },
    )

    await vi.waitFor(() => expect(failed).toHaveBeenCalledTimes(1))
    expect(failed).toHaveBeenCalledWith(thrown)
    expect(leases(discovery)).toEqual({ inflight: 0, picked: 1, failed: 0, cancelled: 1 })
  })

  it('shows the handler one start and one controller over all attempts', async () => {
    const dead = await startServer()
    const alive = await startServer()
    await dead.kill()
    const starts: unknown[] = []
    const ended = signalled()
    let last: Dispatcher.DispatchController | undefined

    dispatcherOf(discover([dead, alive])).dispatch(
      { origin: 'http://user-service', path: '/', method: 'GET' },
      {
        onRequestStart: (controller) => starts.push(controller),
        onResponseEnd(controller) {
          last = controller
          ended.fire()
        },
        onResponseError: (_, error) => {
          throw error
        },
      },
    )
    await ended.promise

    expect(starts).toHaveLength(1)
    expect(last).toBe(starts[0])
    expect(last?.rawHeaders).toEqual(expect.arrayContaining([Buffer.from('Content-Length')]))
  })

  it('refuses an origin that is no http URL through the handler', async () => {
    const dispatcher = dispatcherOf(discover([]))
    const failed = vi.fn()

    dispatcher.dispatch(
      { origin: 'ftp://user-service', path: '/', method: 'GET' },
      { onRequestStart() {}, onResponseError: (_, error) => failed(error) },
    )

    expect(failed.mock.calls[0]?.[0]).toMatchObject({ code: 'UND_ERR_INVALID_ARG' })
    expect(() => dispatcher.dispatch({ path: '/', method: 'GET' }, undefined as never)).toThrow(
      'handler must be an object',
    )
  })

  it('holds the lease of an upgraded connection until it is closed', async () => {
    const server = await startServer()
    server.server.on('upgrade', (_, socket) => {
      socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\n')
      socket.on('data', () => socket.end())
    })
    const discovery = discover([server])

    const { socket } = await dispatcherOf(discovery).upgrade({
      path: '/',
      origin: 'http://user-service',
      protocol: 'chat',
    } as Dispatcher.UpgradeOptions)
    expect(leases(discovery)).toMatchObject({ inflight: 1 })
    socket.resume().end('bye')
    await once(socket, 'close')

    expect(leases(discovery)).toEqual({ inflight: 0, picked: 1, failed: 0, cancelled: 0 })
  })
})

describe('the budget of retries', () => {
  const dead = { url: 'http://127.0.0.1:9' }

  it('is earned by requests: when it is spent, the first failure is what the caller hears', async () => {
    const budget = retryBudget({ ratio: 0.5, minPerSecond: 0, clock: new VirtualClock() })
    const discovery = discover([dead, { url: 'http://127.0.0.2:9' }], { outlier: false })
    const dispatcher = dispatcherOf(discovery, { budget })

    for (let i = 0; i < 6; i++)
      await expect(request(url, { dispatcher })).rejects.toMatchObject({ code: 'ECONNREFUSED' })

    expect(leases(discovery)).toMatchObject({ picked: 6 + 3, failed: 6 + 3, inflight: 0 })
  })

  it('is by default 20 % of the requests of a service, and 100 in 10 seconds besides', async () => {
    const clock = new VirtualClock()
    const discovery = discover([dead, { url: 'http://127.0.0.2:9' }], { outlier: false, clock })
    const dispatcher = dispatcherOf(discovery)
    const send = (service: string) => request(`http://${service}/`, { dispatcher }).catch(() => {})

    for (let i = 0; i < 150; i++) await send('user-service')

    // 150 requests, and as many retries as there were reserved or earned: 100 + 0.2 * requests.
    expect(leases(discovery).picked).toBe(150 + 130)
  })

  it('can be left out', async () => {
    const discovery = discover([dead, { url: 'http://127.0.0.2:9' }], { outlier: false, clock: new VirtualClock() })
    const dispatcher = dispatcherOf(discovery, { budget: false })

    for (let i = 0; i < 150; i++) await request(url, { dispatcher }).catch(() => {})

    expect(leases(discovery).picked).toBe(300)
  })
})

describe('services', () => {
  it('that are listed are services; other hosts go to a plain agent', async () => {
    const [service, other] = await Promise.all([
      startServer((_, res) => void res.end('service')),
      startServer((_, res) => void res.end('other')),
    ])
    const dispatcher = dispatcherOf(discover([service]), { services: ['user-service'] })

    expect(await (await request(url, { dispatcher })).body.text()).toBe('service')
    expect(await (await request(other.url, { dispatcher })).body.text()).toBe('other')

    await dispatcher.close()
    await vi.waitFor(() => expect(other.open).toBe(0))
  })

  it('may be told by a function, and the others may have a dispatcher of their own', async () => {
    const [service, other] = await Promise.all([startServer(), startServer((_, res) => void res.end('other'))])
    const fallback = new Agent()
    onTestFinished(() => fallback.destroy())
    const services = (host: string) => (host.endsWith('.internal') ? host.slice(0, -'.internal'.length) : undefined)
    const dispatcher = dispatcherOf(discover([service]), { services, fallback })

    expect((await request('http://user-service.internal/', { dispatcher })).statusCode).toBe(200)
    expect(await (await request(other.url, { dispatcher })).body.text()).toBe('other')

    await dispatcher.close()
    expect(await (await request(other.url, { dispatcher: fallback })).body.text()).toBe('other')
  })
})

describe('an endpoint that is gone', () => {
  it('gets nothing new, ends what it has, and is let go', async () => {
    const release = signalled()
    const leaving = await startServer(async (_, res) => {
      res.write('one ')
      await release.promise
      res.end('two')
    })
    const staying = await startServer()
    const source = new ScriptedSource()
    const discovery = discover([], { source })
    const dispatcher = dispatcherOf(discovery)
    discovery.service('user-service')
    source.sink.update([addressOf(leaving)])
    const inFlight = await request(url, { dispatcher })

    source.sink.update([addressOf(staying)])
    await (await request(url, { dispatcher })).body.dump()
    expect(staying.requests).toHaveLength(1)
    expect(leaving.open).toBe(1)
    release.fire()

    expect(await inFlight.body.text()).toBe('one two')
    await vi.waitFor(() => expect(leaving.open).toBe(0))
  })

  it('has drainTimeout for what is in flight; then that is cut, and tried elsewhere where it may be', async () => {
    const cut = signalled()
    const stuck = await startServer((req) => void req.socket.once('close', cut.fire))
    const other = await startServer()
    const source = new ScriptedSource()
    const clock = new VirtualClock()
    const discovery = createDiscovery({ source, clock, drainTimeout: 5_000 })
    onTestFinished(() => discovery.close())
    const dispatcher = dispatcherOf(discovery, { retries: 1 })
    discovery.service('user-service')
    source.sink.update([addressOf(stuck)])
    const read = request(url, { dispatcher })
    const written = request(url, { dispatcher, method: 'POST' }).catch((error: unknown) => error)
    await vi.waitFor(() => expect(stuck.requests).toHaveLength(2))

    source.sink.update([addressOf(other)])
    clock.advance(4_999)
    await request(url, { dispatcher })
    expect(stuck.open).toBe(2)
    clock.advance(1)

    await cut.promise
    expect((await read).statusCode).toBe(200)
    expect(await written).toMatchObject({
      code: 'UND_ERR_SOCKET',
      message: expect.stringContaining('drainTimeout of 5000'),
    })
    expect(other.requests).toHaveLength(2)
  })

  it('calls the drainTimeout off when nothing is in flight any more', async () => {
    const [first, second] = [await startServer(), await startServer()]
    const source = new ScriptedSource()
    const clock = new VirtualClock()
    const discovery = createDiscovery({ source, clock, drainTimeout: 5_000, outlier: false })
    onTestFinished(() => discovery.close())
    const dispatcher = dispatcherOf(discovery)
    discovery.service('user-service')
    source.sink.update([addressOf(first)])
    await (await request(url, { dispatcher })).body.text()

    source.sink.update([addressOf(second)])

    await vi.waitFor(() => expect(clock.pending).toBe(0))
    expect(first.open).toBe(0)
  })

  it('is served again when it comes back', async () => {
    const [first, second] = await Promise.all([startServer(), startServer()])
    const source = new ScriptedSource()
    const discovery = discover([], { source })
    const dispatcher = dispatcherOf(discovery)
    discovery.service('user-service')
    source.sink.update([addressOf(first)])
    await (await request(url, { dispatcher })).body.dump()
    source.sink.update([addressOf(second)])
    source.sink.update([addressOf(first)])

    await (await request(url, { dispatcher })).body.dump()

    expect(first.requests).toHaveLength(2)
  })

  it('keeps its connections when only its description changes', async () => {
    const server = await startServer()
    const source = new ScriptedSource()
    const discovery = discover([], { source })
    const dispatcher = dispatcherOf(discovery, { pool: { connections: 1 } })
    discovery.service('user-service')
    source.sink.update([addressOf(server)])
    await (await request(url, { dispatcher })).body.dump()
    source.sink.update([{ ...addressOf(server), weight: 5 }])

    await (await request(url, { dispatcher })).body.dump()

    expect(server.connections).toBe(1)
  })
})

describe('the end', () => {
  it('by close lets requests end and takes no more', async () => {
    const release = signalled()
    const server = await startServer(async (_, res) => {
      res.write('one ')
      await release.promise
      res.end('two')
    })
    const discovery = discover([server])
    const dispatcher = dispatcherOf(discovery)
    const inFlight = await request(url, { dispatcher })

    const closed = dispatcher.close()
    expect(dispatcher.closed).toBe(true)
    await expect(request(url, { dispatcher })).rejects.toMatchObject({ code: 'UND_ERR_CLOSED' })
    release.fire()

    expect(await inFlight.body.text()).toBe('one two')
    await closed
    await dispatcher.close()
    await new Promise<void>((resolve) => dispatcher.close(resolve))
    expect(leases(discovery)).toEqual({ inflight: 0, picked: 1, failed: 0, cancelled: 0 })
  })

  it('by destroy aborts them, which is no failure of the endpoint', async () => {
    const arrived = signalled()
    const server = await startServer(() => arrived.fire())
    const discovery = discover([server])
    const dispatcher = dispatcherOf(discovery, { retries: 3 })
    const failed = request(url, { dispatcher })
    const settled = expect(failed).rejects.toMatchObject({
      code: 'UND_ERR_DESTROYED',
    } satisfies Partial<undiciErrors.UndiciError>)
    await arrived.promise

    await dispatcher.destroy()

    await settled
    expect(dispatcher.destroyed).toBe(true)
    await expect(request(url, { dispatcher })).rejects.toMatchObject({ code: 'UND_ERR_DESTROYED' })
    expect(leases(discovery)).toEqual({ inflight: 0, picked: 1, failed: 0, cancelled: 1 })
  })

  it('comes for calls that still wait for the source', async () => {
    const server = await startServer()
    const source = new ScriptedSource()
    const discovery = discover([], { source })
    const dispatcher = dispatcherOf(discovery)
    const failed = request(url, { dispatcher })
    const settled = expect(failed).rejects.toMatchObject({ code: 'UND_ERR_CLOSED' })
    await dispatcher.close()

    source.sink.update([addressOf(server)])

    await settled
    expect(leases(discovery)).toEqual({ inflight: 0, picked: 1, failed: 0, cancelled: 1 })
    expect(server.connections).toBe(0)
  })
})

async function* failing() {
  yield 'first'
  throw new Error('disk read error')
}
