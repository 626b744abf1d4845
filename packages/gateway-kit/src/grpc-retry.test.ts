import {
  status as codes,
  Metadata,
  type ServerUnaryCall,
  type ServerWritableStream,
  type sendUnaryData,
} from '@grpc/grpc-js'
import { circuitBreaker } from '@msx/circuit-breaker'
import type { RetryBudget } from '@msx/retry'
import { describe, expect, onTestFinished, test } from 'vitest'
import type { RouteConfig } from './config.js'
import { createGateway, type GatewayDeps } from './gateway.js'
import { proto, startOrders } from './grpc/testing/server.js'
import { type TranscodeOptions, transcode } from './grpc.js'
import { manualClock, serve, signalled, startTcp } from './internal/test-servers.js'
import type { AccessLogEntry } from './request-log.js'
import type { Finder } from './upstream.js'

type Call = ServerUnaryCall<Record<string, unknown>, Record<string, unknown>>
type Reply = sendUnaryData<Record<string, unknown>>
type Stream = ServerWritableStream<Record<string, unknown>, Record<string, unknown>>
type Methods = Parameters<typeof startOrders>[0]

/** A service whose instances are tried in this order, and what each is told in the end. */
function inOrder(...addresses: string[]): { discovery: Finder; outcomes: string[] } {
  const outcomes: string[] = []
  const endpoints = addresses.map((address) => ({ id: address, url: `http://${address}` }))
  const service = {
    snapshot: { version: 1, endpoints },
    pick({ exclude }: { exclude?: ReadonlySet<string> } = {}) {
      const endpoint = endpoints.find(({ id }) => exclude?.has(id) !== true)
      if (endpoint === undefined) throw new Error('there is nobody else')

      const told = (outcome: string): void => void outcomes.push(`${endpoints.indexOf(endpoint)}: ${outcome}`)
      return { endpoint, firstByte: () => {}, done: told }
    },
  }

  return { discovery: { service: () => service } as unknown as Finder, outcomes }
}

/** A gateway with one transcoded route, that logs what it did. */
async function start(
  options: Partial<TranscodeOptions>,
  route: Partial<RouteConfig> = {},
  deps: GatewayDeps = {},
): Promise<{ url: string; log: AccessLogEntry[] }> {
  const transcoder = transcode({ proto, service: 'Orders', ...options })
  const log: AccessLogEntry[] = []
  const gateway = createGateway(
    { routes: [{ path: '/**', upstream: 'orders', grpc: 'orders', ...route }] },
    { transcoders: { orders: transcoder }, log: (entry) => log.push(entry), ...deps },
  )
  onTestFinished(async () => {
    await gateway.close({ timeout: 0 })
    await transcoder.close()
  })

  return { url: (await serve(gateway.handler)).url, log }
}

/** Where nobody listens. */
async function deadAddress(): Promise<string> {
  const { address, server } = await startOrders({})
  server.forceShutdown()
  return address
}

/** Takes connections and never says a word, so that there is never a connection of HTTP/2. */
async function silentAddress(): Promise<{ address: string; reached: Promise<void> }> {
  const reached = signalled()
  const url = await startTcp((socket) => socket.once('data', () => reached.fire()))
  return { address: url.replace('http://', ''), reached: reached.promise }
}

const answers: Methods = {
  GetOrder: (call: Call, reply: Reply) => reply(null, call.request),
  CreateOrder: (call: Call, reply: Reply) => reply(null, call.request),
}

/** Refuses both calls with this status, and counts them. */
function refuses(code: number, metadata = new Metadata()): { methods: Methods; calls: string[] } {
  const calls: string[] = []
  const refuse = (name: string) => (_: Call, reply: Reply) => {
    calls.push(name)
    reply({ code, details: 'not today', metadata } as never)
  }

  return { methods: { GetOrder: refuse('GetOrder'), CreateOrder: refuse('CreateOrder') }, calls }
}

const create = (headers: Record<string, string> = {}) => ({
  method: 'POST',
  headers: { 'content-type': 'application/json', ...headers },
  body: '{"orderId":"o1"}',
})

const retry = { backoff: () => 0 }

describe('timeout.connect', () => {
  test('bounds the wait for a connection, and nothing after it', async () => {
    const clock = manualClock()
    const { address, reached } = await silentAddress()
    const { url, log } = await start({ address, clock }, { timeout: { connect: 3_000, headers: 60_000 } }, { clock })

    const asked = fetch(`${url}/v1/orders/o1`)
    await reached
    clock.advance(2_999)
    expect(log).toEqual([])
    clock.advance(1)

    const response = await asked
    expect(response.status).toBe(504)
    expect(await response.json()).toMatchObject({ code: 'MSX_PROXY_TIMEOUT' })
  })

  test('is over with the connection: how long the answer takes is up to timeout.headers', async () => {
    const clock = manualClock()
    const asked = signalled<Reply>()
    const { address } = await startOrders({ GetOrder: (_: Call, reply: Reply) => asked.fire(reply) })
    const { url } = await start({ address, clock }, { timeout: { connect: 10, headers: 60_000 } }, { clock })

    const response = fetch(`${url}/v1/orders/o1`)
    const reply = await asked.promise
    clock.advance(59_999)
    reply(null, { orderId: 'late' })

    expect(await (await response).json()).toMatchObject({ orderId: 'late' })
  })

  test('of false waits for as long as the request does', async () => {
    const clock = manualClock()
    const { address, reached } = await silentAddress()
    const { url } = await start(
      { address, clock },
      { timeout: { connect: false, headers: 10, total: 90_000 } },
      { clock },
    )

    const asked = fetch(`${url}/v1/orders/o1`)
    await reached
    clock.advance(89_999)
    const early = await Promise.race([asked, new Promise((resolve) => setImmediate(resolve, 'waits'))])
    clock.advance(1)

    expect(early).toBe('waits')
    expect((await asked).status).toBe(504)
  })

  test('is waited for by nobody when the client has gone', async () => {
    const clock = manualClock()
    const { address, reached } = await silentAddress()
    const { url, log } = await start({ address, clock }, {}, { clock })
    const gone = new AbortController()

    const asked = fetch(`${url}/v1/orders/o1`, { signal: gone.signal })
    await reached
    gone.abort()

    await expect(asked).rejects.toThrow()
    await expect.poll(() => log[0]?.status).toBe(499)
    expect(clock.waiting).toBe(0)
  })
})

describe('a retry', () => {
  test('of a call that never left goes to another instance, whatever its method', async () => {
    const [dead, alive] = [await deadAddress(), await startOrders(answers)]
    const { discovery, outcomes } = inOrder(dead, alive.address)
    const { url, log } = await start({ discovery }, { retry })

    const response = await fetch(`${url}/v1/orders`, create())

    expect(await response.json()).toMatchObject({ orderId: 'o1' })
    await expect.poll(() => log[0]).toMatchObject({ attempts: 2, upstream: `grpc://${alive.address}` })
    expect(outcomes).toEqual(['0: failure', '1: success'])
  })

  test('comes after an instance that lets nobody connect, too', async () => {
    const clock = manualClock()
    const silent = await silentAddress()
    const { address } = await startOrders(answers)
    const { discovery, outcomes } = inOrder(silent.address, address)
    const { url } = await start({ discovery, clock }, { retry, timeout: { connect: 500 } }, { clock })

    const asked = fetch(`${url}/v1/orders`, create())
    await silent.reached
    clock.advance(500)

    expect((await asked).status).toBe(200)
    expect(outcomes).toEqual(['0: failure', '1: success'])
  })

  test('comes when an instance was stopped that had answered before', async () => {
    const [first, second] = [await startOrders(answers), await startOrders(answers)]
    const { discovery } = inOrder(first.address, second.address)
    const { url } = await start({ discovery }, { retry })
    expect((await fetch(`${url}/v1/orders`, create())).status).toBe(200)

    first.server.forceShutdown()
    const statuses: number[] = []
    for (let asked = 0; asked < 20; asked += 1) statuses.push((await fetch(`${url}/v1/orders/o1`)).status)

    expect(statuses).toEqual(Array(20).fill(200))
  })

  test.each<[string, (url: string) => Promise<Response>, number]>([
    ['a GET', (url) => fetch(`${url}/v1/orders/o1`), 200],
    ['a POST', (url) => fetch(`${url}/v1/orders`, create()), 503],
    ['a POST with an Idempotency-Key', (url) => fetch(`${url}/v1/orders`, create({ 'idempotency-key': 'k1' })), 200],
  ])('of what the service refused as UNAVAILABLE: %s', async (_, ask, status) => {
    const { methods, calls } = refuses(codes.UNAVAILABLE)
    const [ill, well] = [await startOrders(methods), await startOrders(answers)]
    const { url } = await start({ discovery: inOrder(ill.address, well.address).discovery }, { retry })

    expect((await ask(url)).status).toBe(status)
    expect(calls).toHaveLength(1)
  })

  test.each(['NOT_FOUND', 'INTERNAL', 'UNKNOWN', 'DEADLINE_EXCEEDED', 'RESOURCE_EXHAUSTED', 'ABORTED'] as const)(
    'is none after %s',
    async (name) => {
      const { methods, calls } = refuses(codes[name])
      const { address } = await startOrders(methods)
      const { url } = await start({ discovery: inOrder(address, address).discovery }, { retry })

      expect(await (await fetch(`${url}/v1/orders/o1`)).json()).toMatchObject({ grpc: name })
      expect(calls).toHaveLength(1)
    },
  )

  test('is none of a body that is longer than what is kept', async () => {
    const { methods, calls } = refuses(codes.UNAVAILABLE)
    const { address } = await startOrders(methods)
    const { url } = await start({ address }, { retry: { ...retry, replay: 1 } })

    expect((await fetch(`${url}/v1/orders`, create({ 'idempotency-key': 'k1' }))).status).toBe(503)
    expect(calls).toHaveLength(1)
  })

  test('of a stream comes before its first message, never after it', async () => {
    const follow = (written: number) => (call: Stream) => {
      for (let count = 0; count < written; count += 1) call.write({ orderId: 'first' })
      setImmediate(() => call.emit('error', { code: codes.UNAVAILABLE, details: 'not today' }))
    }
    const well = await startOrders({
      Follow: (call: Stream) => {
        call.write({ orderId: 'second' })
        call.end()
      },
    })
    const ask = async (written: number): Promise<string> => {
      const ill = await startOrders({ Follow: follow(written) })
      const { url } = await start({ discovery: inOrder(ill.address, well.address).discovery }, { retry })
      return (await fetch(`${url}/v1/orders/o1/events`, { headers: { accept: 'text/event-stream' } })).text()
    }

    expect(await ask(0)).toBe('data: {"orderId":"second"}\n\n')
    expect(await ask(1)).toMatch(/^data: \{"orderId":"first"\}\n\nevent: error\n/)
  })

  test('is paid from one budget of all requests of the route', async () => {
    const { methods, calls } = refuses(codes.UNAVAILABLE)
    const { address } = await startOrders(methods)
    let left = 3
    const budget: RetryBudget = {
      get balance() {
        return left
      },
      deposit: () => {},
      tryWithdraw: () => left-- > 0,
    }
    const { url } = await start({ address }, { retry: { ...retry, budget } })

    const statuses = await Promise.all(
      Array.from({ length: 5 }, async () => (await fetch(`${url}/v1/orders/o1`)).status),
    )

    expect(statuses).toEqual(Array(5).fill(503))
    expect(calls).toHaveLength(5 + 3)
  })

  test.each<[string, string, number]>([
    ['no more', '-1', 1],
    ['no more, in whatever words', 'never', 1],
    ['a while', '0', 2],
    ['longer than anybody waits', '60000', 1],
  ])('is as the service asks for it: %s', async (_, pushback, times) => {
    const metadata = new Metadata()
    metadata.set('grpc-retry-pushback-ms', pushback)
    const { methods, calls } = refuses(codes.UNAVAILABLE, metadata)
    const { address } = await startOrders(methods)
    const { url } = await start({ address }, { retry: { ...retry, attempts: 2 } })

    expect((await fetch(`${url}/v1/orders/o1`)).status).toBe(503)
    expect(calls).toHaveLength(times)
  })

  test('is not made for a client that has gone', async () => {
    const clock = manualClock()
    const { methods, calls } = refuses(codes.UNAVAILABLE)
    const { address } = await startOrders(methods)
    const { url, log } = await start({ address, clock }, { retry: { backoff: () => 1_000 } }, { clock })
    const gone = new AbortController()

    const asked = fetch(`${url}/v1/orders/o1`, { signal: gone.signal })
    await expect.poll(() => calls.length).toBe(1)
    gone.abort()
    await expect(asked).rejects.toThrow()
    await expect.poll(() => log[0]?.status).toBe(499)

    expect(clock.waiting).toBe(0)
    expect(calls).toHaveLength(1)
  })

  test('asks the breaker each time, and each time tells it', async () => {
    const { methods, calls } = refuses(codes.UNAVAILABLE)
    const { address } = await startOrders(methods)
    const breaker = circuitBreaker({ trip: { failures: 2 } })
    const { url } = await start({ address }, { retry: { ...retry, attempts: 5 }, breaker })

    const response = await fetch(`${url}/v1/orders/o1`)

    expect(await response.json()).toMatchObject({ code: 'MSX_PROXY_CIRCUIT_OPEN' })
    expect(calls).toHaveLength(2)
    expect(breaker.state).toBe('open')
  })

  test('is the transcoder’s own where the route says nothing, and none where it says so', async () => {
    const { methods, calls } = refuses(codes.UNAVAILABLE)
    const { address } = await startOrders(methods)
    const options = { address, retry: { ...retry, attempts: 2 } }
    const [own, off] = [await start(options), await start(options, { retry: false })]

    await fetch(`${own.url}/v1/orders/o1`)
    expect(calls).toHaveLength(2)
    await fetch(`${off.url}/v1/orders/o1`)
    expect(calls).toHaveLength(3)
  })
})

test.each<[keyof typeof codes, 'open' | 'closed']>([
  ['UNKNOWN', 'open'],
  ['DEADLINE_EXCEEDED', 'open'],
  ['INTERNAL', 'open'],
  ['UNAVAILABLE', 'open'],
  ['DATA_LOSS', 'open'],
  ['CANCELLED', 'closed'],
  ['INVALID_ARGUMENT', 'closed'],
  ['NOT_FOUND', 'closed'],
  ['ALREADY_EXISTS', 'closed'],
  ['PERMISSION_DENIED', 'closed'],
  ['RESOURCE_EXHAUSTED', 'closed'],
  ['FAILED_PRECONDITION', 'closed'],
  ['ABORTED', 'closed'],
  ['OUT_OF_RANGE', 'closed'],
  ['UNIMPLEMENTED', 'closed'],
  ['UNAUTHENTICATED', 'closed'],
])('%s leaves the breaker %s', async (name, state) => {
  const { address } = await startOrders(refuses(codes[name] as number).methods)
  const breaker = circuitBreaker({ trip: { failures: 1 } })
  const { url } = await start({ address }, { breaker })

  await fetch(`${url}/v1/orders/o1`)

  expect(breaker.state).toBe(state)
})

test('a transcoder that is closed serves what is under way, and then has no connection left', async () => {
  const asked = signalled<Reply>()
  const { address, server } = await startOrders({ GetOrder: (_: Call, reply: Reply) => asked.fire(reply) })
  const transcoder = transcode({ proto, service: 'Orders', address })
  const { url } = await serve(transcoder)

  const response = fetch(`${url}/v1/orders/o1`)
  const reply = await asked.promise
  await transcoder.close()
  reply(null, { orderId: 'o1' })

  expect((await response).status).toBe(200)
  await new Promise<void>((resolve, reject) => server.tryShutdown((error) => (error ? reject(error) : resolve())))
})

test('statuses of HTTP are no reason to call again, and a call is no WebSocket', () => {
  const transcoders = { orders: transcode({ proto, service: 'Orders', address: '127.0.0.1:1' }) }
  const route = { path: '/a', upstream: 'x', grpc: 'orders' }

  expect(() =>
    createGateway({ routes: [{ ...route, retry: { statuses: [503] }, websocket: true }] }, { transcoders }),
  ).toThrow(/routes\[0\]\.retry\.statuses: .*UNAVAILABLE\n {2}routes\[0\]\.websocket: /)
  expect(() => transcode({ proto, service: 'Orders', address: 'a:1', retry: { statuses: [503] } as never })).toThrow(
    'retry.statuses',
  )
})
