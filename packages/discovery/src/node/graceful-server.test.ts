import { once } from 'node:events'
import { Agent, createServer, type RequestListener, request, type Server } from 'node:http'
import { createServer as createTlsServer, request as tlsRequest } from 'node:https'
import { type AddressInfo, connect } from 'node:net'
import { setImmediate as tick, setTimeout as wait } from 'node:timers/promises'
import { describe, expect, it, onTestFinished } from 'vitest'
import { createDiscovery } from '../discovery.js'
import type { EndpointInit } from '../endpoint.js'
import { gracefulServer } from '../node.js'
import type { SourceSink } from '../source.js'
import { serviceFetch } from '../undici/service-fetch.js'
import { cert, key } from '../undici/test-certificate.js'

const portOf = (server: Server) => (server.address() as AddressInfo).port

async function listen(listener: RequestListener = (_, res) => void res.end('ok')): Promise<Server> {
  const server = createServer(listener).listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => {
    server.close()
    server.closeAllConnections()
  })
  return server
}

interface Reply {
  readonly status: number | undefined
  readonly connection: string | undefined
  readonly text: string
}

function get(port: number, agent: Agent | undefined, path = '/'): Promise<Reply> {
  return new Promise((resolve, reject) => {
    const sent = request({ port, path, agent, host: '127.0.0.1' }, async (response) => {
      let text = ''
      for await (const chunk of response) text += chunk
      resolve({ status: response.statusCode, connection: response.headers.connection, text })
    })
    sent.once('error', reject).end()
  })
}

function keepAliveAgent(): Agent {
  const agent = new Agent({ keepAlive: true })
  onTestFinished(() => agent.destroy())
  return agent
}

describe('gracefulServer', () => {
  it('loses no request of clients that follow the registry, while a server under load is drained', async () => {
    const slowly: RequestListener = (_, res) => void setTimeout(() => res.end('ok'), 5 * Math.random())
    const servers = [await listen(slowly), await listen(slowly)] as const
    const [first, second] = servers.map((server): EndpointInit => ({ host: '127.0.0.1', port: portOf(server) }))
    let sink!: SourceSink
    const watch = (_: string, given: SourceSink) => {
      sink = given
    }
    const discovery = createDiscovery({ source: { watch } })
    onTestFinished(() => discovery.close())
    const fetch = serviceFetch(discovery, { retries: 0 })
    discovery.service('users')
    sink.update([first!, second!])

    const graceful = gracefulServer(servers[0], {
      // The clients hear of it a while after the registry does.
      registered: { deregister: async () => void setTimeout(() => sink.update([second!]), 30) },
      drainDelay: 400,
      deadline: 10_000,
    })
    const answers: number[] = []
    const load = new AbortController()
    const callers = Array.from({ length: 32 }, async () => {
      while (!load.signal.aborted) {
        const response = await fetch('http://users/', { method: 'POST', body: 'x' })
        await response.text()
        answers.push(response.status)
      }
    })
    while (answers.length < 300) await wait(10)

    const before = answers.length
    const drained = await graceful.drain()
    const during = answers.length - before
    await wait(50)
    load.abort()
    await Promise.all(callers)

    expect(drained).toEqual({ cut: 0 })
    expect(during).toBeGreaterThan(100)
    expect(new Set(answers)).toEqual(new Set([200]))
    expect(servers[0].listening).toBe(false)
  }, 15_000)

  it('keeps serving while it waits, and tells each client that the connection ends', async () => {
    const server = await listen()
    const graceful = gracefulServer(server, { drainDelay: 100, deadline: 2_000 })
    const agent = keepAliveAgent()
    const port = portOf(server)
    expect((await get(port, agent)).connection).toBe('keep-alive')

    const drained = graceful.drain()
    const reply = await get(port, agent)
    await drained

    expect(reply).toEqual({ status: 200, connection: 'close', text: 'ok' })
    await expect(get(port, undefined)).rejects.toThrow('ECONNREFUSED')
  })

  it('tells the clients whose answer has not begun when the drain begins, too', async () => {
    let answer!: () => void
    const server = await listen((_, res) => {
      answer = () => res.end('ok')
    })
    const graceful = gracefulServer(server, { drainDelay: 0, deadline: 2_000 })
    const reply = get(portOf(server), keepAliveAgent())
    await once(server, 'request')

    const drained = graceful.drain()
    answer()

    expect((await reply).connection).toBe('close')
    expect(await drained).toEqual({ cut: 0 })
  })

  it('answers a request that was on its way on an idle connection when the listener closed', async () => {
    const server = await listen()
    const graceful = gracefulServer(server, { drainDelay: 60, deadline: 5_000 })
    const agent = keepAliveAgent()
    const port = portOf(server)
    await get(port, agent)

    const drained = graceful.drain()
    while (server.listening) await tick()
    const reply = await get(port, agent)
    await drained

    expect(reply).toMatchObject({ status: 200, connection: 'close' })
  })

  it('is not ready from the moment of the call, and deregisters before it stops to listen', async () => {
    const server = createServer()
    const order: string[] = []
    const graceful = gracefulServer(server, {
      registered: {
        deregister: async () => void order.push(`deregister, ready: ${graceful.ready}, listening: ${server.listening}`),
      },
      onDrain: () => order.push(`drain, ready: ${graceful.ready}`),
      drainDelay: 10,
    })
    expect(graceful.ready).toBe(false)
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    expect(graceful.ready).toBe(true)
    server.once('close', () => order.push('closed'))

    const drained = graceful.drain()
    expect(graceful.ready).toBe(false)
    expect(graceful.drain()).toBe(drained)
    await drained

    expect(order).toEqual(['drain, ready: false', 'deregister, ready: false, listening: true', 'closed'])
    expect(await graceful.drain()).toEqual({ cut: 0 })
  })

  it('answers readiness probes', async () => {
    const server = await listen((req, res) => graceful.readiness(req, res))
    const graceful = gracefulServer(server, { drainDelay: 100 })
    expect(await get(portOf(server), undefined)).toMatchObject({ status: 200, text: 'ready' })

    const drained = graceful.drain()
    expect(await get(portOf(server), undefined)).toMatchObject({ status: 503, text: 'draining' })
    await drained
  })

  it('lets what is in flight end, down to the last byte, and closes its connection then', async () => {
    let finish!: () => void
    const body = 'x'.repeat(4_000_000)
    const server = await listen((_, res) => {
      res.write('begun;')
      finish = () => res.end(body)
    })
    const graceful = gracefulServer(server, { drainDelay: 0, deadline: 10_000 })
    const reply = get(portOf(server), keepAliveAgent())
    await once(server, 'request')

    const drained = graceful.drain()
    await wait(30)
    finish()

    expect((await reply).text.length).toBe(body.length + 6)
    expect(await drained).toEqual({ cut: 0 })
  })

  it('cuts at the deadline what has not ended: requests, and connections that never sent one', async () => {
    const server = await listen(() => {})
    const graceful = gracefulServer(server, { drainDelay: 20, deadline: 150 })
    const stuck = get(portOf(server), keepAliveAgent())
    const failure = stuck.catch((error: unknown) => error)
    await once(server, 'request')
    const half = connect(portOf(server), '127.0.0.1')
    half.on('error', () => {})
    half.write('GET / HT')
    await once(server, 'connection')

    const begun = performance.now()
    const drained = await graceful.drain()

    expect(performance.now() - begun).toBeLessThan(1_000)
    expect(drained).toEqual({ cut: 1 })
    expect(await failure).toMatchObject({ code: 'ECONNRESET' })
    if (!half.destroyed) await once(half, 'close')
  })

  it('does not wait for connections that never sent anything', async () => {
    const server = await listen()
    const graceful = gracefulServer(server, { drainDelay: 10, deadline: 20_000 })
    const silent = connect(portOf(server), '127.0.0.1').on('error', () => {})
    await once(server, 'connection')

    const begun = performance.now()
    expect(await graceful.drain()).toEqual({ cut: 0 })

    expect(performance.now() - begun).toBeLessThan(5_000)
    silent.destroy()
  })

  it('cuts upgraded connections at the deadline', async () => {
    const server = await listen()
    server.on('upgrade', (_, socket) => {
      socket.on('error', () => {})
      socket.write('HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n')
    })
    const graceful = gracefulServer(server, { drainDelay: 0, deadline: 100 })
    const client = connect(portOf(server), '127.0.0.1')
    client.on('error', () => {}).write('GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n')
    await once(client, 'data')

    await graceful.drain()

    if (!client.destroyed) await once(client, 'close')
  })

  it.each([
    ['fails', async () => Promise.reject(new Error('registry away')), /registry away/],
    ['throws', () => void JSON.parse('{') as never, /JSON/],
    ['never settles', () => new Promise<void>(() => {}), /did not settle within 100 ms/],
  ])('goes on when deregistering %s, and tells', async (_, deregister, message) => {
    const server = await listen()
    const graceful = gracefulServer(server, { registered: { deregister }, drainDelay: 10, deadline: 300 })

    const { cut, error } = await graceful.drain()

    expect(cut).toBe(0)
    expect(String(error)).toMatch(message)
    expect(server.listening).toBe(false)
  })

  it('ends what did not listen, or was closed already', async () => {
    expect(await gracefulServer(createServer(), { drainDelay: 0 }).drain()).toEqual({ cut: 0 })

    const server = await listen()
    const graceful = gracefulServer(server, { drainDelay: 0, deadline: 1_000 })
    server.close()
    expect(await graceful.drain()).toEqual({ cut: 0 })
  })

  it('drains an https server', async () => {
    const server = createTlsServer({ key, cert }, (_, res) => void res.end('ok')).listen(0, '127.0.0.1')
    await once(server, 'listening')
    const graceful = gracefulServer(server, { drainDelay: 50, deadline: 20_000 })
    const port = (server.address() as AddressInfo).port
    const handshake = connect(port, '127.0.0.1').on('error', () => {})
    await once(server, 'connection')

    const drained = graceful.drain()
    const [response] = await once(tlsRequest({ port, host: '127.0.0.1', rejectUnauthorized: false }).end(), 'response')
    response.resume()

    expect(response.headers.connection).toBe('close')
    expect(await drained).toEqual({ cut: 0 })
    handshake.destroy()
  })

  it.each([
    [undefined, {}, /server must be/],
    [{ close() {} }, {}, /server must be/],
    [createServer(), null, /options must be/],
    [createServer(), { registered: {} }, /registered must be/],
    [createServer(), { drainDelay: -1 }, /drainDelay must be/],
    [createServer(), { deadline: Number.POSITIVE_INFINITY }, /deadline must be/],
    [createServer(), { onDrain: 5 }, /onDrain must be/],
  ])('refuses what is wrong (%#)', (server, options, message) => {
    expect(() => gracefulServer(server as never, options as never)).toThrow(TypeError)
    expect(() => gracefulServer(server as never, options as never)).toThrow(message)
  })
})
