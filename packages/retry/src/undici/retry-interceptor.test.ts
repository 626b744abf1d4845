import { getEventListeners } from 'node:events'
import { createServer as createTcpServer } from 'node:net'
import { Readable } from 'node:stream'
import { Agent, type Dispatcher, interceptors, MockAgent, Pool, request, fetch as undiciFetch, upgrade } from 'undici'
import { describe, expect, it, vi } from 'vitest'
import { constant } from '../backoff.js'
import { isHttpStatusError } from '../errors.js'
import { VirtualClock } from '../internal/virtual-clock.js'
import type { Outcome } from '../policy.js'
import { retryBudget } from '../retry-budget.js'
import { type RetryInterceptorOptions, retryInterceptor } from './retry-interceptor.js'
import { agentWith, cleanUp, errorOf, listen, serve } from './test-server.js'

function retrying(options: RetryInterceptorOptions = {}) {
  const interceptor = retryInterceptor({ backoff: constant(0), ...options })
  const events: [string, number][] = []
  for (const name of ['retry', 'exhausted', 'budgetExhausted', 'success'] as const) {
    interceptor.on(name, ({ attempt }) => events.push([name, attempt]))
  }
  return { interceptor, events, ...agentWith(interceptor) }
}

/** Answers with each of `statuses` in turn, and with 200 from then on. */
function answering(...statuses: number[]) {
  const left = [...statuses]
  return serve((incoming, response) => {
    incoming.resume().on('end', () => {
      const status = left.shift() ?? 200
      response.writeHead(status).end(incoming.method === 'HEAD' ? undefined : `body of ${status}`)
    })
  })
}

describe('retryInterceptor', () => {
  it.each([408, 425, 429, 502, 503, 504])('repeats a GET that is answered with %i', async (status) => {
    const { origin, seen } = await answering(status, status)
    const { get, events } = retrying()

    expect(await get(origin)).toEqual({ statusCode: 200, text: 'body of 200' })
    expect(seen.requests).toBe(3)
    expect(events).toEqual([
      ['retry', 1],
      ['retry', 2],
      ['success', 3],
    ])
  })

  it.each([200, 304, 400, 404, 500, 501])('takes %i for an answer', async (status) => {
    const { origin, seen } = await answering(status)
    const { get, events } = retrying()

    expect(await get(origin)).toMatchObject({ statusCode: status })
    expect(seen.requests).toBe(1)
    expect(events).toEqual([['success', 1]])
  })

  it('gives the last response, with its body, when none is left to try', async () => {
    const { origin, seen } = await answering(503, 502, 504, 503)
    const { get, events } = retrying()

    expect(await get(origin)).toEqual({ statusCode: 504, text: 'body of 504' })
    expect(seen.requests).toBe(3)
    expect(events.at(-1)).toEqual(['exhausted', 3])
  })

  it('repeats after a refused and after a dropped connection, and rejects with the last error', async () => {
    const gone = await serve(() => undefined)
    gone.server.close()
    const dropping = await serve((_, response) => response.destroy())
    const { get, events } = retrying()

    expect(await errorOf(get(gone.origin))).toMatchObject({ code: 'ECONNREFUSED' })
    expect(await errorOf(get(dropping.origin))).toMatchObject({ code: 'UND_ERR_SOCKET' })

    expect(dropping.seen.requests).toBe(3)
    expect(events.filter(([name]) => name === 'retry')).toHaveLength(4)
  })

  it('counts what it is told to', async () => {
    const { origin, seen } = await answering(418)
    const { get } = retrying({ statusCodes: [418], methods: ['patch'] })

    expect(await get(origin)).toMatchObject({ statusCode: 418 })
    expect(await get(origin, { method: 'PATCH' })).toMatchObject({ statusCode: 200 })
    expect(seen.requests).toBe(2)
  })

  it('asks shouldRetry about statuses as errors and about other responses as values', async () => {
    const { origin } = await answering(503, 500, 200)
    const asked: Outcome[] = []
    const { get } = retrying({
      shouldRetry(outcome) {
        asked.push(outcome)
        return outcome.ok ? (outcome.value as { status: number }).status === 500 : isHttpStatusError(outcome.error)
      },
    })

    expect(await get(origin)).toMatchObject({ statusCode: 200 })
    expect(asked).toMatchObject([
      { ok: false, error: { code: 'MSX_HTTP_STATUS', status: 503 } },
      { ok: true, value: { status: 500 } },
      { ok: true, value: { status: 200 } },
    ])
  })

  it('fails the request with what a callback throws', async () => {
    const { origin, seen } = await answering(503)
    const mistake = new Error('a bug in backoff')
    const { get } = retrying({
      backoff() {
        throw mistake
      },
    })

    expect(await errorOf(get(origin))).toBe(mistake)
    expect(seen.requests).toBe(1)
  })

  it('takes informational responses for no outcome, however many', async () => {
    let requests = 0
    const { origin } = await serve((_, response) => {
      for (let i = 0; i < 1_000; i++) response.writeProcessing()
      setImmediate(() => response.writeHead(++requests < 2 ? 503 : 200).end())
    })
    const { get } = retrying({ statusCodes: [102, 503] })

    expect(await get(origin)).toMatchObject({ statusCode: 200 })
    expect(requests).toBe(2)
  })

  it('works for a pool, and under fetch of undici and of Node', async () => {
    const { origin } = await answering(503, 200, 503, 200, 503, 200)
    const pool = new Pool(origin)
    cleanUp(() => pool.destroy())
    const { agent, interceptor } = retrying()

    const pooled = await pool.compose(interceptor).request({ path: '/', method: 'GET' })
    expect(await pooled.body.text()).toBe('body of 200')
    expect(await (await undiciFetch(origin, { dispatcher: agent })).text()).toBe('body of 200')
    expect(await (await fetch(origin, { dispatcher: agent } as never)).text()).toBe('body of 200')
  })

  it('works for a mocked agent, which answers in one turn', async () => {
    const mock = new MockAgent()
    mock.disableNetConnect()
    cleanUp(() => mock.close())
    const mocked = mock.get('http://stock')
    mocked.intercept({ path: '/' }).reply(503, 'busy')
    mocked.intercept({ path: '/' }).reply(200, 'there')
    const { interceptor } = retrying()

    const { body } = await request('http://stock/', { dispatcher: mock.compose(interceptor) })

    expect(await body.text()).toBe('there')
  })
})

describe('retryInterceptor: what may be sent twice', () => {
  const stream = () => Readable.from(['a part'])

  it.each<[string, object]>([
    ['a PUT', { method: 'PUT', body: 'a body' }],
    ['a DELETE', { method: 'DELETE' }],
    ['bytes', { method: 'PUT', body: Buffer.from('a body') }],
    ['a typed array', { method: 'PUT', body: new Uint8Array([1, 2]) }],
    ['a Blob', { method: 'PUT', body: new Blob(['a body']) }],
    ['a key in an object', { method: 'POST', headers: { 'Idempotency-Key': '1' } }],
    ['a key in a list', { method: 'POST', headers: ['x-a', 'b', 'idempotency-key', '1'] }],
    ['a key in a Headers', { method: 'POST', headers: new Headers({ 'idempotency-key': '1' }) }],
  ])('repeats %s', async (_, options) => {
    const { origin, seen } = await answering(503)
    const { get } = retrying()

    expect(await get(origin, options)).toMatchObject({ statusCode: 200 })
    expect(seen.requests).toBe(2)
  })

  it.each<[string, object]>([
    ['a POST', { method: 'POST' }],
    ['a PATCH with a body', { method: 'PATCH', body: 'a body' }],
    ['a POST whose list of headers has the key as a value', { method: 'POST', headers: ['x-a', 'idempotency-key'] }],
    ['a PUT of a stream', { method: 'PUT', body: stream() }],
    ['a POST of a stream with a key', { method: 'POST', body: stream(), headers: { 'idempotency-key': '1' } }],
  ])('sends %s once', async (_, options) => {
    const { origin, seen } = await answering(503)
    const { get } = retrying()

    expect(await get(origin, options)).toEqual({ statusCode: 503, text: 'body of 503' })
    expect(seen.requests).toBe(1)
  })

  it('does not repeat what this side is to blame for', async () => {
    const { origin } = await answering()
    const { get, plain, events } = retrying()

    await errorOf(get(origin, { method: 'NOT A METHOD', headers: { 'idempotency-key': '1' } }))
    await plain.close()
    expect(await errorOf(get(origin))).toMatchObject({ code: expect.stringMatching(/CLOSED|DESTROYED/) })

    expect(events).toEqual([])
  })

  it('does not repeat what has begun to reach the caller, and starts no response twice', async () => {
    const { origin, seen } = await serve((_, response) => {
      response.writeHead(200, { 'content-length': 100 }).write('only a part', () => response.destroy())
    })
    const { get, agent, events } = retrying()

    expect(await errorOf(get(origin))).toMatchObject({ code: 'UND_ERR_SOCKET' })
    const starts = vi.fn()
    await new Promise((resolve) => {
      agent.dispatch(
        { origin, path: '/', method: 'GET' },
        { onRequestStart() {}, onResponseStart: starts, onResponseError: resolve },
      )
    })

    expect(starts).toHaveBeenCalledTimes(1)
    expect(seen.requests).toBe(2)
    expect(events).toEqual([
      ['success', 1],
      ['success', 1],
    ])
  })

  it('passes an upgrade on as it is', async () => {
    const server = createTcpServer((socket) => {
      socket.once('data', () => {
        socket.write('HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: chat\r\n\r\n')
      })
      cleanUp(() => socket.destroy())
    })
    const origin = await listen(server)
    cleanUp(() => server.close())
    const { agent, events } = retrying()

    const { socket } = await upgrade(origin, { dispatcher: agent, protocol: 'chat' })
    socket.destroy()

    expect(events).toEqual([])
  })

  it('tells the budget of each request, and gives the response that it refuses to repeat', async () => {
    const budget = retryBudget({ ratio: 0, minPerSecond: 0.1 })
    const { origin } = await answering(503, 503)
    const { get, events, interceptor } = retrying({ budget })

    expect(await get(origin)).toEqual({ statusCode: 503, text: 'body of 503' })

    expect(interceptor.budget).toBe(budget)
    expect(events).toEqual([
      ['retry', 1],
      ['budgetExhausted', 2],
    ])
  })
})

describe('retryInterceptor: waits', () => {
  const date = () => new Date(Date.now() + 10_000).toUTCString()

  it.each<[string, () => Record<string, string | string[]>, number, number]>([
    ['seconds', () => ({ 'retry-after': '7' }), 7_000, 7_000],
    ['milliseconds', () => ({ 'retry-after-ms': '250', 'retry-after': '7' }), 250, 250],
    ['a date', () => ({ 'retry-after': date() }), 8_000, 10_000],
    ['the first of several', () => ({ 'retry-after': ['3', '9'] }), 3_000, 3_000],
    ['nothing that can be read', () => ({ 'retry-after': 'soon' }), 0, 0],
  ])('for as long as the server asks, in %s', async (_, headers, least, most) => {
    let requests = 0
    const { origin } = await serve((_, response) => {
      response.writeHead(++requests < 2 ? 503 : 200, requests < 2 ? headers() : {}).end()
    })
    const clock = new VirtualClock()
    const { get, interceptor } = retrying({ clock })
    const waiting = new Promise<number>((resolve) => {
      interceptor.on('retry', ({ delay }) => resolve(delay))
    })

    const answer = get(origin)
    const delay = await waiting
    await clock.advance(delay)

    expect(delay).toBeGreaterThanOrEqual(least)
    expect(delay).toBeLessThanOrEqual(most)
    expect(await answer).toMatchObject({ statusCode: 200 })
  })

  it.each(['3600', '99999999999999999999', new Date(Date.now() + 86_400_000).toUTCString()])(
    'not when asked to wait for %s: the response is what the caller gets',
    async (retryAfter) => {
      const { origin, seen } = await serve((_, response) => {
        response.writeHead(503, { 'retry-after': retryAfter }).end('busy')
      })
      const { get, events } = retrying()

      expect(await get(origin)).toEqual({ statusCode: 503, text: 'busy' })
      expect(seen.requests).toBe(1)
      expect(events).toEqual([['exhausted', 1]])
    },
  )

  it('not when the deadline has passed meanwhile: the error says which status there was', async () => {
    const { origin, seen } = await answering(503)
    const clock = new VirtualClock()
    const { get, interceptor } = retrying({ clock, backoff: constant(100), deadline: 250 })
    const waiting = new Promise((resolve) => interceptor.on('retry', resolve))

    const failed = errorOf(get(origin))
    await waiting
    clock.jump(1_000)
    await clock.advance(0)

    expect(await failed).toMatchObject({ code: 'MSX_HTTP_STATUS', status: 503 })
    expect(seen.requests).toBe(1)
  })

  it.each<[string, (url: string, agent: Dispatcher, signal: AbortSignal) => Promise<unknown>]>([
    ['request', (url, dispatcher, signal) => request(url, { dispatcher, signal })],
    ['fetch', (url, dispatcher, signal) => undiciFetch(url, { dispatcher, signal })],
    ["Node's own fetch", (url, dispatcher, signal) => fetch(url, { dispatcher, signal } as never)],
  ])('end at once when a caller of %s aborts, after a response and before any connection', async (_, call) => {
    const sick = await answering(503, 503)
    const gone = await serve(() => undefined)
    gone.server.close()

    for (const { origin } of [sick, gone]) {
      const clock = new VirtualClock()
      const { agent, interceptor } = retrying({ clock, backoff: constant(60_000) })
      const waiting = new Promise((resolve) => interceptor.on('retry', resolve))
      const caller = new AbortController()
      const reason = new Error('changed my mind')

      const failed = errorOf(call(origin, agent, caller.signal))
      await waiting
      // The handler gets its controller right after the event.
      await Promise.resolve()
      caller.abort(reason)

      expect(await failed).toBe(reason)
      expect(clock.pending).toBe(0)
      expect(getEventListeners(caller.signal, 'abort')).toEqual([])
    }
    expect(sick.seen.requests).toBe(1)
  })

  it('end also an attempt under way, and are followed by none', async () => {
    let requests = 0
    const caller = new AbortController()
    const reason = new Error('changed my mind')
    const { origin } = await serve((_, response) => {
      if (++requests === 1) response.writeHead(503).end()
      else caller.abort(reason)
    })
    const { get, events } = retrying()

    expect(await errorOf(get(origin, { signal: caller.signal }))).toBe(reason)
    expect(events).toEqual([['retry', 1]])
  })
})

describe('retryInterceptor: sockets', () => {
  it('uses the connection of a response it threw away again', async () => {
    const { origin, seen } = await serve((_, response) => {
      response.writeHead(seen.requests % 3 === 0 ? 200 : 503).end('x'.repeat(10_000))
    })
    // One that is not free again leaves the next attempt waiting for ever.
    const agent = new Agent({ connections: 1 })
    cleanUp(() => agent.destroy())
    const dispatcher = agent.compose(retryInterceptor({ backoff: constant(0) }))

    for (let i = 0; i < 5; i++) await (await request(origin, { dispatcher })).body.dump()

    expect(seen).toMatchObject({ requests: 15, connections: 1, open: 1 })
  })

  it('cuts off a response that is too long to read to its end', async () => {
    const { origin, seen } = await serve((incoming, response) => {
      if (seen.requests > 2) {
        response.end('fine')
        return
      }
      if (seen.requests === 1) response.writeHead(503, { 'content-length': 10_000_000 }).write('a part')
      else {
        response.writeHead(503)
        const timer = setInterval(() => response.write('x'.repeat(30_000)), 1)
        incoming.socket.on('close', () => clearInterval(timer))
      }
    })
    const { get } = retrying()

    expect(await get(origin)).toEqual({ statusCode: 200, text: 'fine' })
    await vi.waitFor(() => expect(seen.open).toBeLessThanOrEqual(1), { timeout: 5_000 })
  })

  it('has nothing to read of a HEAD, whatever length it names', async () => {
    const { origin, seen } = await serve((_, response) => {
      response.writeHead(seen.requests < 2 ? 503 : 200, { 'content-length': 10_000_000 }).end()
    })
    const { get } = retrying({ backoff: constant(10) })

    expect(await get(origin, { method: 'HEAD' })).toMatchObject({ statusCode: 200 })
    expect(seen.requests).toBe(2)
  })

  it('does not mind a response that breaks off while it is thrown away', async () => {
    const { origin, seen } = await serve((_, response) => {
      if (seen.requests > 1) response.end('fine')
      else response.writeHead(503, { 'content-length': 100 }).write('only a part', () => response.destroy())
    })
    const { get } = retrying({ backoff: constant(10) })

    expect(await get(origin)).toEqual({ statusCode: 200, text: 'fine' })
  })

  it('lets the caller hold back a large response after a retry', async () => {
    const size = 20_000_000
    const { origin, seen } = await serve((_, response) => {
      if (seen.requests === 1) response.writeHead(503).end()
      else response.end(Buffer.alloc(size))
    })
    const { agent } = retrying()

    const { body } = await request(origin, { dispatcher: agent })
    await new Promise((resolve) => setTimeout(resolve, 50))
    expect(body.readableLength).toBeLessThan(1_000_000)

    let bytes = 0
    for await (const chunk of body) bytes += chunk.length
    expect(bytes).toBe(size)
  })
})

it('retryInterceptor: judges what the responseError interceptor inside made of a response by its status', async () => {
  const { origin, seen } = await answering(404, 503)
  const { get } = agentWith(interceptors.responseError(), retryInterceptor({ backoff: constant(0) }))

  expect(await errorOf(get(origin))).toMatchObject({ code: 'UND_ERR_RESPONSE', statusCode: 404 })
  expect(seen.requests).toBe(1)
  expect(await get(origin)).toMatchObject({ statusCode: 200 })
})

describe('retryInterceptor: handlers', () => {
  it('of the older shape hear of one response, with its headers as they came', async () => {
    const { origin } = await serve((_, response) => {
      response.writeHead(response.req.url === '/' && !tried ? 503 : 200, { 'X-Tea': 'green' }).end('fine')
      tried = true
    })
    let tried = false
    const plain = new Agent()
    cleanUp(() => plain.destroy())
    const dispatch = retryInterceptor({ backoff: constant(0) })((options, handler) => plain.dispatch(options, handler))

    const heard = await new Promise<string[]>((resolve, reject) => {
      const calls: string[] = []
      dispatch({ origin, path: '/', method: 'GET' }, {
        onConnect: () => calls.push('onConnect'),
        onHeaders(status: number, headers: Buffer[], _: unknown, message: string) {
          calls.push(`onHeaders ${status} ${headers.slice(0, 2).join(': ')} ${message}`)
          return true
        },
        onData: (chunk: Buffer) => calls.push(`onData ${chunk}`) > 0,
        onComplete() {
          resolve(calls)
        },
        onError: reject,
      } as unknown as Dispatcher.DispatchHandler)
    })

    expect(heard).toEqual(['onConnect', 'onHeaders 200 X-Tea: green OK', 'onData fine'])
  })

  it.each(['onRequestStart', 'onResponseStart', 'onResponseData'])(
    'that throw in %s end the request once',
    async (name) => {
      const { origin, seen } = await answering()
      const { agent } = retrying()
      const bug = new Error('a bug of the caller')
      const errors: unknown[] = []

      await new Promise<void>((resolve) => {
        agent.dispatch({ origin, path: '/', method: 'GET' }, {
          onRequestStart() {},
          onResponseError(_: unknown, error: unknown) {
            errors.push(error)
            setImmediate(resolve)
          },
          [name]() {
            throw bug
          },
        } as Dispatcher.DispatchHandler)
      })

      expect(errors).toEqual([bug])
      expect(seen.requests).toBeLessThan(2)
    },
  )

  it('that throw when there is a wait before any connection end the request too', async () => {
    const gone = await serve(() => undefined)
    gone.server.close()
    const clock = new VirtualClock()
    const { agent } = retrying({ clock, backoff: constant(100) })
    const bug = new Error('a bug of the caller')

    const error = await new Promise((resolve) => {
      agent.dispatch(
        { origin: gone.origin, path: '/', method: 'GET' },
        {
          onRequestStart() {
            throw bug
          },
          onResponseError: (_, cause) => resolve(cause),
        },
      )
    })

    expect(error).toBe(bug)
    expect(clock.pending).toBe(0)
  })

  it('hear of a dispatcher that throws at once the first time, and as an error later', async () => {
    let dispatched = 0
    const dispatch = retryInterceptor({ backoff: constant(0) })((_, handler) => {
      if (++dispatched !== 2) throw new Error(`dispatch ${dispatched}`)
      handler.onResponseError?.(undefined as never, new Error('busy'))
      return true
    })
    const start = (onResponseError: (_: unknown, error: Error) => void = () => expect.fail('told')) =>
      dispatch({ path: '/', method: 'GET' }, { onRequestStart() {}, onResponseError })

    expect(() => start()).toThrow('dispatch 1')
    expect(await new Promise<Error>((resolve) => start((_, error) => resolve(error)))).toMatchObject({
      message: 'dispatch 3',
    })
  })
})

it('when hundreds of requests end in all ways at once, each ends once and no wait is left', async () => {
  const { origin, seen } = await serve((incoming, response) => {
    const [, ending] = (incoming.url as string).split('/')
    if (ending === 'works') response.end('fine')
    else if (ending === 'fails') response.writeHead(503).end('busy')
    else if (ending === 'flaky') response.writeHead(seen.requests % 2 === 0 ? 503 : 200).end('flaky')
    else if (ending === 'drops') response.destroy()
    else if (ending === 'breaks') response.writeHead(503, { 'content-length': 9 }).write('a', () => response.destroy())
    else if (ending === 'hangs') response.writeHead(503).write('a part')
  })
  const { get } = retrying({ backoff: constant(5) })
  const endings = ['works', 'fails', 'flaky', 'drops', 'breaks', 'hangs', 'silent']

  const results = await Promise.allSettled(
    Array.from({ length: 350 }, (_, i) => {
      const ending = endings[i % endings.length] as string
      const aborts = ending === 'hangs' || ending === 'silent' || i % 4 === 0
      return get(`${origin}/${ending}`, aborts ? { signal: AbortSignal.timeout(i) } : {})
    }),
  )

  expect(results).toHaveLength(350)
})

it('is measured like a policy, by its name', () => {
  const { interceptor } = retrying({ name: 'stock' })

  expect([interceptor.kind, interceptor.name]).toEqual(['retry', 'stock'])
  expect(retryInterceptor().name).toBe('retry')
})

it.each([
  [null, /options/],
  [{ methods: 'GET' }, /methods must be an array of methods, got "GET"/],
  [{ statusCodes: 503 }, /statusCodes/],
  [{ statusCodes: [99] }, /statusCodes/],
  [{ attempts: 0 }, /attempts/],
  [{ deadline: Number.NaN }, /deadline/],
])('refuses %o', (options, message) => {
  expect(() => retryInterceptor(options as never)).toThrow(TypeError)
  expect(() => retryInterceptor(options as never)).toThrow(message)
})
