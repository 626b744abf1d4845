import { createServer, type RequestListener, type Server } from 'node:http'
import type { AddressInfo, createServer as createTcpServer, Socket } from 'node:net'
import { Readable } from 'node:stream'
import { Agent, type Dispatcher, interceptors, Pool, request, fetch as undiciFetch, upgrade } from 'undici'
import { afterEach, describe, expect, it, vi } from 'vitest'
import type { CircuitBreaker } from '../circuit-breaker.js'
import { isCircuitOpenError } from '../errors.js'
import { errorOf, VirtualClock } from '../test-support.js'
import { type CircuitBreakerInterceptorOptions, circuitBreakerInterceptor } from './interceptor.js'

const cleanups: (() => unknown)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})

async function listen(server: Server | ReturnType<typeof createTcpServer>): Promise<string> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

async function serve(listener: RequestListener): Promise<{ origin: string; server: Server }> {
  const server = createServer(listener)
  const origin = await listen(server)
  cleanups.push(() => {
    server.closeAllConnections()
    server.close()
  })
  return { origin, server }
}

/** An agent with circuits that open at the second failure in a row, on a clock of their own. */
function guardedAgent(options: CircuitBreakerInterceptorOptions = {}) {
  const clock = new VirtualClock()
  const interceptor = circuitBreakerInterceptor({ trip: { failures: 2 }, clock, ...options })
  const plain = new Agent()
  const agent = plain.compose(interceptor)
  cleanups.push(() => plain.destroy())

  const get = async (url: string, more: object = {}) => {
    const { statusCode, body } = await request(url, { dispatcher: agent, ...more })
    return { statusCode, text: await body.text() }
  }
  return { agent, plain, clock, get, circuits: interceptor.circuits }
}

const states = (circuits: Iterable<[string, CircuitBreaker]>) =>
  Object.fromEntries([...circuits].map(([key, circuit]) => [key, circuit.state]))

const failed = (circuit: CircuitBreaker) => circuit.metrics.failures

/** What was reported has reached the circuit. */
const settled = () => new Promise((resolve) => setImmediate(resolve))

describe('circuitBreakerInterceptor', () => {
  it('opens a circuit per origin, and calls a sick one no more', async () => {
    let served = 0
    const sick = await serve((_, response) => {
      served++
      response.writeHead(503).end('sick')
    })
    const well = await serve((_, response) => response.end('well'))
    const { get, circuits } = guardedAgent()

    expect(await get(sick.origin)).toEqual({ statusCode: 503, text: 'sick' })
    await get(sick.origin)
    const error = await errorOf(get(sick.origin))

    expect(isCircuitOpenError(error)).toBe(true)
    expect(error).toMatchObject({ circuit: sick.origin, state: 'open', retryAfter: 30_000 })
    expect(served).toBe(2)
    expect(await get(well.origin)).toEqual({ statusCode: 200, text: 'well' })
    expect(states(circuits.entries())).toEqual({ [sick.origin]: 'open', [well.origin]: 'closed' })
  })

  it('lets a trial through after a while, and closes when that works', async () => {
    let status = 500
    const { origin } = await serve((_, response) => response.writeHead(status).end())
    const { get, circuits, clock } = guardedAgent({ openDuration: 1_000 })
    await get(origin)
    await get(origin)

    status = 200
    clock.advance(1_000)
    const [trial, excess] = await Promise.allSettled([get(origin), get(origin)])

    expect(trial).toMatchObject({ status: 'fulfilled', value: { statusCode: 200 } })
    expect(excess).toMatchObject({ status: 'rejected', reason: { code: 'MSX_CIRCUIT_OPEN', state: 'half-open' } })
    expect(circuits.get(origin).state).toBe('closed')
  })

  it.each([
    [[429, 500, 502, 503, 504], 1],
    [[200, 204, 304, 400, 401, 404, 409, 501], 0],
  ])('counts by default %j as failures: %i', async (statuses, failures) => {
    const { origin } = await serve((incoming, response) => {
      response.writeHead(Number(incoming.url?.slice(1))).end()
    })
    const { get, circuits } = guardedAgent({ trip: { window: { calls: 100 } } })

    for (const status of statuses) await get(`${origin}/${status}`)

    expect(circuits.get(origin).metrics).toMatchObject({
      calls: statuses.length,
      failures: failures * statuses.length,
      inFlight: 0,
    })
  })

  it('counts the statusCodes it is given', async () => {
    const { origin } = await serve((incoming, response) => {
      response.writeHead(incoming.url === '/teapot' ? 418 : 503).end()
    })
    const { get, circuits } = guardedAgent({ statusCodes: [418] })

    await get(`${origin}/503`)
    expect(failed(circuits.get(origin))).toBe(0)
    await get(`${origin}/teapot`)
    expect(failed(circuits.get(origin))).toBe(1)
  })

  it('asks classify about the head of the response', async () => {
    const { origin } = await serve((_, response) => response.writeHead(200, { 'x-degraded': 'yes' }).end())
    const { get, circuits } = guardedAgent({
      classify: (outcome) =>
        outcome.ok && (outcome.value as { headers: Record<string, string> }).headers['x-degraded']
          ? 'failure'
          : 'success',
    })

    await get(origin)

    expect(failed(circuits.get(origin))).toBe(1)
  })

  it('takes informational responses for no outcome', async () => {
    const { origin } = await serve((_, response) => {
      response.writeProcessing()
      response.writeEarlyHints({ link: '</style.css>; rel=preload; as=style' })
      setImmediate(() => response.writeHead(200).end())
    })
    const { get, circuits } = guardedAgent({ statusCodes: [102, 103], trip: { window: { calls: 10 } } })

    expect(await get(origin)).toMatchObject({ statusCode: 200 })

    expect(circuits.get(origin).metrics).toMatchObject({ calls: 1, failures: 0, inFlight: 0 })
  })

  it('counts a refused connection, a dropped one, and a body that breaks off', async () => {
    const gone = await serve(() => undefined)
    gone.server.close()
    const dropping = await serve((_, response) => response.destroy())
    const breaking = await serve((_, response) => {
      response.writeHead(200, { 'content-length': 100 }).write('only a part', () => response.destroy())
    })
    const { get, circuits } = guardedAgent()

    for (const { origin } of [gone, dropping, breaking]) {
      await errorOf(get(origin))
      await settled()
      expect(circuits.get(origin).metrics).toMatchObject({ calls: 1, failures: 1, inFlight: 0 })
    }
  })

  it('counts a server that does not answer in time', async () => {
    const { origin } = await serve(() => undefined)
    const { get, circuits } = guardedAgent()

    expect(await errorOf(get(origin, { headersTimeout: 50 }))).toMatchObject({ code: 'UND_ERR_HEADERS_TIMEOUT' })

    expect(circuits.get(origin).metrics).toMatchObject({ failures: 1, inFlight: 0 })
  })

  it('honours Retry-After, in seconds and as a date', async () => {
    let retryAfter = '120'
    const { origin } = await serve((_, response) => response.writeHead(503, { 'retry-after': retryAfter }).end())
    const { get, circuits } = guardedAgent({ trip: { failures: 1 } })

    await get(origin)
    expect(circuits.get(origin).metrics.retryAfter).toBe(120_000)

    circuits.get(origin).reset()
    retryAfter = new Date(Date.now() + 300_000).toUTCString()
    await get(origin)
    expect(circuits.get(origin).metrics.retryAfter).toBeGreaterThan(290_000)
  })

  it.each([
    ['-5', 0],
    ['soon 2099', 0],
    ['5 apples', 0],
    ['Sun, 06 Nov 2094 08:49:37 +0000', Date.UTC(2094, 10, 6, 8, 49, 37)],
    ['Sunday, 06-Nov-94 08:49:37 GMT', 0],
    // The asctime form names no zone: it is GMT.
    [
      new Date(Date.now() + 600_000).toUTCString().replace(/(...), (..) (...) (....) (\S+) GMT/, '$1 $3 $2 $5 $4'),
      600_000,
    ],
  ])('reads the Retry-After %s', async (value, expected) => {
    vi.stubEnv('TZ', 'Asia/Tokyo')
    cleanups.push(() => vi.unstubAllEnvs())
    const { origin } = await serve((_, response) => response.writeHead(503, { 'retry-after': value }).end())
    const { get, circuits } = guardedAgent({ trip: { failures: 1 }, openDuration: 0 })

    await get(origin)

    const { retryAfter } = circuits.get(origin).metrics
    if (expected === 0) expect(retryAfter).toBe(0)
    else if (expected > 2 ** 31) expect(retryAfter).toBe(2 ** 31 - 1)
    else expect(Math.abs(retryAfter - expected)).toBeLessThan(5_000)
  })

  it('groups by the key it is given', async () => {
    const { origin } = await serve((_, response) => response.writeHead(500).end())
    const { get, circuits } = guardedAgent({ key: ({ path }) => path.split('/')[1] as string, name: 'api' })

    await get(`${origin}/stock/1`)
    await get(`${origin}/stock/2`)

    expect(await errorOf(get(`${origin}/stock/3`))).toMatchObject({ circuit: 'api stock' })
    expect(await get(`${origin}/orders/1`)).toMatchObject({ statusCode: 500 })
    expect(circuits.size).toBe(2)
  })

  it('guards a pool, whose requests name no origin', async () => {
    const { origin } = await serve((_, response) => response.writeHead(500).end())
    const pool = new Pool(origin)
    cleanups.push(() => pool.destroy())
    const guarded = pool.compose(circuitBreakerInterceptor({ trip: { failures: 1 } }))

    await (await guarded.request({ path: '/', method: 'GET' })).body.dump()

    expect(isCircuitOpenError(await errorOf(guarded.request({ path: '/', method: 'GET' })))).toBe(true)
  })
})

describe('no permit is lost', () => {
  it.each<[string, (url: string, agent: Dispatcher, signal: AbortSignal) => Promise<unknown>]>([
    ['request', async (url, dispatcher, signal) => (await request(url, { dispatcher, signal })).body.text()],
    ['fetch', async (url, dispatcher, signal) => (await undiciFetch(url, { dispatcher, signal })).text()],
    ["Node's own fetch", async (url, dispatcher, signal) => (await fetch(url, { dispatcher, signal } as never)).text()],
  ])('when a caller of %s aborts, before the response or within it', async (_, call) => {
    const arrived = arrival()
    const { origin } = await serve((incoming, response) => {
      if (incoming.url === '/body') response.writeHead(200).write('a part')
      arrived.tell()
    })
    const { agent, circuits } = guardedAgent()

    for (const path of ['/silent', '/body']) {
      const caller = new AbortController()
      const ended = errorOf(call(`${origin}${path}`, agent, caller.signal))
      await arrived.next()
      await settled()
      expect(circuits.get(origin).metrics.inFlight).toBe(1)

      caller.abort()
      await ended
      await settled()
      expect(circuits.get(origin).metrics).toMatchObject({ calls: 0, inFlight: 0 })
    }
  })

  it('when a trial is aborted: the next call is one', async () => {
    let status = 500
    const arrived = arrival()
    const { origin } = await serve((incoming, response) => {
      if (incoming.url === '/silent') arrived.tell()
      else response.writeHead(status).end()
    })
    const { get, circuits, clock } = guardedAgent()
    await get(origin)
    await get(origin)
    clock.advance(30_000)

    const caller = new AbortController()
    const aborted = errorOf(get(`${origin}/silent`, { signal: caller.signal }))
    await arrived.next()
    caller.abort()
    await aborted
    await settled()

    status = 200
    expect(await get(origin)).toMatchObject({ statusCode: 200 })
    expect(circuits.get(origin).state).toBe('closed')
  })

  it('when the signal was aborted before', async () => {
    const { origin } = await serve((_, response) => response.end())
    const { get, circuits } = guardedAgent()

    await errorOf(get(origin, { signal: AbortSignal.abort() }))
    await settled()

    expect(circuits.get(origin).metrics).toMatchObject({ calls: 0, inFlight: 0 })
  })

  it('when the body of the request breaks, or the arguments are wrong', async () => {
    const { origin } = await serve((incoming, response) => {
      incoming.resume().on('end', () => response.end())
    })
    const { get, circuits } = guardedAgent()
    const body = new Readable({
      read() {
        this.destroy(new Error('disk full'))
      },
    })

    await errorOf(get(origin, { method: 'POST', body }))
    await errorOf(get(origin, { method: 'NOT A METHOD' }))
    await settled()

    expect(circuits.get(origin).metrics).toMatchObject({ calls: 0, inFlight: 0 })
  })

  it("when the caller's handler throws", async () => {
    const { origin } = await serve((_, response) => response.end('fine'))
    const { agent, circuits } = guardedAgent()

    const error = await new Promise<Error>((resolve) => {
      agent.dispatch(
        { origin, path: '/', method: 'GET' },
        {
          onRequestStart() {},
          onResponseStart() {
            throw new Error('a bug of the caller')
          },
          onResponseError: (_, cause) => resolve(cause),
        },
      )
    })
    await settled()

    expect(error.message).toBe('a bug of the caller')
    expect(circuits.get(origin).metrics).toMatchObject({ calls: 0, inFlight: 0 })
  })

  it('when the dispatcher throws: the caller hears of it at once', async () => {
    const interceptor = circuitBreakerInterceptor({ key: () => 'broken' })
    const dispatch = interceptor(() => {
      throw new TypeError('a bug below')
    })

    expect(() => dispatch({ path: '/', method: 'GET' }, { onRequestStart() {} })).toThrow('a bug below')
    await settled()

    expect(interceptor.circuits.get('broken').metrics).toMatchObject({ calls: 0, inFlight: 0 })
  })

  it('when the agent is destroyed', async () => {
    const arrived = arrival()
    const { origin } = await serve(() => arrived.tell())
    const { get, plain, circuits } = guardedAgent()

    const ended = errorOf(get(origin))
    await arrived.next()
    await plain.destroy()
    await ended
    await settled()

    expect(circuits.get(origin).metrics).toMatchObject({ calls: 0, inFlight: 0 })
  })

  it('when hundreds of requests end in all ways at once', async () => {
    const { origin } = await serve((incoming, response) => {
      const [, ending] = (incoming.url as string).split('/')
      if (ending === 'works') response.end('fine')
      else if (ending === 'fails') response.writeHead(503).end()
      else if (ending === 'drops') response.destroy()
      else if (ending === 'breaks')
        response.writeHead(200, { 'content-length': 9 }).write('a', () => response.destroy())
      else if (ending === 'hangs') response.writeHead(200).write('a part')
    })
    const { get, circuits } = guardedAgent({ trip: { window: { calls: 1_000 }, minimumCalls: 1_000 } })
    const endings = ['works', 'fails', 'drops', 'breaks', 'hangs', 'silent']

    const requests = Array.from({ length: 300 }, async (_, i) => {
      const ending = endings[i % endings.length] as string
      const abortAfter = ending === 'hangs' || ending === 'silent' || i % 4 === 0
      const signal = abortAfter ? AbortSignal.timeout(i) : undefined
      await get(`${origin}/${ending}`, { signal, idempotent: false }).catch(() => undefined)
    })
    await Promise.all(requests)
    await settled()

    const { inFlight, calls, failures, rejected } = circuits.get(origin).metrics
    expect({ inFlight, rejected }).toEqual({ inFlight: 0, rejected: 0 })
    // 150 are not aborted by anybody; of the others, some end before that.
    expect(calls).toBeGreaterThanOrEqual(150)
    expect(failures).toBeLessThan(calls)
  })

  it('when the connection is upgraded: that is a success, whatever becomes of it', async () => {
    const sockets: Socket[] = []
    const server = createServer().on('upgrade', (_, socket) => {
      sockets.push(socket as Socket)
      socket.write('HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: chat\r\n\r\n')
    })
    const origin = await listen(server)
    cleanups.push(() => server.close())
    const { agent, circuits } = guardedAgent({ trip: { window: { calls: 10 } } })

    const { socket } = await upgrade(origin, { dispatcher: agent, protocol: 'chat' })
    expect(circuits.get(origin).metrics).toMatchObject({ calls: 1, failures: 0, inFlight: 0 })
    socket.destroy()
    for (const each of sockets) each.destroy()
  })
})

describe('next to other interceptors', () => {
  it('counts a retry inside of it once, by its last result', async () => {
    let requests = 0
    const { origin } = await serve((_, response) => response.writeHead(++requests < 3 ? 503 : 200).end('at last'))
    const plain = new Agent()
    cleanups.push(() => plain.destroy())
    const interceptor = circuitBreakerInterceptor({ trip: { window: { calls: 10 } } })
    const agent = plain.compose([interceptors.retry({ minTimeout: 1, maxRetries: 3 }), interceptor])

    const { body } = await request(origin, { dispatcher: agent })

    expect(await body.text()).toBe('at last')
    expect(interceptor.circuits.get(origin).metrics).toMatchObject({ calls: 1, failures: 0, inFlight: 0 })
  })

  it('is heard by a retry outside of it', async () => {
    const { origin } = await serve((_, response) => response.writeHead(503).end())
    const plain = new Agent()
    cleanups.push(() => plain.destroy())
    const interceptor = circuitBreakerInterceptor({ trip: { failures: 2 } })
    const agent = plain.compose([interceptor, interceptors.retry({ minTimeout: 1, maxRetries: 5 })])

    expect(isCircuitOpenError(await errorOf(request(origin, { dispatcher: agent })))).toBe(true)
  })
})

describe('handlers of the older shape', () => {
  it('hear everything they would without a circuit', async () => {
    const { origin } = await serve((_, response) => response.writeHead(200, { 'x-tea': 'green' }).end('fine'))
    const { plain } = guardedAgent()
    const interceptor = circuitBreakerInterceptor({ trip: { window: { calls: 10 } } })
    const heard = (dispatch: Dispatcher['dispatch']) =>
      new Promise<string[]>((resolve, reject) => {
        const calls: string[] = []
        dispatch({ origin, path: '/', method: 'POST', body: 'a body' }, {
          onConnect: () => calls.push('onConnect'),
          onBodySent: (size: number) => calls.push(`onBodySent ${size}`),
          onRequestSent: () => calls.push('onRequestSent'),
          onResponseStarted: () => calls.push('onResponseStarted'),
          onHeaders(status: number, headers: Buffer[], _: unknown, message: string) {
            calls.push(`onHeaders ${status} ${headers.slice(0, 2).join(': ')} ${message}`)
            return true
          },
          onData(chunk: Buffer) {
            calls.push(`onData ${chunk}`)
            return true
          },
          onComplete() {
            calls.push('onComplete')
            resolve(calls)
          },
          onError: reject,
        } as Dispatcher.DispatchHandler)
      })

    const unguarded = await heard((options, handler) => plain.dispatch(options, handler))
    const guarded = await heard(interceptor((options, handler) => plain.dispatch(options, handler)))

    expect(guarded).toEqual(unguarded)
    expect(guarded).toContain('onHeaders 200 x-tea: green OK')
    expect(interceptor.circuits.get(origin).metrics).toMatchObject({ calls: 1, failures: 0, inFlight: 0 })
  })

  it('hear of a rejection', async () => {
    const interceptor = circuitBreakerInterceptor({ key: () => 'sick' })
    interceptor.circuits.get('sick').isolate()

    const error = await new Promise((resolve) => {
      interceptor(() => expect.fail('dispatched'))({ path: '/', method: 'GET' }, {
        onConnect() {},
        onError: resolve,
      } as Dispatcher.DispatchHandler)
    })

    expect(isCircuitOpenError(error)).toBe(true)
  })
})

describe('memory', () => {
  it('is bounded, however many origins fail or are open', () => {
    const { circuits } = circuitBreakerInterceptor({ max: 100, trip: { failures: 1 } })

    for (let i = 0; i < 5_000; i++) circuits.get(`http://host-${i}`).tryAcquire()?.fail()

    expect(circuits.size).toBe(100)
  })

  it('keeps circuits with a request running', () => {
    const { circuits } = circuitBreakerInterceptor({ max: 10 })
    const busy = Array.from({ length: 8 }, (_, i) => {
      const circuit = circuits.get(`http://busy-${i}`)
      circuit.tryAcquire()
      return circuit
    })

    for (let i = 0; i < 100; i++) circuits.get(`http://host-${i}`)

    expect(busy.map((_, i) => circuits.get(`http://busy-${i}`))).toEqual(busy)
  })

  it('rather drops a circuit that knows nothing than an open one', () => {
    const { circuits } = circuitBreakerInterceptor({ max: 10, trip: { failures: 1 } })
    circuits.get('http://sick').tryAcquire()?.fail()

    for (let i = 0; i < 100; i++) circuits.get(`http://host-${i}`)

    expect(circuits.get('http://sick').state).toBe('open')
  })
})

it.each([
  ['circuitBreakerInterceptor options', null],
  ['key', { key: 'origin' }],
  ['statusCodes', { statusCodes: 503 }],
  ['statusCodes', { statusCodes: [99] }],
  ['max', { max: 0 }],
  ['trip.failures', { trip: { failures: 0 } }],
  ['classify', { classify: 1 }],
])('refuses a wrong %s: %j', (option, options) => {
  expect(() => circuitBreakerInterceptor(options as never)).toThrow(new RegExp(`^${option} must be `))
})

/** Waits for a request to arrive. */
function arrival() {
  let arrive: (() => void) | undefined
  return {
    tell: () => arrive?.(),
    next: () =>
      new Promise<void>((resolve) => {
        arrive = resolve
      }),
  }
}
