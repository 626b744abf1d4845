import { request } from 'node:http'
import type { handleUnaryCall, ServerUnaryCall, ServerWritableStream, sendUnaryData } from '@grpc/grpc-js'
import { status as codes, type Metadata } from '@grpc/grpc-js'
import { circuitBreaker } from '@msx/circuit-breaker'
import { createDiscovery, fixed } from '@msx/discovery'
import { describe, expect, onTestFinished, test } from 'vitest'
import type { RouteConfig } from './config.js'
import { createGateway, type GatewayDeps } from './gateway.js'
import { messageFromJson } from './grpc/from-json.js'
import { loadLibraries } from './grpc/libraries.js'
import type { Message } from './grpc/message.js'
import { loadSchema } from './grpc/schema.js'
import { proto, startOrders } from './grpc/testing/server.js'
import { createJsonWriter } from './grpc/to-json.js'
import { type TranscodeOptions, transcode } from './grpc.js'
import { manualClock, raw, serve, signalled } from './internal/test-servers.js'
import type { AccessLogEntry } from './request-log.js'

type Call = ServerUnaryCall<Record<string, unknown>, Record<string, unknown>>
type Reply = sendUnaryData<Record<string, unknown>>
type Stream = ServerWritableStream<Record<string, unknown>, Record<string, unknown>>

const echo: handleUnaryCall<unknown, unknown> = (call, reply) => reply(null, call.request)

/** A transcoder in front of a server with these methods. */
async function start(
  methods: Parameters<typeof startOrders>[0],
  options: Partial<TranscodeOptions> = {},
): Promise<{ url: string; port: number; transcoder: ReturnType<typeof transcode> }> {
  const { address } = await startOrders(methods)
  const transcoder = transcode({ proto, service: 'Orders', address, ...options })
  onTestFinished(() => transcoder.close())

  return { ...(await serve(transcoder)), transcoder }
}

/** A gateway with one route for everything, transcoded. */
async function startGateway(
  methods: Parameters<typeof startOrders>[0],
  route: Partial<RouteConfig> = {},
  deps: GatewayDeps = {},
  options: Partial<TranscodeOptions> = {},
): Promise<{ url: string }> {
  const { address } = await startOrders(methods)
  const transcoder = transcode({ proto, service: 'Orders', address, ...options })
  const gateway = createGateway(
    { routes: [{ path: '/**', upstream: 'orders', grpc: 'orders', ...route }] },
    { transcoders: { orders: transcoder }, ...deps },
  )
  onTestFinished(async () => {
    await gateway.close({ timeout: 0 })
    await transcoder.close()
  })

  return serve(gateway.handler)
}

const json = (body: unknown, method = 'POST') => ({
  method,
  headers: { 'content-type': 'application/json' },
  body: JSON.stringify(body),
})

describe('a call', () => {
  test('has its fields from path, query and body, as the rules of the proto say', async () => {
    const { url } = await start({ GetOrder: echo, CreateOrder: echo, ReplaceNote: echo, ReadFile: echo })

    const asked = await Promise.all([
      fetch(`${url}/v1/orders/o%20%31`),
      fetch(`${url}/v1/users/u1/orders/o1`).then((response) => response.json()),
      fetch(`${url}/v1/orders`, json({ orderId: 'o1', amount: '9007199254740993', status: 'CONFIRMED', items: ['a'] })),
      fetch(`${url}/v1/orders/o1/note`, json({ text: 'hi' }, 'PATCH')).then((response) => response.json()),
      fetch(`${url}/v1/files/a/b%20c:read`).then((response) => response.json()),
    ])

    expect(asked[0].headers.get('content-type')).toBe('application/json')
    expect(await asked[0].json()).toEqual({ orderId: 'o 1', amount: '0', status: 'STATUS_UNSPECIFIED', items: [] })
    expect(asked[2].status).toBe(200)
    expect(await asked[2].json()).toEqual({
      orderId: 'o1',
      amount: '9007199254740993',
      status: 'CONFIRMED',
      items: ['a'],
    })
    expect(asked[3]).toEqual({ text: 'hi' })
    expect(asked[4]).toEqual({ orderId: 'files/a/b c' })
  })

  test('has them as a map says, in the place of the proto', async () => {
    const rules = {
      CreateOrder: 'POST /orders/:order_id',
      GetOrder: { get: '/orders/{order_id}', additionalBindings: [{ post: '/search', body: '*' }] },
    }
    const { url } = await start({ GetOrder: echo, CreateOrder: echo }, { rules })

    const created = await fetch(`${url}/orders/o1`, json({ orderId: 'ignored', amount: 5 }))
    const found = await fetch(`${url}/orders/o2`)
    const searched = await fetch(`${url}/search`, json({ orderId: 'o3' }))
    const former = await fetch(`${url}/v1/orders`, json({}))

    // What the path says is what was authorised.
    expect(await created.json()).toMatchObject({ orderId: 'o1', amount: '5' })
    expect(await found.json()).toMatchObject({ orderId: 'o2' })
    expect(await searched.json()).toMatchObject({ orderId: 'o3' })
    expect(former.status).toBe(404)
  })

  test('is none where no rule fits: the method is named by Allow, another path goes on', async () => {
    const { url } = await start({})

    const method = await fetch(`${url}/v1/orders/o1`, { method: 'DELETE' })
    const path = await fetch(`${url}/v1/Hidden`)

    expect([method.status, method.headers.get('allow')]).toEqual([405, 'GET, HEAD'])
    expect(path.status).toBe(404)
  })

  test('carries the headers on the list, the request id, the trace and who asks as metadata', async () => {
    const seen = signalled<Metadata>()
    const { url } = await startGateway(
      {
        GetOrder: (call: Call, reply: Reply) => {
          seen.fire(call.metadata)
          reply(null, {})
        },
      },
      { auth: 'users' },
      { verifiers: { users: () => ({ sub: 'ada' }) } },
      { metadata: ['X-Tenant'] },
    )
    const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'

    const response = await fetch(`${url}/v1/orders/o1`, {
      headers: {
        authorization: 'Bearer secret',
        'x-tenant': 'blue',
        'x-user-id': 'eve',
        x_user_id: 'eve',
        'x-other': '1',
        traceparent,
      },
    })
    const metadata = (await seen.promise).getMap()

    expect(metadata).toMatchObject({
      'x-tenant': 'blue',
      'x-user-id': 'ada',
      'x-request-id': response.headers.get('x-request-id'),
      traceparent,
    })
    for (const name of ['authorization', 'x-other', 'x_user_id', 'host', 'cookie'])
      expect(metadata[name]).toBeUndefined()
  })

  test('is made only once what the same connection asked for before is answered', async () => {
    const asked: string[] = []
    const answer = signalled()
    const { port } = await start({
      GetOrder: (async ({ request }, reply) => {
        const { orderId: id } = request as { orderId: string }
        asked.push(id)
        if (id === 'first') await answer.promise
        reply(null, { orderId: id })
      }) satisfies handleUnaryCall<unknown, unknown>,
    })
    const get = (id: string, more = '') => `GET /v1/orders/${id} HTTP/1.1\r\nHost: a\r\n${more}\r\n`
    const last = 'Connection: close\r\n'

    const answers = raw(port, get('first') + get('second') + get('third', last))
    await expect.poll(() => asked).toEqual(['first'])
    // Whoever else asks has had an answer by the time the second would have been asked for.
    expect(await raw(port, get('other', last))).toContain('other')
    expect(asked).toEqual(['first', 'other'])
    answer.fire()

    expect(await answers).toMatch(/first[\s\S]*second[\s\S]*third/)
    expect(asked).toEqual(['first', 'other', 'second', 'third'])
  })

  test('goes where discovery says, under the name of the route', async () => {
    const { port } = await startOrders({ GetOrder: echo })
    const discovery = createDiscovery({ source: fixed({ 'order-service': [`http://127.0.0.1:${port}`] }) })
    const transcoder = transcode({ proto, service: 'test.orders.v1.Orders', discovery })
    const gateway = createGateway(
      {
        routes: [
          { path: '/v1/orders/**', upstream: 'order-service', grpc: 'orders' },
          { path: '/v1/users/**', upstream: 'nobody', grpc: 'orders' },
        ],
      },
      { transcoders: { orders: transcoder } },
    )
    onTestFinished(async () => {
      await gateway.close({ timeout: 0 })
      await transcoder.close()
      await discovery.close()
    })
    const { url } = await serve(gateway.handler)

    const found = await fetch(`${url}/v1/orders/o1`)
    const missing = await fetch(`${url}/v1/users/u1/orders/o1`)

    expect(await found.json()).toMatchObject({ orderId: 'o1' })
    expect(missing.status).toBe(503)
    expect(await missing.json()).toMatchObject({ code: 'MSX_PROXY_NO_ENDPOINT' })
  })
})

describe('a refused request', () => {
  test.each([
    ['not JSON', { body: '{', headers: { 'content-type': 'application/json' } }, 400, 'The body is not valid JSON.'],
    [
      'broken UTF-8',
      { body: new Uint8Array([0x22, 0xff, 0x22]), headers: { 'content-type': 'application/json' } },
      400,
      'valid JSON',
    ],
    ['another type', { body: '{}', headers: { 'content-type': 'text/plain' } }, 415, 'application/json'],
    [
      'another charset',
      { body: '{}', headers: { 'content-type': 'application/json; charset=utf-16' } },
      415,
      'application/json',
    ],
    ['a list', json([]), 400, 'an object was expected'],
    ['an unknown field', json({ nope: 1 }), 400, "'nope': no such field was expected."],
    ['a float for an integer', json({ amount: 1.5 }), 400, "'amount'"],
    ['a number that was rounded', json({ amount: 2 ** 53 }), 400, 'as a text'],
    ['an integer out of range', json({ amount: '9223372036854775808' }), 400, "'amount'"],
    ['an unknown name of an enum', json({ status: 'LOST' }), 400, 'STATUS_UNSPECIFIED, PENDING, CONFIRMED'],
    ['one field under two names', json({ orderId: 'a', order_id: 'b' }), 400, "'order_id': one value"],
    ['a list with null', json({ items: [null] }), 400, "'items[0]'"],
    ['half a character', json({ orderId: '\ud800' }), 400, 'Unicode'],
  ])('with %s says what is wrong, and calls nobody', async (_, init, status, detail) => {
    const { url } = await start({ CreateOrder: () => expect.unreachable() })

    const response = await fetch(`${url}/v1/orders`, { method: 'POST', ...init })
    const problem = (await response.json()) as { detail: string }

    expect(response.status).toBe(status)
    expect(response.headers.get('content-type')).toBe('application/problem+json')
    expect(problem).toMatchObject({ code: 'MSX_GRPC_REQUEST' })
    expect(problem.detail).toContain(detail)
  })

  test.each(['?nope=1', '?order_id=1&order_id=2', '?owner=x', '?owner.nope=1', '?__proto__.x=1', '?constructor=1'])(
    'with the query %s is a 400',
    async (query) => {
      const { url } = await start({ GetOrder: echo })

      expect((await fetch(`${url}/v1/users/u1/orders/o1${query}`)).status).toBe(
        query.startsWith('?order_id') ? 400 : 400,
      )
      expect(({} as { x?: unknown }).x).toBeUndefined()
    },
  )

  test('with a body beyond the limit is a 413, announced or not', async () => {
    const { url, port } = await start({ CreateOrder: echo }, { maxBody: 100 })

    const announced = await fetch(`${url}/v1/orders`, json({ orderId: 'x'.repeat(100) }))
    const chunked = await raw(
      port,
      `POST /v1/orders HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n80\r\n${'x'.repeat(128)}\r\n0\r\n\r\n`,
    )

    expect(announced.status).toBe(413)
    expect(chunked).toMatch(/^HTTP\/1.1 413 /)
  })

  test('with a body beyond the limit is a 413, after a parser in front, too', async () => {
    const { transcoder } = await start({ CreateOrder: echo }, { maxBody: 100 })
    const { url } = await serve((req, res, next) => {
      req.on('data', (chunk) => Object.assign(req, { body: JSON.parse(chunk) }))
      req.on('end', () => transcoder(req, res, next))
    })

    expect((await fetch(`${url}/v1/orders`, json({ orderId: 'x'.repeat(100) }))).status).toBe(413)
  })

  test('passes over what it does not know where it is told so', async () => {
    const { url } = await start({ CreateOrder: echo }, { ignoreUnknown: true })

    const response = await fetch(`${url}/v1/orders?utm=1`, json({ orderId: 'o1', nope: { a: 1 } }))

    expect(await response.json()).toMatchObject({ orderId: 'o1' })
  })

  test('cannot reach a prototype', async () => {
    const { url } = await start({ Echo: echo })
    const body = '{"byName":{"__proto__":{"id":"x"}}}'

    const inMap = await fetch(`${url}/v1/echo`, { ...json(0), body })
    const inMessage = await fetch(`${url}/v1/echo`, { ...json(0), body: '{"__proto__":{"id":"x"}}' })

    expect([inMap.status, inMessage.status]).toEqual([400, 400])
    expect(({} as { id?: unknown }).id).toBeUndefined()
  })

  test('is refused before it nests deeper than protobuf does', async () => {
    const { url } = await start({ Echo: () => expect.unreachable() })
    const body = `${'{"nested":'.repeat(5_000)}{}${'}'.repeat(5_000)}`

    const response = await fetch(`${url}/v1/echo`, { ...json(0), body })

    expect(response.status).toBe(400)
  })
})

describe('JSON', () => {
  test('of every type comes back as it went', async () => {
    const { url } = await start({ Echo: echo }, { defaults: false })
    const sent = {
      aDouble: 'NaN',
      aFloat: 0.1,
      anInt32: -5,
      aUint32: 4_294_967_295,
      anInt64: '-9223372036854775808',
      aUint64: '18446744073709551615',
      aBool: true,
      aString: 'ä',
      someBytes: '+/8=',
      status: 'PENDING',
      many: ['1', '-2'],
      byName: { a: { id: '1' }, constructor: { id: '2' } },
      left: '',
      at: '2026-02-28T12:00:00.120Z',
      took: '-1.500s',
      mask: 'a,bC',
      struct: { a: [1, null, { b: true }] },
      value: null,
      list: ['x', 2],
      wrappedInt64: '7',
      wrappedBool: false,
      wrappedString: '',
      wrappedBytes: 'AA==',
      any: { '@type': 'type.googleapis.com/test.orders.v1.Owner', id: 'o' },
      empty: {},
      maybe: 0,
      other: 'r',
    }

    const response = await fetch(`${url}/v1/echo`, json(sent))

    expect(await response.json()).toEqual(sent)
  })

  test('has the keys of a map, of whatever type they are', () => {
    const libraries = loadLibraries()
    const type = loadSchema(libraries, [proto], []).lookupType('test.orders.v1.Everything')
    const maps = { byNumber: { '-7': 'x', '9007199254740993': 'y' }, byBool: { true: 1, false: 2 } }

    const bytes = type.encode(messageFromJson(type, maps, { ignoreUnknown: false })).finish()
    const writer = createJsonWriter(libraries, false)

    expect(writer.messageToJson(type, type.decode(bytes) as unknown as Message)).toEqual(maps)
  })

  test('may be written in all the ways that proto3 takes', async () => {
    const { url } = await start({ Echo: echo }, { defaults: false })
    const sent = {
      an_int32: '5',
      anInt64: 6,
      aDouble: '1e2',
      status: 2,
      someBytes: '-_8',
      at: '2026-02-28T13:00:00+01:00',
      nested: null,
      value: 1,
    }

    const response = await fetch(`${url}/v1/echo`, json(sent))

    expect(await response.json()).toEqual({
      anInt32: 5,
      anInt64: '6',
      aDouble: 100,
      status: 'CONFIRMED',
      someBytes: '+/8=',
      at: '2026-02-28T12:00:00Z',
      value: 1,
    })
  })

  test('comes from a query, by names with dots and by repeated names', async () => {
    const { url } = await start({ Echo: echo }, { defaults: false })
    const query =
      'nested.an_int32=5&many=1&many=2&aBool=true&wrappedBool=false&status=PENDING&at=2026-01-01T00:00:00Z&took=3s'

    const response = await fetch(`${url}/v1/echo?${query}`)

    expect(await response.json()).toEqual({
      nested: { anInt32: 5 },
      many: ['1', '2'],
      aBool: true,
      wrappedBool: false,
      status: 'PENDING',
      at: '2026-01-01T00:00:00Z',
      took: '3s',
    })
  })

  test.each([
    ['two of a oneof', { left: 'a', right: 1 }],
    ['a day that is not', { at: '2026-02-31T00:00:00Z' }],
    ['a duration without unit', { took: '1' }],
    ['base64 of a wrong length', { someBytes: 'AAAAA' }],
    ['infinity from a large number', { aDouble: '1e999' }],
    ['a float out of range', { aFloat: 1e39 }],
    ['a boolean as a text', { aBool: 'true' }],
    ['a boolean key that is none', { byBool: { yes: 1 } }],
    ['an Any of an unknown type', { any: { '@type': 'type.googleapis.com/none' } }],
    ['a hex number', { anInt32: '0x10' }],
  ])('with %s is a 400', async (_, body) => {
    const { url } = await start({ Echo: () => expect.unreachable() })

    expect((await fetch(`${url}/v1/echo`, json(body))).status).toBe(400)
  })
})

describe('a status', () => {
  const table: [keyof typeof codes, number, boolean][] = [
    ['CANCELLED', 499, false],
    ['UNKNOWN', 500, false],
    ['INVALID_ARGUMENT', 400, true],
    ['DEADLINE_EXCEEDED', 504, false],
    ['NOT_FOUND', 404, true],
    ['ALREADY_EXISTS', 409, true],
    ['PERMISSION_DENIED', 403, true],
    ['RESOURCE_EXHAUSTED', 429, true],
    ['FAILED_PRECONDITION', 400, true],
    ['ABORTED', 409, true],
    ['OUT_OF_RANGE', 400, true],
    ['UNIMPLEMENTED', 501, false],
    ['INTERNAL', 500, false],
    ['UNAVAILABLE', 503, false],
    ['DATA_LOSS', 500, false],
    ['UNAUTHENTICATED', 401, true],
  ]

  test.each(table)('%s is a %d; its details are told: %s', async (name, status, told) => {
    const details = 'select * from orders at 10.0.0.7'
    const { url } = await start({
      GetOrder: (_: Call, reply: Reply) => reply({ code: codes[name], details } as never),
    })

    const response = await fetch(`${url}/v1/orders/o1`)
    const text = await response.text()

    expect(response.status).toBe(status)
    expect(JSON.parse(text)).toMatchObject({ status, code: 'MSX_GRPC_STATUS', grpc: name })
    expect(text.includes(details)).toBe(told)
    expect(response.headers.get('www-authenticate')).toBe(status === 401 ? 'Bearer' : null)
  })

  test('is the HTTP status that the options say', async () => {
    const { url } = await start(
      { GetOrder: (_: Call, reply: Reply) => reply({ code: codes.FAILED_PRECONDITION, details: 'x' } as never) },
      { statuses: { FAILED_PRECONDITION: 409 } },
    )

    expect((await fetch(`${url}/v1/orders/o1`)).status).toBe(409)
  })

  test('UNAVAILABLE for a server that is away names no address', async () => {
    const transcoder = transcode({ proto, service: 'Orders', address: '127.0.0.1:1' })
    onTestFinished(() => transcoder.close())
    const { url } = await serve(transcoder)

    const response = await fetch(`${url}/v1/orders/o1`)
    const text = await response.text()

    expect(response.status).toBe(503)
    expect(text).not.toContain('127.0.0.1')
    expect(text).not.toContain('ECONNREFUSED')
  })

  test('for an answer that is too long is a 502, no quota of the client', async () => {
    const { url } = await start({
      GetOrder: (_: Call, reply: Reply) => reply(null, { orderId: 'x'.repeat(5_000_000) }),
    })

    expect((await fetch(`${url}/v1/orders/o1`)).status).toBe(502)
  })

  test.each(['gRPC', 'HTTP'])('that nobody is there to be asked is not the breaker’s affair: %s', async (kind) => {
    const discovery = createDiscovery({ source: fixed({ nobody: [] }) })
    const orders = transcode({ proto, service: 'test.orders.v1.Orders', discovery })
    const breaker = circuitBreaker({ trip: { failures: 1 } })
    const route = { path: '/**', upstream: 'nobody', breaker, ...(kind === 'gRPC' && { grpc: 'orders' }) }
    const gateway = createGateway({ routes: [route] }, { discovery, transcoders: { orders } })
    onTestFinished(async () => {
      await gateway.close({ timeout: 0 })
      await orders.close()
      await discovery.close()
    })
    const { url } = await serve(gateway.handler)

    for (let turn = 0; turn < 3; turn += 1) {
      expect(await (await fetch(`${url}/v1/orders/o1`)).json()).toMatchObject({ code: 'MSX_PROXY_NO_ENDPOINT' })
    }
    expect(breaker.state).toBe('closed')
  })

  test('counts for the breaker of the route where the service is ill, and no more', async () => {
    const breaker = circuitBreaker({ trip: { failures: 2 } })
    let code: number = codes.NOT_FOUND
    const { url } = await startGateway(
      { GetOrder: (_: Call, reply: Reply) => reply({ code, details: '' } as never) },
      { breaker },
    )
    const statuses: number[] = []
    const ask = async () => statuses.push((await fetch(`${url}/v1/orders/o1`)).status)
    for (let index = 0; index < 3; index += 1) await ask()
    code = codes.INTERNAL
    for (let index = 0; index < 3; index += 1) await ask()

    expect(statuses).toEqual([404, 404, 404, 500, 500, 503])
    expect(breaker.state).toBe('open')
  })
})

describe('time', () => {
  test('that the route gives is told to the service, and kept', async () => {
    const clock = manualClock()
    const seen = signalled<number>()
    const { url } = await startGateway(
      { GetOrder: (call: Call) => seen.fire((call.getDeadline() as Date).valueOf() - Date.now()) },
      { timeout: { total: 60_000, headers: 5_000 } },
      {},
      { clock },
    )

    const response = fetch(`${url}/v1/orders/o1`)
    const left = await seen.promise
    clock.advance(5_000)
    const { status } = await response

    expect(left).toBeGreaterThan(3_000)
    expect(left).toBeLessThanOrEqual(5_010)
    expect(status).toBe(504)
    expect(clock.waiting).toBe(0)
  })

  test('in which a body does not come is up to the client: 408', async () => {
    const clock = manualClock()
    const { port } = await start({ CreateOrder: echo }, { clock, timeout: { idle: 1_000 } })
    const head = 'POST /v1/orders HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: 10\r\n\r\n{'

    const answer = raw(port, head)
    await expect.poll(() => clock.waiting).toBe(1)
    clock.advance(1_000)

    expect(await answer).toMatch(/^HTTP\/1.1 408 /)
  })

  test('is up when the client goes away: the call is cancelled, and nobody is blamed', async () => {
    const breaker = circuitBreaker({ trip: { failures: 1 } })
    const called = signalled()
    const cancelled = signalled()
    const entry = signalled<AccessLogEntry>()
    const { url } = await startGateway(
      {
        GetOrder: (call: Call) => {
          call.on('cancelled', () => cancelled.fire())
          called.fire()
        },
      },
      { breaker },
      { log: entry.fire },
    )

    const outgoing = request(`${url}/v1/orders/o1`)
    outgoing.on('error', () => {}).end()
    await called.promise
    outgoing.destroy()
    await cancelled.promise

    expect(breaker.state).toBe('closed')
    expect(await entry.promise).toMatchObject({
      status: 499,
      upstream: expect.stringMatching(/^grpc:\/\/127\.0\.0\.1:\d+$/),
      error: { code: 'MSX_PROXY_CLIENT_GONE' },
    })
  })
})

describe('a stream', () => {
  const three = (call: Stream): void => {
    for (const orderId of ['a', 'b', 'c']) call.write({ orderId })
    call.end()
  }

  test('is one line of JSON per message', async () => {
    const { url } = await start({ Follow: three })

    const response = await fetch(`${url}/v1/orders/o1/events`)

    expect(response.headers.get('content-type')).toBe('application/x-ndjson')
    expect(await response.text()).toBe('{"orderId":"a"}\n{"orderId":"b"}\n{"orderId":"c"}\n')
  })

  test('is server-sent events for whoever takes them', async () => {
    const { url } = await start({ Follow: three })

    const response = await fetch(`${url}/v1/orders/o1/events`, { headers: { accept: 'text/event-stream' } })

    expect(response.headers.get('content-type')).toBe('text/event-stream')
    expect(await response.text()).toBe('data: {"orderId":"a"}\n\ndata: {"orderId":"b"}\n\ndata: {"orderId":"c"}\n\n')
  })

  test('that fails before its first message has the status of the failure', async () => {
    const { url } = await start({
      Follow: (call: Stream) => void call.emit('error', { code: codes.NOT_FOUND, details: 'no such order' }),
    })

    const response = await fetch(`${url}/v1/orders/o1/events`)

    expect(response.status).toBe(404)
    expect(await response.json()).toMatchObject({ detail: 'no such order', grpc: 'NOT_FOUND' })
  })

  test('that fails later ends in a line that says so, and is cut', async () => {
    const { url, port } = await start({
      Follow: (call: Stream) => {
        call.write({ orderId: 'a' })
        setImmediate(() => call.emit('error', { code: codes.UNAVAILABLE, details: '10.0.0.7 is away' }))
      },
    })
    const head = 'GET /v1/orders/o1/events HTTP/1.1\r\nhost: a\r\n'

    const lines = await raw(port, `${head}\r\n`)
    const events = await (
      await fetch(`${url}/v1/orders/o1/events`, { headers: { accept: 'text/event-stream' } })
    ).text()

    expect(lines).toContain('{"orderId":"a"}\n')
    expect(lines).toMatch(/\{"error":\{.*"grpc":"UNAVAILABLE"\}\}\n/)
    expect(lines.endsWith('\r\n0\r\n\r\n')).toBe(false)
    expect(events).toMatch(/^data: \{"orderId":"a"\}\n\nevent: error\ndata: \{.*"grpc":"UNAVAILABLE"\}\n\n$/)
    expect(lines + events).not.toContain('10.0.0.7')
  })

  test('is sent no faster than the client takes it, and cancelled when it goes', async () => {
    let written = 0
    const full = signalled()
    const cancelled = signalled()
    const { url } = await start({
      Follow: (call: Stream) => {
        call.on('cancelled', () => cancelled.fire())
        const orderId = 'x'.repeat(100_000)
        const write = (): void => {
          while (!call.cancelled && written < 2_000) {
            written += 1
            if (!call.write({ orderId })) {
              full.fire()
              call.once('drain', write)
              return
            }
          }
          if (!call.cancelled) call.end()
        }
        write()
      },
    })

    const outgoing = request(`${url}/v1/orders/o1/events`)
    outgoing.on('error', () => {})
    outgoing.on('response', (response) => response.on('error', () => {}).pause()).end()
    await full.promise
    let before = -1
    // Until nothing moves any more.
    await expect
      .poll(
        () => {
          const still = written === before
          before = written
          return still
        },
        { interval: 200 },
      )
      .toBe(true)

    expect(written).toBeLessThan(500)
    outgoing.destroy()
    await cancelled.promise
  })
})

describe('what is refused at construction', () => {
  const address = '127.0.0.1:1'

  test.each<[string, Partial<TranscodeOptions>, string]>([
    ['a proto that is not there', { proto: '/none.proto' }, 'proto cannot be read'],
    ['an unknown service', { service: 'Nope' }, "got 'Nope'; there are: test.orders.v1.Orders"],
    ['neither address nor discovery', { address: undefined }, 'either address or discovery'],
    ['a rule for no method', { rules: { Nope: 'GET /' } }, "rules has 'Nope'"],
    ['a rule without verb', { rules: { Hidden: { body: '*' } } }, 'must have one of get'],
    ['a rule with an unknown field in its path', { rules: { Hidden: 'GET /:nope' } }, '{nope}'],
    ['a message in a path', { rules: { Hidden: 'GET /:owner' } }, '{owner}'],
    ['a body that is no field', { rules: { Hidden: { post: '/a', body: 'nope' } } }, "'nope'"],
    ['a stream of requests', { rules: { Upload: 'POST /a' } }, 'takes a stream'],
    ['a path that is taken', { rules: { Hidden: 'GET /v1/orders/:order_id' } }, 'bound twice'],
    ['a path that is none', { rules: { Hidden: 'GET orders' } }, 'POST /orders'],
    ['identity as metadata', { metadata: ['x_user-id'] }, 'metadata must be'],
    ['a status that is none', { statuses: { NOPE: 400 } as never }, 'statuses must be'],
    ['a body limit below 0', { maxBody: -1 }, 'maxBody must be'],
    ['timeouts that are none', { timeout: null as never }, 'timeout must be an object'],
  ])('%s', (_, options, message) => {
    expect(() => transcode({ proto, service: 'Orders', address, ...options })).toThrow(message)
  })

  test('a route that names no transcoder, or wants what a call cannot do', () => {
    const routes = [
      { path: '/a', upstream: 'x', grpc: 'nope' },
      { path: '/b', upstream: 'x', grpc: 'orders', retry: { statuses: [503] }, headers: { request: { a: 'b' } } },
    ]

    expect(() => createGateway({ routes }, { transcoders: { orders: (_req, _res, next) => next() } })).toThrow(
      /routes\[0\]\.grpc: "nope" is not in deps\.transcoders, which has "orders"\n {2}routes\[1\]\.retry\.statuses: .*\n {2}routes\[1\]\.headers\.request: /,
    )
  })
})
