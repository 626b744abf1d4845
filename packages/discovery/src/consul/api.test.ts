import { getEventListeners, once } from 'node:events'
import { createServer, type IncomingMessage, type RequestListener, type Server } from 'node:http'
import { createServer as createSecureServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import Consul from 'consul'
import { afterEach, describe, expect, it } from 'vitest'
import { systemClock } from '../clock.js'
import { isRegistryError } from '../errors.js'
import { VirtualClock } from '../test-support.js'
import { cert, key } from '../undici/test-certificate.js'
import type { ConsulApi, HealthQuestion } from './api.js'
import { ClientApi } from './client-api.js'
import { HttpApi } from './http-api.js'
import { defineService } from './registration.js'

const servers: Server[] = []

/** Stands in for Consul where a real one cannot be made to misbehave. */
async function serve(listener: RequestListener, create: (listener: RequestListener) => Server = createServer) {
  const requests: IncomingMessage[] = []
  const server = create((request, response) => {
    requests.push(request)
    listener(request, response)
  })
  servers.push(server)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return { server, requests, port: (server.address() as AddressInfo).port }
}

afterEach(() => {
  for (const server of servers.splice(0)) {
    server.close()
    server.closeAllConnections()
  }
})

const question: HealthQuestion = {
  service: 'users & co/1',
  passing: true,
  tags: ['a', 'b'],
  stale: true,
  dc: 'dc2',
  index: 7n,
  wait: 55_000,
}
const signal = new AbortController().signal

const http = (port: number, clock = systemClock) =>
  new HttpApi({ url: new URL(`http://127.0.0.1:${port}`), token: 'hunter2', tls: undefined }, clock)

const client = (port: number, clock = systemClock) =>
  new ClientApi(new Consul({ host: '127.0.0.1', port, defaults: { token: 'hunter2' } }), clock)

describe.each<[string, (port: number, clock?: typeof systemClock) => ConsulApi]>([
  ['HttpApi', http],
  ['ClientApi', client],
])('%s', (_, api) => {
  it('asks for a service with everything that was said', async () => {
    const { requests, port } = await serve((_request, response) => {
      response.setHeader('x-consul-index', '8').setHeader('content-type', 'application/json').end('[1]')
    })
    const answer = await api(port).health(question, signal)

    expect(answer).toEqual({ index: '8', entries: [1], filtered: false })
    const url = new URL(requests[0]?.url ?? '', 'http://consul')
    expect(url.pathname).toBe('/v1/health/service/users%20%26%20co%2F1')
    expect(url.searchParams.getAll('tag')).toEqual(['a', 'b'])
    expect(Object.fromEntries(url.searchParams)).toMatchObject({
      passing: 'true',
      dc: 'dc2',
      index: '7',
      wait: '55000ms',
    })
    expect(url.searchParams.has('stale')).toBe(true)
    expect(requests[0]?.headers['x-consul-token']).toBe('hunter2')
  })

  it('asks for an answer at once without an index', async () => {
    const { requests, port } = await serve((_request, response) => response.end('[]'))
    const plain = { ...question, passing: false, tags: [], stale: false, dc: undefined, index: undefined }
    await api(port).health(plain, signal)

    expect(requests[0]?.url).toMatch(/^\/v1\/health\/service\/users%20%26%20co%2F1\??$/)
  })

  it('registers with the whole definition', async () => {
    let body = ''
    const { requests, port } = await serve((request, response) => {
      request.on('data', (chunk) => {
        body += chunk
      })
      request.on('end', () => response.end())
    })
    const service = defineService({
      name: 'users',
      host: '10.0.0.7',
      port: 3001,
      tags: ['v2'],
      meta: { zone_of: 'a' },
      check: { ttl: 15_000 },
      removeAfter: 90_000,
    })
    await api(port).register(service)

    expect(requests[0]).toMatchObject({ method: 'PUT' })
    expect(requests[0]?.url).toMatch(/^\/v1\/agent\/service\/register/)
    expect(JSON.parse(body)).toEqual(service)
  })

  it('tells a refusal with its status and its text, and not the token', async () => {
    const { port } = await serve((_request, response) => {
      response.statusCode = 403
      response.setHeader('content-type', 'text/plain').end('Permission denied')
    })
    const error = await api(port)
      .knows('u1')
      .catch((thrown) => thrown)

    expect(isRegistryError(error)).toBe(true)
    expect(error).toMatchObject({ status: 403, message: expect.stringContaining('Permission denied') })
    expect(JSON.stringify([error.message, error])).not.toContain('hunter2')
  })

  it('says that nobody is there', async () => {
    const { server, port } = await serve(() => {})
    server.close()
    await once(server, 'close')

    await expect(api(port).health(question, signal)).rejects.toMatchObject({
      code: 'MSX_REGISTRY',
      message: expect.stringContaining('ECONNREFUSED'),
    })
  })

  it.each([
    [404, 'Unknown check ID "service:u1"'],
    [500, 'CheckID "service:u1" does not have associated TTL'],
    [500, 'Unknown check "service:u1"'],
  ])('knows by %i %j that the agent has forgotten a check', async (status, text) => {
    const { port } = await serve((_request, response) => {
      response.statusCode = status
      response.setHeader('content-type', 'text/plain').end(text)
    })

    await expect(api(port).pass('service:u1')).resolves.toBe(false)
    await expect(api(port).deregister('u1')).resolves.toBeUndefined()
  })

  it('does not take an agent in trouble for one that has forgotten', async () => {
    const { port } = await serve((_request, response) => {
      response.statusCode = 500
      response.setHeader('content-type', 'text/plain').end('No cluster leader')
    })

    await expect(api(port).pass('service:u1')).rejects.toMatchObject({ status: 500 })
    await expect(api(port).deregister('u1')).rejects.toMatchObject({ status: 500 })
  })

  it('ends the connection at once when the question is called off', async () => {
    const end = new AbortController()
    const { server, port } = await serve(() => end.abort())
    const closed = new Promise((resolve) => server.on('connection', (socket) => socket.once('close', resolve)))

    await expect(api(port).health(question, end.signal)).rejects.toMatchObject({ code: 'MSX_REGISTRY' })
    await closed
  })

  it.each<[string, number, (api: ConsulApi) => Promise<unknown>]>([
    ['a question that waits', 55_000 + 55_000 / 16 + 10_000, (api) => api.health(question, signal)],
    ['one that does not', 10_000, (api) => api.health({ ...question, index: undefined }, signal)],
    ['a registration', 10_000, (api) => api.deregister('u1')],
  ])('gives up %s when the network has gone silent', async (_name, deadline, ask) => {
    const clock = new VirtualClock()
    let arrived!: () => void
    const asked = new Promise<void>((resolve) => {
      arrived = resolve
    })
    const { port } = await serve(() => arrived())
    const answer = ask(api(port, clock as typeof systemClock)).catch((error) => error)
    await asked

    clock.advance(deadline - 1)
    await new Promise(setImmediate)
    expect(clock.pending).toBe(1)
    clock.advance(1)
    expect(await answer).toMatchObject({ code: 'MSX_REGISTRY', message: expect.stringContaining('no answer within') })
  })

  it('gives up an answer that stops in the middle', async () => {
    const clock = new VirtualClock()
    const { port } = await serve((_request, response) => {
      response.writeHead(200, { 'content-length': '100', 'content-type': 'application/json', 'x-consul-index': '1' })
      response.write('[', () => {
        clock.advance(10_000)
      })
    })

    await expect(
      api(port, clock as typeof systemClock).health({ ...question, index: undefined }, signal),
    ).rejects.toThrow('no answer within 10000 ms')
  })

  it('leaves no listeners on the signal', async () => {
    const { port } = await serve((_request, response) => {
      response.setHeader('x-consul-index', '8').setHeader('content-type', 'application/json').end('[]')
    })
    const watched = new AbortController().signal
    await api(port).health(question, watched)

    expect(getEventListeners(watched, 'abort')).toEqual([])
  })
})

describe('ClientApi', () => {
  it('waits for as long as it asked to, whatever the timeout of the client', async () => {
    const { port } = await serve((_request, response) => {
      response.setHeader('x-consul-index', '8').setHeader('content-type', 'application/json')
      setTimeout(() => response.end('[]'), 150)
    })
    const hasty = new Consul({ host: '127.0.0.1', port, defaults: { timeout: 50 } as object }) // missing in its types

    await expect(new ClientApi(hasty, systemClock).health(question, signal)).resolves.toMatchObject({ index: '8' })
  })
})

describe('HttpApi', () => {
  it('says so when the connection breaks in the middle of an answer', async () => {
    const { port } = await serve((_request, response) => {
      response.writeHead(200, { 'content-length': '100' })
      response.write('[', () => response.destroy())
    })

    await expect(http(port).health(question, signal)).rejects.toMatchObject({ code: 'MSX_REGISTRY' })
  })

  it('says so when the answer is no JSON', async () => {
    const { port } = await serve((_request, response) => response.end('<html>\n'.repeat(100)))

    await expect(http(port).health(question, signal)).rejects.toThrow(/no JSON: <html> <html>.{1,200}…$/)
  })

  it('reads no answer without end', async () => {
    const { port } = await serve((_request, response) => {
      const chunk = Buffer.alloc(2 ** 22, 32)
      const more = () => {
        while (!response.destroyed && response.write(chunk));
      }
      response.on('drain', more)
      more()
    })

    await expect(http(port).health(question, signal)).rejects.toMatchObject({
      code: 'MSX_REGISTRY',
      message: expect.stringContaining('an answer of more than 67108864 characters'),
    })
  })

  it('waits for a token no longer than for an answer', async () => {
    const clock = new VirtualClock()
    const url = new URL('http://127.0.0.1:9')
    const end = new AbortController()
    const api = new HttpApi({ url, token: () => new Promise(() => {}), tls: undefined }, clock)

    const late = api.health(question, end.signal).catch((error) => error)
    await new Promise(setImmediate)
    clock.advance(10_000)
    expect(await late).toMatchObject({
      code: 'MSX_REGISTRY',
      message: expect.stringContaining('the token did not come within 10000 ms'),
    })

    const calledOff = api.health(question, end.signal).catch((error) => error)
    await new Promise(setImmediate)
    end.abort()
    expect(await calledOff).toMatchObject({ message: expect.stringContaining('called off') })
    expect(await api.health(question, end.signal).catch((error) => error)).toMatchObject({ code: 'MSX_REGISTRY' })
    expect(clock.pending).toBe(0)
    expect(getEventListeners(end.signal, 'abort')).toEqual([])
  })

  it('asks again, unheard, when an idle connection was closed just before it was used', async () => {
    let answered = 0
    const { port } = await serve((request, response) => {
      answered += 1
      if (answered === 2) request.socket.resetAndDestroy()
      else response.end()
    })
    const api = http(port)
    await api.deregister('u1')
    await new Promise(setImmediate)
    await api.deregister('u1')

    expect(answered).toBe(3)
  })

  it('does not ask again when a new connection breaks', async () => {
    const { requests, port } = await serve((request) => request.socket.resetAndDestroy())

    await expect(http(port).deregister('u1')).rejects.toThrow('ECONNRESET')
    expect(requests).toHaveLength(1)
  })

  it('keeps the path that leads through a proxy', async () => {
    const { requests, port } = await serve((_request, response) => response.end())
    const url = new URL(`http://127.0.0.1:${port}/consul/`)
    await new HttpApi({ url, token: undefined, tls: undefined }, systemClock).pass('service:u1')

    expect(requests[0]?.url).toBe('/consul/v1/agent/check/pass/service%3Au1')
  })

  it('takes the certificates it is given, and nobody without one', async () => {
    const { port } = await serve(
      (_request, response) => response.end(),
      (listener) => createSecureServer({ key, cert }, listener),
    )
    const url = new URL(`https://127.0.0.1:${port}`)
    const trusting = new HttpApi({ url, token: undefined, tls: { ca: cert, servername: 'user-service' } }, systemClock)

    await expect(trusting.pass('service:u1')).resolves.toBe(true)
    await expect(new HttpApi({ url, token: undefined, tls: {} }, systemClock).pass('x')).rejects.toMatchObject({
      code: 'MSX_REGISTRY',
    })
  })
})
