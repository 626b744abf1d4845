import { createBus } from '@msx/messaging'
import { type OrderItem, shopEvents } from '@shop/contracts'
import type { Service } from '@shop/platform'
import { operationsToken, type TestDeps, testDeps } from '@shop/platform/testing'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { releaseExpired } from './reservations.js'
import { createProductService } from './service.js'

let deps: TestDeps
let service: Service
let url: string
let orders = 0

beforeAll(async () => {
  deps = await testDeps({ role: 'product_service' })
  service = createProductService(deps)
  url = (await service.start()).url
})

afterAll(async () => {
  await service.stop()
  await deps.close()
})

beforeEach(async () => {
  await deps.database.execute(`
    DELETE FROM reservation_items;
    DELETE FROM reservations;
    UPDATE products SET reserved = 0, on_hand = 10;
  `)
})

interface Answer {
  readonly status: number
  // What a test looks into is what it says of it.
  readonly body: Record<string, unknown>
}

async function ask(method: string, path: string, body?: unknown, headers?: Record<string, string>): Promise<Answer> {
  const response = await fetch(`${url}${path}`, {
    method,
    ...(body !== undefined && {
      body: JSON.stringify(body),
      headers: { 'content-type': 'application/json', ...headers },
    }),
  })
  const text = await response.text()
  return { status: response.status, body: text === '' ? {} : (JSON.parse(text) as Record<string, unknown>) }
}

const newOrder = (): string => `order-${++orders}`
const item = (productId: string, quantity: number): OrderItem => ({ productId, quantity })
const reserve = (orderId: string, ...items: OrderItem[]): Promise<Answer> =>
  ask('PUT', `/internal/reservations/${orderId}`, { items })
const release = (orderId: string): Promise<Answer> => ask('DELETE', `/internal/reservations/${orderId}`)
const commit = (orderId: string): Promise<Answer> => ask('POST', `/internal/reservations/${orderId}/commit`)

async function stock(productId: string): Promise<unknown> {
  return (await ask('GET', `/api/products/${productId}`)).body['stock']
}

async function onHand(productId: string): Promise<unknown> {
  const { rows } = await deps.database.query<{ on_hand: number }>('SELECT on_hand FROM products WHERE id = $1', [
    productId,
  ])
  return rows[0]?.on_hand
}

describe('a reservation that nobody secures', () => {
  const expired = (orderId: string) =>
    deps.database.query("UPDATE reservations SET expires_at = now() - interval '1 s' WHERE order_id = $1", [orderId])
  const secure = (orderId: string) => ask('POST', `/internal/reservations/${orderId}/secure`)

  it('runs out of time, and its goods are for others', async () => {
    const late = newOrder()
    const kept = newOrder()
    await reserve(late, item('espresso-cup', 4))
    await reserve(kept, item('espresso-cup', 3))
    await expired(late)

    expect(await releaseExpired(deps.database)).toBe(1)

    expect(await stock('espresso-cup')).toBe(7)
    expect((await secure(late)).body).toMatchObject({ status: 409, reason: 'released' })
    expect((await reserve(late, item('espresso-cup', 4))).status).toBe(409)
  })

  it('is refused once its time is up, also when nobody has come round to it', async () => {
    const late = newOrder()
    await reserve(late, item('espresso-cup', 4))
    await expired(late)

    expect((await secure(late)).status).toBe(409)
    expect(await stock('espresso-cup')).toBe(10)
  })

  it('is kept for good once it is secured, however often', async () => {
    const order = newOrder()
    await reserve(order, item('espresso-cup', 4))

    expect((await secure(order)).status).toBe(200)
    expect((await secure(order)).status).toBe(200)
    const { rows } = await deps.database.query('SELECT expires_at FROM reservations WHERE order_id = $1', [order])
    expect(rows).toEqual([{ expires_at: null }])
    expect((await commit(order)).status).toBe(200)
    expect((await secure(newOrder())).status).toBe(404)
  })
})

describe('the catalogue', () => {
  it('lists every product, with what can still be bought', async () => {
    await reserve(newOrder(), item('walnut-desk', 3))

    const { body } = await ask('GET', '/api/products')

    expect(body['items']).toHaveLength(8)
    expect(body['items']).toContainEqual({
      id: 'walnut-desk',
      name: 'Walnut desk',
      price: 64_900,
      currency: 'EUR',
      category: 'furniture',
      stock: 7,
    })
  })

  it.each([
    ['CUP', ['espresso-cup']],
    ['lighting', ['brass-lamp', 'paper-lantern']],
    [' desk ', ['walnut-desk']],
    ['%', []],
    ['_', []],
    ["'", []],
  ])('finds by %j', async (query, expected) => {
    const { body } = await ask('GET', `/api/products?query=${encodeURIComponent(query)}`)

    expect((body['items'] as { id: string }[]).map(({ id }) => id).sort()).toEqual(expected)
  })

  it('shows one product, and 404 for one it does not have', async () => {
    expect((await ask('GET', '/api/products/espresso-cup')).body).toMatchObject({ id: 'espresso-cup', price: 1_450 })
    expect((await ask('GET', '/api/products/moon')).status).toBe(404)
  })

  it('answers other services about several at once, leaving out what it does not have', async () => {
    const { body } = await ask('GET', '/internal/products?ids=walnut-desk,moon,espresso-cup')

    expect((body['items'] as { id: string }[]).map(({ id }) => id)).toEqual(['espresso-cup', 'walnut-desk'])
    expect((await ask('GET', '/internal/products')).status).toBe(422)
  })
})

describe('reserving', () => {
  it('takes what is wanted out of what can be bought, and leaves it in the warehouse', async () => {
    const answer = await reserve(newOrder(), item('walnut-desk', 4), item('espresso-cup', 1))

    expect(answer.status).toBe(201)
    expect(await stock('walnut-desk')).toBe(6)
    expect(await stock('espresso-cup')).toBe(9)
    expect(await onHand('walnut-desk')).toBe(10)
  })

  it('answers the same again with the same, and takes nothing more', async () => {
    const order = newOrder()
    const first = await reserve(order, item('walnut-desk', 4), item('espresso-cup', 1))

    const again = await reserve(order, item('espresso-cup', 1), item('walnut-desk', 4))

    expect(again.status).toBe(200)
    expect(again.body).toEqual(first.body)
    expect(await stock('walnut-desk')).toBe(6)
  })

  it('refuses other items for an order that has a reservation', async () => {
    const order = newOrder()
    await reserve(order, item('walnut-desk', 4))

    const answer = await reserve(order, item('walnut-desk', 5))

    expect(answer).toMatchObject({ status: 409, body: { reason: 'different' } })
    expect(await stock('walnut-desk')).toBe(6)
  })

  it('adds up a product that is named twice', async () => {
    const tooMany = await reserve(newOrder(), item('walnut-desk', 6), item('walnut-desk', 5))
    const fitting = await reserve(newOrder(), item('walnut-desk', 6), item('walnut-desk', 4))

    expect(tooMany.status).toBe(409)
    expect(fitting).toMatchObject({ status: 201, body: { items: [item('walnut-desk', 10)] } })
    expect(await stock('walnut-desk')).toBe(0)
  })

  it('takes all or nothing, and says what is short and how much of it is left', async () => {
    const order = newOrder()

    const answer = await reserve(order, item('brass-lamp', 2), item('walnut-desk', 11))

    expect(answer).toMatchObject({
      status: 409,
      body: { reason: 'short', productId: 'walnut-desk', wanted: 11, left: 10, detail: expect.stringMatching(/10/) },
    })
    expect(await stock('brass-lamp')).toBe(10)
    expect((await reserve(order, item('walnut-desk', 10))).status).toBe(201)
  })

  it('names a product that does not exist, also where another one is short', async () => {
    const answer = await reserve(newOrder(), item('brass-lamp', 100), item('moon', 1))

    expect(answer).toMatchObject({ status: 422, body: { productId: 'moon' } })
  })

  it.each([
    { items: [] },
    { items: [item('walnut-desk', 0)] },
    { items: [item('walnut-desk', 1.5)] },
    { items: [item('walnut-desk', 1_001)] },
    {},
  ])('refuses %j', async (body) => {
    expect((await ask('PUT', `/internal/reservations/${newOrder()}`, body)).status).toBe(422)
  })
})

describe('releasing', () => {
  it('gives everything back, once', async () => {
    const order = newOrder()
    await reserve(order, item('walnut-desk', 4))
    await reserve(newOrder(), item('walnut-desk', 1))

    expect((await release(order)).status).toBe(204)
    expect((await release(order)).status).toBe(204)
    expect(await stock('walnut-desk')).toBe(9)
  })

  it('wins over a reserve that arrives after it', async () => {
    const order = newOrder()

    const released = await release(order)
    const late = await reserve(order, item('walnut-desk', 4))

    expect(released.status).toBe(204)
    expect(late).toMatchObject({ status: 409, body: { reason: 'released' } })
    expect(await stock('walnut-desk')).toBe(10)
  })

  it('leaves a tombstone after a reservation, too', async () => {
    const order = newOrder()
    await reserve(order, item('walnut-desk', 4))
    await release(order)

    expect(await reserve(order, item('walnut-desk', 4))).toMatchObject({ status: 409, body: { reason: 'released' } })
    expect(await stock('walnut-desk')).toBe(10)
  })

  it('does not bring back what has left the warehouse', async () => {
    const order = newOrder()
    await reserve(order, item('walnut-desk', 4))
    await commit(order)

    expect(await release(order)).toMatchObject({ status: 409, body: { reason: 'committed' } })
    expect(await onHand('walnut-desk')).toBe(6)
  })
})

describe('committing', () => {
  it('takes the goods out of the warehouse, once', async () => {
    const order = newOrder()
    await reserve(order, item('walnut-desk', 4))

    expect((await commit(order)).status).toBe(200)
    expect(await commit(order)).toEqual({ status: 200, body: { orderId: order, status: 'committed' } })
    expect(await onHand('walnut-desk')).toBe(6)
    expect(await stock('walnut-desk')).toBe(6)
  })

  it('is refused after a release', async () => {
    const order = newOrder()
    await reserve(order, item('walnut-desk', 4))
    await release(order)

    expect(await commit(order)).toMatchObject({ status: 409, body: { reason: 'released' } })
    expect(await onHand('walnut-desk')).toBe(10)
  })

  it('finds nothing where nothing was reserved', async () => {
    expect((await commit(newOrder())).status).toBe(404)
  })

  it('is seen by a reserve that is repeated after it', async () => {
    const order = newOrder()
    await reserve(order, item('walnut-desk', 4))
    await commit(order)

    expect(await reserve(order, item('walnut-desk', 4))).toMatchObject({ status: 200, body: { status: 'committed' } })
    expect(await stock('walnut-desk')).toBe(6)
  })
})

describe('goods that are delivered', () => {
  let deliveries = 0
  const newDelivery = (): string => `delivery-${++deliveries}`
  const deliver = (id: string, body: unknown, token = operationsToken): Promise<Answer> =>
    ask('PUT', `/internal/operations/deliveries/${id}`, body, { authorization: `Bearer ${token}` })

  it('can be bought, and count once however often their delivery is told', async () => {
    const id = newDelivery()

    const first = await deliver(id, { productId: 'brass-lamp', quantity: 5 })
    const again = await deliver(id, { productId: 'brass-lamp', quantity: 5 })

    expect(first).toEqual({ status: 201, body: { id, productId: 'brass-lamp', quantity: 5 } })
    expect(again).toEqual({ status: 200, body: { id, productId: 'brass-lamp', quantity: 5 } })
    expect(await stock('brass-lamp')).toBe(15)
  })

  it('count once when their delivery is told many times at the same moment', async () => {
    const id = newDelivery()

    const answers = await Promise.all(
      Array.from({ length: 5 }, () => deliver(id, { productId: 'brass-lamp', quantity: 5 })),
    )

    expect(answers.map(({ status }) => status).sort()).toEqual([200, 200, 200, 200, 201])
    expect(await stock('brass-lamp')).toBe(15)
  })

  it('are refused under the number of a delivery of other goods', async () => {
    const id = newDelivery()
    await deliver(id, { productId: 'brass-lamp', quantity: 5 })

    const more = await deliver(id, { productId: 'brass-lamp', quantity: 6 })
    const other = await deliver(id, { productId: 'walnut-desk', quantity: 5 })

    expect([more.status, other.status]).toEqual([409, 409])
    expect([await stock('brass-lamp'), await stock('walnut-desk')]).toEqual([15, 10])
  })

  it.each([
    ['nothing', { productId: 'brass-lamp', quantity: 0 }],
    ['a part of one', { productId: 'brass-lamp', quantity: 1.5 }],
    ['more than a lorry holds', { productId: 'brass-lamp', quantity: 100_001 }],
    ['what the shop does not sell', { productId: 'unicorn', quantity: 1 }],
    ['what is not said', { productId: 'brass-lamp' }],
  ])('are refused when they are %s', async (_, body) => {
    expect((await deliver(newDelivery(), body)).status).toBe(422)
    expect(await stock('brass-lamp')).toBe(10)
  })

  it('are refused when there is no room for them', async () => {
    await deps.database.execute(`UPDATE products SET on_hand = 2147483647 WHERE id = 'brass-lamp'`)

    const answer = await deliver(newDelivery(), { productId: 'brass-lamp', quantity: 1 })

    expect(answer.status).toBe(422)
    expect(answer.body['detail']).toContain('no room')
  })

  it('are taken from an operator only', async () => {
    const answer = await deliver(newDelivery(), { productId: 'brass-lamp', quantity: 5 }, 'somebody-else')

    expect(answer.status).toBe(404)
    expect(await stock('brass-lamp')).toBe(10)
  })
})

describe('many at the same moment', () => {
  it('sell the last items once each', async () => {
    const answers = await Promise.all(Array.from({ length: 30 }, () => reserve(newOrder(), item('walnut-desk', 1))))

    expect(answers.filter(({ status }) => status === 201)).toHaveLength(10)
    expect(answers.filter(({ status }) => status === 409)).toHaveLength(20)
    expect(await stock('walnut-desk')).toBe(0)
  })

  it('reserve once for one order', async () => {
    const order = newOrder()

    const answers = await Promise.all(Array.from({ length: 8 }, () => reserve(order, item('walnut-desk', 2))))

    expect(answers.map(({ status }) => status).sort()).toEqual([200, 200, 200, 200, 200, 200, 200, 201])
    expect(await stock('walnut-desk')).toBe(8)
  })

  it('end with everything given back, in whatever order reserve and release come', async () => {
    const some = Array.from({ length: 10 }, newOrder)

    await Promise.all(
      some.flatMap((order, index) =>
        index % 2 === 0
          ? [reserve(order, item('walnut-desk', 1)), release(order)]
          : [release(order), reserve(order, item('walnut-desk', 1))],
      ),
    )

    expect(await stock('walnut-desk')).toBe(10)
  })
})

describe('the database itself', () => {
  it.each([
    'UPDATE products SET reserved = on_hand + 1',
    'UPDATE products SET on_hand = -1',
    'UPDATE products SET reserved = -1',
  ])('refuses %s', async (statement) => {
    await expect(deps.database.query(statement)).rejects.toMatchObject({ code: '23514' })
  })
})

describe('demand', () => {
  it('counts an order once, however often its event comes', async () => {
    await using bus = createBus({ events: shopEvents, transport: deps.transport, source: 'order-service' })
    await bus.start()
    const created = (orderId: string, items: OrderItem[], id: string): Promise<void> =>
      bus.publish(
        'order.created',
        { orderId, userId: 'ada', timestamp: new Date().toISOString(), items, total: 1, currency: 'EUR' },
        { id },
      )

    await created('one', [item('fountain-pen', 2), item('brass-lamp', 1), item('fountain-pen', 1)], 'event-1')
    await created('one', [item('fountain-pen', 2), item('brass-lamp', 1), item('fountain-pen', 1)], 'event-1')
    await created('two', [item('fountain-pen', 4)], 'event-2')
    await deps.transport.drain()

    expect((await ask('GET', '/internal/demand')).body).toEqual({
      items: [
        { productId: 'fountain-pen', units: 7, orders: 2 },
        { productId: 'brass-lamp', units: 1, orders: 1 },
      ],
    })
  })
})

it('keeps its stock over a restart: the seed is sown once', async () => {
  await reserve(newOrder(), item('walnut-desk', 4))
  const second = createProductService(deps)

  const started = await second.start()
  const response = await fetch(`${started.url}/api/products/walnut-desk`)
  await second.stop()

  expect(await response.json()).toMatchObject({ stock: 6 })
})
