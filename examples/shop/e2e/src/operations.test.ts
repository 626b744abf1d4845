import { randomUUID } from 'node:crypto'
import { afterEach, beforeAll, describe, expect, inject, test } from 'vitest'
import { type Customer, expectProblem, newCustomer, request } from './customer.js'
import { type Operator, operator, operatorToken, stream } from './operator.js'
import { type PlacedSpan, placeOf, placeOfReservation } from './trace.js'

const shop = { url: inject('sharedShop') }
const op: Operator = operator(shop.url)
let ada: Customer

beforeAll(async () => {
  ada = await newCustomer(shop.url)
})

afterEach(() => op.mend())

const patient = { timeout: 15_000, interval: 50 }
const cup = [{ productId: 'espresso-cup', quantity: 1 }]

async function stock(): Promise<number> {
  return (await request(shop.url, 'GET', '/api/products/espresso-cup')).body.stock
}

async function placed(paymentMethod = 'card-ok'): Promise<string> {
  const answer = await ada.order(cup, paymentMethod)
  expect(answer.status).toBe(202)
  return answer.body.id
}

async function sagaOf(orderId: string): Promise<{ id: string; status: string; step: string; rev: number }> {
  const { items } = (await op.request('GET', '/ops/sagas?limit=200')).body
  return items.find((saga: { orderId: string }) => saga.orderId === orderId)
}

describe('who may', () => {
  test('nobody without the token', async () => {
    expectProblem(await request(shop.url, 'GET', '/ops/topology'), 401)
    expectProblem(await ada.request('GET', '/ops/topology'), 401)
  })

  test('nobody changes anything from another origin, or with a form', async () => {
    const fault = { service: 'product-service', latency: 1 }

    expectProblem(await op.request('PUT', '/ops/faults', fault, { origin: 'http://evil.test' }), 403)
    expectProblem(await op.request('PUT', '/ops/faults', fault, { 'sec-fetch-site': 'cross-site' }), 403)
    expectProblem(await op.request('PUT', '/ops/faults', fault, { 'content-type': 'text/plain' }), 415)
    expect(await op.faults()).toEqual([])
  })
})

describe('the topology', () => {
  test('has the seven services, and edges that carry breaker, rate, p95 and retries', async () => {
    await ada.settled(await placed())

    const { nodes, edges } = (await op.request('GET', '/ops/topology')).body

    expect(
      nodes.filter(({ kind, status }: Record<string, string>) => kind === 'service' && status === 'ready'),
    ).toHaveLength(7)
    for (const [from, to] of [
      ['api-gateway', 'order-service'],
      ['order-service', 'product-service'],
      ['order-service', 'payment-service'],
    ]) {
      const edge = edges.find((one: Record<string, string>) => one['from'] === from && one['to'] === to)
      expect(edge).toMatchObject({ breaker: 'closed', retries: expect.any(Number), failures: expect.any(Number) })
      expect(edge.rate).toBeGreaterThan(0)
      expect(edge.p95).toBeGreaterThan(0)
    }
    expect(edges).toContainEqual(expect.objectContaining({ from: 'broker', to: 'notification-service', kind: 'event' }))
  })

  test('each service is reached through the gateway', async () => {
    const { items } = (await op.request('GET', '/ops/services')).body
    expect(items).toHaveLength(7)
    for (const { name } of items) {
      const at = `/ops/services/${name}`
      expect((await op.request('GET', `${at}/health/live`)).body).toMatchObject({ service: name })
      expect((await op.request('GET', `${at}/health/ready`)).status).toBe(200)
      expect((await op.request('GET', `${at}/metrics`)).body).toContain('process_cpu_seconds_total')
    }
    expectProblem(await op.request('GET', '/ops/services/nobody/metrics'), 404)
    expectProblem(await op.request('GET', '/ops/services/user-service/internal/signing-keys'), 404)
    expectProblem(await op.request('GET', '/ops/services/api-gateway/internal/signing-keys'), 404)
  })

  test.each([
    '/ops/sagas?limit=-1',
    '/ops/sagas?limit=1.5',
    '/ops/sagas?limit=many',
    '/ops/sagas?after=nothing',
    '/ops/traces?limit=-1',
  ])('a page that cannot be is refused: %s', async (path) => {
    expectProblem(await op.request('GET', path), 422)
  })
})

describe('the stream', () => {
  test('begins with a snapshot, goes on with changes, and is taken up where it was left', async () => {
    const first = stream(shop.url)
    const snapshot = (await first.next()).value
    expect(snapshot).toMatchObject({ event: 'snapshot', data: { nodes: expect.any(Object), faults: {} } })

    await op.break({ service: 'analytics-service', latency: 1 })
    let last = snapshot
    for await (const event of first) {
      last = event
      if (event.data.faults !== undefined) break
    }
    expect(Object.values(last?.data.faults.set)).toMatchObject([{ service: 'analytics-service', latency: 1 }])

    const second = stream(shop.url, last?.id)
    await op.mend()
    for await (const event of second) {
      expect(event.event).toBe('change')
      if (event.data.faults !== undefined) {
        expect(event.data.faults.gone).toHaveLength(1)
        break
      }
    }

    const stranger = stream(shop.url, 'another-life-7')
    expect((await stranger.next()).value).toMatchObject({ event: 'snapshot' })
    await stranger.return()
  })
})

describe('a fault', () => {
  test('of latency is felt on its route only, and counted', async () => {
    await op.break({ service: 'product-service', route: 'GET /api/products/:id', latency: 300 })

    const began = performance.now()
    await request(shop.url, 'GET', '/api/products')
    const spared = performance.now() - began
    await stock()
    const hit = performance.now() - began - spared

    expect(hit).toBeGreaterThanOrEqual(295)
    expect(await op.faults()).toMatchObject([
      { route: 'GET /api/products/:id', effect: { seen: 1, delayed: 1, failed: 0 } },
    ])
  })

  test('of errors opens the breaker, which is seen on the edge and closes again', async () => {
    await op.break({ service: 'product-service', route: 'GET /api/products', errors: 1 })

    for (let i = 0; i < 25; i++) await request(shop.url, 'GET', '/api/products')
    expect(await op.edge('api-gateway', 'product-service')).toMatchObject({ breaker: 'open' })
    expect((await op.edge('api-gateway', 'product-service'))?.retries).toBeGreaterThan(0)
    expect((await op.faults())[0]?.effect.failed).toBeGreaterThanOrEqual(10)

    await op.mend()
    await expect.poll(async () => (await request(shop.url, 'GET', '/api/products')).status, patient).toBe(200)
    await expect.poll(async () => (await op.edge('api-gateway', 'product-service'))?.breaker, patient).toBe('closed')
  })

  test('of drop cuts the connection', async () => {
    await op.break({ service: 'user-service', route: 'POST /api/sessions', drop: 1 })

    const answer = await request(shop.url, 'POST', '/api/sessions', { email: 'a@b.test', password: 'x' })

    expectProblem(answer, 502)
    expect(await op.faults()).toMatchObject([{ effect: { seen: 1, dropped: 1 } }])
  })

  test('that kills a service ends it; it comes back, with the other faults still on it', async () => {
    await op.break({ service: 'analytics-service', latency: 5 })
    await op.break({ service: 'analytics-service', kill: true })

    await expect
      .poll(async () => (await op.request('GET', '/ops/services/analytics-service/health/ready')).status, patient)
      .not.toBe(200)
    await expect
      .poll(async () => (await op.request('GET', '/ops/services/analytics-service/health/ready')).status, patient)
      .toBe(200)
    await expect.poll(async () => (await op.faults()).length, patient).toBe(1)
  })

  test.each([
    [{ service: 'nobody', latency: 1 }],
    [{ service: 'user-service' }],
    [{ service: 'user-service', errors: 2 }],
    [{ service: 'user-service', latency: -1 }],
    [{ service: 'user-service', latency: 1, color: 'red' }],
  ])('that is none is refused: %j', async (fault) => {
    expectProblem(await op.request('PUT', '/ops/faults', fault), 422)
  })
})

describe('a trace', () => {
  interface Span {
    readonly traceId: string
    readonly spanId: string
    readonly parentId?: string
    readonly service: string
    readonly kind: string
    readonly name: string
    readonly failed: boolean
    readonly attributes: Readonly<Record<string, unknown>>
    readonly links: readonly { readonly traceId: string; readonly spanId: string }[]
  }

  /** The spans of the newest trace that the gateway gave this name. */
  async function newest(name: string, ready: (spans: readonly Span[]) => boolean): Promise<readonly Span[]> {
    let spans: readonly Span[] = []
    const look = async () => {
      const { items } = (await op.request('GET', '/ops/traces?limit=200')).body
      const line = items.find((one: { name: string }) => one.name === name)
      spans = line === undefined ? [] : (await op.request('GET', `/ops/traces/${line.traceId}`)).body.spans
      return ready(spans)
    }
    await expect.poll(look, patient).toBe(true)
    return spans
  }

  const below = (spans: readonly Span[], parent: Span | undefined, kind: string) =>
    spans.filter((span) => span.parentId === parent?.spanId && span.kind === kind)

  test('goes from the gateway, through its attempt, to the service', async () => {
    await placed()

    const reserved = ['createOrder', 'step reserve', 'reserveInventory']
    const spans = await newest('POST /api/orders', (all) => reserved.every((name) => named(name, all) !== undefined))
    const request = spans.find(({ service, kind }) => service === 'api-gateway' && kind === 'server')
    const [attempt] = below(spans, request, 'client')
    expect(attempt).toMatchObject({
      service: 'api-gateway',
      name: 'POST',
      attributes: { 'http.request.method': 'POST', 'http.response.status_code': 202, 'server.address': '127.0.0.1' },
    })
    expect(below(spans, attempt, 'server')).toMatchObject([
      { service: 'order-service', name: 'POST /api/orders', attributes: { 'http.route': '/api/orders' } },
    ])

    expect(named('createOrder', spans)).toMatchObject({
      service: 'order-service',
      events: [{ name: 'order_created' }],
    })
    const { traceId, spanId } = named('step reserve', spans)!
    expect(named('reserveInventory', spans)).toMatchObject({
      service: 'order-service',
      parentId: named('createOrder', spans)?.spanId,
      links: [{ traceId, spanId }],
    })
    expect(below(spans, named('reserveInventory', spans), 'client')).toMatchObject([{ name: 'PUT' }])
  })

  test('has two attempts where the gateway has tried again, each of which reached the service', async () => {
    await op.break({ service: 'product-service', route: 'GET /api/products/:id', errors: 1 })
    const before = (await op.edge('api-gateway', 'product-service'))?.retries ?? 0
    expect((await request(shop.url, 'GET', '/api/products/espresso-cup')).status).toBe(503)

    const spans = await newest('GET /api/products/:id', (all) => all.length >= 5)
    const asked = spans.find(({ parentId }) => parentId === undefined)
    const attempts = below(spans, asked, 'client')
    expect(attempts.map(({ attributes, failed }) => [attributes['http.request.resend_count'], failed])).toEqual([
      [undefined, true],
      [1, true],
    ])
    for (const attempt of attempts) {
      expect(below(spans, attempt, 'server')).toMatchObject([
        { service: 'product-service', attributes: { 'shop.fault': true, 'http.response.status_code': 503 } },
      ])
    }
    expect((await op.edge('api-gateway', 'product-service'))?.retries).toBeGreaterThan(before)
  })

  test('of a payment goes on over gRPC', async () => {
    const order = await placed()
    await ada.request('POST', '/api/payments', { orderId: order, amount: 1, currency: 'EUR' })

    const spans = await newest('POST /api/payments', (all) => all.some(({ service }) => service === 'payment-service'))
    const [call] = below(
      spans,
      spans.find(({ parentId }) => parentId === undefined),
      'client',
    )
    expect(call).toMatchObject({ name: 'shop.payment.v1.PaymentService/ProcessPayment' })
    expect(below(spans, call, 'server')).toMatchObject([
      { service: 'payment-service', attributes: { 'rpc.system': 'grpc', 'rpc.method': 'ProcessPayment' } },
    ])
  })

  const named = (name: string, spans: readonly Span[]) => spans.find((span) => span.name === name)
})

describe('dead letters', () => {
  test('are shown, and replayed when what was wrong is mended', async () => {
    await op.break({ service: 'notification-service', route: 'order.confirmed', drop: 1 })
    const order = await placed()
    await ada.settled(order)
    const box = async () => {
      const { items } = (await op.request('GET', '/ops/dead-letters')).body
      return items.find((one: { group: string }) => one.group === 'notification')
    }
    await expect.poll(async () => (await box()).count, patient).toBe(1)
    expect((await box()).items).toMatchObject([
      { type: 'order.confirmed', data: { orderId: order }, reason: expect.stringContaining('dropped on purpose') },
    ])

    await op.mend()
    expect((await op.request('POST', '/ops/dead-letters/notification/replay', {})).body).toEqual({ replayed: 1 })
    await expect.poll(async () => (await box()).count, patient).toBe(0)
    expectProblem(await op.request('POST', '/ops/dead-letters/nobody/replay', {}), 404)
  })
})

describe('sagas', () => {
  test('are listed with their status, and each with its timeline', async () => {
    const order = await placed('card-declined')
    await ada.settled(order)

    const saga = await sagaOf(order)
    expect(saga).toMatchObject({ name: 'checkout', status: 'compensated' })
    const { steps, timeline } = (await op.request('GET', `/ops/sagas/${saga.id}`)).body
    expect(steps.map(({ kind, name }: Record<string, string>) => `${kind} ${name}`)).toEqual([
      'do open',
      'do reserve',
      'do authorise',
      'undo reserve',
      'undo open',
    ])
    expect(timeline).toContain('authorise')
    expectProblem(await op.request('GET', '/ops/sagas?status=asleep'), 422)
  })

  test('whose undo keeps failing waits for an operator, who resumes it', async () => {
    const before = await stock()
    await op.break({ service: 'product-service', route: 'DELETE /internal/reservations/:orderId', errors: 1 })
    const order = await placed('card-declined')
    await expect.poll(async () => (await sagaOf(order))?.status, patient).toBe('stuck')
    const { id, rev, step } = await sagaOf(order)
    expect(step).toBe('reserve')
    expect((await ada.request('GET', `/api/orders/${order}`)).body.status).toBe('PENDING')

    const decision = { do: 'retry', step, rev, by: 'Grace', reason: 'product-service is mended' }
    await op.mend()
    expectProblem(await op.request('POST', `/ops/sagas/${id}/resume`, { ...decision, rev: rev - 1 }), 409)
    expectProblem(await op.request('POST', `/ops/sagas/${id}/resume`, { ...decision, do: 'pray' }), 422)
    expect((await op.request('POST', `/ops/sagas/${id}/resume`, decision)).status).toBe(200)

    expect((await ada.settled(order)).body.status).toBe('CANCELLED')
    await expect.poll(async () => (await sagaOf(order)).status, patient).toBe('compensated')
    expect(await stock()).toBe(before)
  })
})

test('goods that are kept no longer end the order CANCELLED before anybody is charged', async () => {
  const before = await stock()
  await op.break({ service: 'product-service', route: 'POST /internal/reservations/:orderId/secure', latency: 1_300 })
  const order = await placed()
  await expect.poll(stock, patient).toBe(before - 1)
  await expect.poll(stock, patient).toBe(before)

  expect((await ada.settled(order, 20_000)).body).toMatchObject({
    status: 'CANCELLED',
    reason: 'the goods were kept for as long as they could be',
  })
  const { steps } = (await op.request('GET', `/ops/sagas/${(await sagaOf(order)).id}`)).body
  expect(steps.map(({ name }: { name: string }) => name)).toEqual(['open', 'reserve', 'authorise', 'reserve', 'open'])
  expect(await stock()).toBe(before)
})

describe('a payment by the customer', () => {
  const pay = (by: Customer, orderId: string, amount = 1_450, currency = 'EUR') =>
    by.request('POST', '/api/payments', { orderId, amount, currency })

  test('of a PENDING order is taken once, whatever the checkout does meanwhile', async () => {
    await op.break({ service: 'payment-service', route: 'Authorize', latency: 1_000 })
    const order = await placed()

    await expect.poll(async () => (await pay(ada, order)).status, patient).toBe(200)
    const again = await pay(ada, order)
    expect(again.body).toEqual({ transactionId: expect.any(String), status: 'AUTHORISED' })
    expectProblem(await pay(ada, order, 1), 422)
    expectProblem(await pay(ada, order, 1_450, 'USD'), 422)
    expectProblem(await pay(await newCustomer(shop.url), order), 404)
    expectProblem(
      await request(shop.url, 'POST', '/api/payments', { orderId: order, amount: 1_450, currency: 'EUR' }),
      401,
    )

    expect((await ada.settled(order)).body.status).toBe('CONFIRMED')
    await expect.poll(async () => (await pay(ada, order)).status, patient).toBe(409)
  })
})

test('what customers are told can be looked at', async () => {
  const order = await placed()
  await ada.settled(order)
  const letters = async () => {
    const { items } = (await op.request('GET', `/ops/notifications?userId=${ada.id}`)).body
    return items.filter((one: { orderId: string }) => one.orderId === order).map((one: { type: string }) => one.type)
  }

  await expect.poll(async () => (await letters()).sort(), patient).toEqual(['order.confirmed', 'order.created'])

  const browse = async (query: string) => {
    const headers = { authorization: `Bearer ${operatorToken}`, accept: 'text/html,application/xhtml+xml,*/*;q=0.8' }
    const response = await fetch(`${shop.url}/ops/notifications${query}`, { headers })
    return { status: response.status, type: response.headers.get('content-type'), text: await response.text() }
  }
  const page = await browse(`?userId=${ada.id}`)
  expect(page).toMatchObject({ status: 200, type: expect.stringMatching(/^text\/html/) })
  expect(page.text).toContain(order)
  expect((await browse('')).text).toContain('<form>')
})

test('customers are told by the channels that they chose', async () => {
  const bob = await newCustomer(shop.url)
  const preferences = { email: false, sms: true, push: true }
  expect((await bob.request('PATCH', `/api/users/${bob.id}`, { preferences })).body).toMatchObject({ preferences })

  // The choice travels as an event of its own, which an order may overtake: so the last of several is looked at.
  const channelsOfTheNext = async () => {
    const order = (await bob.order(cup, 'card-ok')).body.id
    await bob.settled(order)
    const channels = async () => {
      const { items } = (await op.request('GET', `/ops/notifications?userId=${bob.id}`)).body
      return items
        .filter((one: Record<string, string>) => one['orderId'] === order && one['type'] === 'order.confirmed')
        .map(({ channel }: Record<string, string>) => channel)
    }
    await expect.poll(channels, patient).not.toEqual([])
    return channels()
  }
  await expect.poll(channelsOfTheNext, { timeout: 40_000, interval: 100 }).toEqual(['push', 'sms'])
})

test('goods that are delivered can be bought', async () => {
  const stock = async () => (await ada.request('GET', '/api/products/paper-lantern')).body.stock
  const before = await stock()
  const goods = { productId: 'paper-lantern', quantity: 7 }
  const path = `/ops/deliveries/${randomUUID()}`

  expect((await op.request('PUT', path, goods)).status).toBe(201)
  expect((await op.request('PUT', path, goods)).status).toBe(200)
  expectProblem(await op.request('PUT', path, { ...goods, quantity: 8 }), 409)
  expectProblem(await ada.request('PUT', path, goods), 401)

  expect(await stock()).toBe(before + 7)
})

describe('traces', () => {
  test('one goes from the gateway through order, product and payment to the notification', async () => {
    const order = await placed()
    await ada.settled(order)

    const traceOf = async () => {
      const { items } = (await op.request('GET', '/ops/traces?limit=200')).body
      for (const line of items.filter(({ name }: { name: string }) => name === 'POST /api/orders')) {
        const { spans } = (await op.request('GET', `/ops/traces/${line.traceId}`)).body
        if (spans.some((span: { attributes: Record<string, string> }) => span.attributes['shop.order.id'] === order)) {
          return spans
        }
      }
      return []
    }
    const services = async () =>
      [...new Set((await traceOf()).map(({ service }: { service: string }) => service))].sort()
    await expect
      .poll(services, patient)
      .toEqual([
        'analytics-service',
        'api-gateway',
        'notification-service',
        'order-service',
        'payment-service',
        'product-service',
        'user-service',
      ])

    const spans = (await traceOf()) as (PlacedSpan & { readonly events: readonly { readonly name: string }[] })[]
    expect(spans.find(({ name }) => name === 'createOrder')?.events).toMatchObject([{ name: 'order_created' }])
    await expect.poll(async () => placeOf('reserveInventory', await traceOf()), patient).toEqual(placeOfReservation)
    expectProblem(await op.request('GET', '/ops/traces/0123'), 404)
  })
})
