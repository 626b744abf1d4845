import { Agent, type Dispatcher, interceptors, request, fetch as undiciFetch, upgrade } from 'undici'
import { describe, expect, it } from 'vitest'
import { constant } from '../backoff.js'
import { isTimeoutError } from '../errors.js'
import { VirtualClock } from '../internal/virtual-clock.js'
import { retryInterceptor } from './retry-interceptor.js'
import { agentWith, cleanUp, errorOf, serve } from './test-server.js'
import { timeoutInterceptor } from './timeout-interceptor.js'

/** A server that keeps its clients waiting; `arrived` resolves when one asks. */
async function silent() {
  let tell: () => void
  const arrived = new Promise<void>((resolve) => {
    tell = resolve
  })
  return { ...(await serve(() => tell())), arrived }
}

describe('timeoutInterceptor', () => {
  it.each<[string, (url: string, dispatcher: Dispatcher) => Promise<unknown>]>([
    ['request', (url, dispatcher) => request(url, { dispatcher })],
    [
      'fetch',
      (url, dispatcher) => undiciFetch(url, { dispatcher }).catch((error) => Promise.reject(error.cause ?? error)),
    ],
    [
      "Node's own fetch",
      (url, dispatcher) => fetch(url, { dispatcher } as never).catch((error) => Promise.reject(error.cause ?? error)),
    ],
  ])('fails %s that is not answered in time, and aborts it', async (_, call) => {
    const { origin, arrived, seen } = await silent()
    const clock = new VirtualClock()
    const { agent } = agentWith(timeoutInterceptor({ timeout: 1_000, name: 'stock', clock }))

    const failed = errorOf(call(origin, agent))
    await arrived
    await clock.advance(1_000)
    const error = await failed

    expect(isTimeoutError(error)).toBe(true)
    expect(error).toMatchObject({ code: 'MSX_TIMEOUT', timeout: 1_000, policy: 'stock' })
    await expect.poll(() => seen.open, { timeout: 5_000 }).toBe(0)
  })

  it('lets through what begins in time, however long its body takes, and leaves no timer', async () => {
    const { origin } = await serve((_, response) => {
      response.write('begun, ')
      setImmediate(() => response.end('ended'))
    })
    const clock = new VirtualClock()
    const { agent } = agentWith(timeoutInterceptor({ timeout: 1_000, clock }))

    const { body } = await request(origin, { dispatcher: agent })
    await clock.advance(5_000)

    expect(await body.text()).toBe('begun, ended')
    expect(clock.pending).toBe(0)
  })

  it('is not put off by a flood of informational responses', async () => {
    const flood: NodeJS.Timeout[] = []
    const { origin } = await serve((_, response) => {
      flood.push(setInterval(() => response.writeProcessing(), 1))
    })
    cleanUp(() => flood.forEach(clearInterval))
    const { get } = agentWith(timeoutInterceptor({ timeout: 100 }))

    expect(isTimeoutError(await errorOf(get(origin)))).toBe(true)
  })

  it('ends the wait for a connection, and sends nothing later', async () => {
    const { origin, arrived, seen } = await silent()
    const clock = new VirtualClock()
    const agent = new Agent({ connections: 1 })
    cleanUp(() => agent.destroy())
    const caller = new AbortController()
    const first = errorOf(request(origin, { dispatcher: agent, signal: caller.signal }))
    await arrived

    const dispatcher = agent.compose(timeoutInterceptor({ timeout: 1_000, clock }))
    const queued = errorOf(request(origin, { dispatcher }))
    await clock.advance(1_000)
    expect(isTimeoutError(await queued)).toBe(true)

    caller.abort()
    await first
    await expect.poll(() => seen.open, { timeout: 5_000 }).toBe(0)
    expect(seen.requests).toBe(1)
  })

  it('leaves no timer when the caller aborts, the server hangs up, or it cannot be sent, and tells the error as it is', async () => {
    const { origin, arrived } = await silent()
    const dropping = await serve((_, response) => response.destroy())
    const clock = new VirtualClock()
    const { get, plain } = agentWith(timeoutInterceptor({ timeout: 1_000, clock }))
    const caller = new AbortController()
    const reason = new Error('changed my mind')

    const aborted = errorOf(get(origin, { signal: caller.signal }))
    await arrived
    caller.abort(reason)
    expect(await aborted).toBe(reason)
    expect(await errorOf(get(dropping.origin))).toMatchObject({ code: 'UND_ERR_SOCKET' })
    await plain.destroy()
    expect(await errorOf(get(origin))).toMatchObject({ code: 'UND_ERR_DESTROYED' })
    const throwing = timeoutInterceptor({ timeout: 1_000, clock })(() => {
      throw new Error('a bug below')
    })
    expect(() => throwing({ path: '/', method: 'GET' }, { onRequestStart() {} })).toThrow('a bug below')

    await Promise.resolve()
    await clock.advance(0)
    expect(clock.pending).toBe(0)
  })

  it('is over when the connection is upgraded', async () => {
    const { origin, server } = await serve(() => undefined)
    server.on('upgrade', (_, socket) => {
      socket.write('HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: chat\r\n\r\n')
    })
    const clock = new VirtualClock()
    const { agent } = agentWith(timeoutInterceptor({ timeout: 1_000, clock }))

    const { socket } = await upgrade(origin, { dispatcher: agent, protocol: 'chat' })
    await clock.advance(5_000)

    expect(socket.destroyed).toBe(false)
    socket.destroy()
  })

  it('asks a function for the time of each request, and fails one for which it gives nonsense', async () => {
    const { origin } = await serve((_, response) => setImmediate(() => response.end()))
    const times = [1_000, Number.NaN]
    const { get } = agentWith(timeoutInterceptor({ timeout: () => times.shift() as number }))

    expect(await get(origin)).toMatchObject({ statusCode: 200 })
    expect(await errorOf(get(origin))).toBeInstanceOf(TypeError)
  })

  it.each([null, {}, { timeout: -1 }, { timeout: Number.POSITIVE_INFINITY }, { timeout: 1, name: 5 }, 1_000])(
    'refuses %o',
    (options) => {
      expect(() => timeoutInterceptor(options as never)).toThrow(TypeError)
    },
  )
})

describe('timeoutInterceptor next to other interceptors', () => {
  it('inside a retry bounds each attempt', async () => {
    const { origin, seen } = await serve((_, response) => {
      if (seen.requests > 2) response.end('at last')
    })
    const { get } = agentWith(timeoutInterceptor({ timeout: 50 }), retryInterceptor({ backoff: constant(0) }))

    expect(await get(origin)).toEqual({ statusCode: 200, text: 'at last' })
    expect(seen.requests).toBe(3)
    await expect.poll(() => seen.open, { timeout: 5_000 }).toBeLessThanOrEqual(1)
  })

  it('around a retry bounds all attempts and the waits between them', async () => {
    const { origin, seen } = await serve((_, response) => response.writeHead(503).end())
    const clock = new VirtualClock()
    const retry = retryInterceptor({ backoff: constant(60_000), clock })
    const waiting = new Promise((resolve) => retry.on('retry', resolve))
    const { get } = agentWith(retry, timeoutInterceptor({ timeout: 1_000, clock }))

    const failed = errorOf(get(origin))
    await waiting
    await clock.advance(1_000)

    expect(isTimeoutError(await failed)).toBe(true)
    expect(seen.requests).toBe(1)
    expect(clock.pending).toBe(0)
  })

  it('and a retry get along with those of undici, in either order', async () => {
    const { origin } = await serve((incoming, response) => {
      if (incoming.url === '/old') response.writeHead(302, { location: '/new' }).end()
      else response.writeHead(++asked % 3 === 0 ? 200 : 503).end('here')
    })
    let asked = 0
    const ours = [timeoutInterceptor({ timeout: 5_000 }), retryInterceptor({ backoff: constant(0) })]
    const theirs = [interceptors.redirect({ maxRedirections: 1 }), interceptors.dump({ maxSize: 1_000 })]

    for (const order of [
      [...ours, ...theirs],
      [...theirs, ...ours],
    ]) {
      const { agent } = agentWith(...order)
      const { statusCode } = await request(`${origin}/old`, { dispatcher: agent })
      expect(statusCode).toBe(200)
    }
  })
})
