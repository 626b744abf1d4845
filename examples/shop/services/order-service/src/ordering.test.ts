import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { createWorld, type OrderBody, refill, type World } from './testing/world.js'

let world: World

beforeAll(async () => {
  world = await createWorld()
})

beforeEach(() => refill(world))

afterAll(() => world.close())

const cup = (quantity: number) => ({ productId: 'cup', quantity })
const ordersOf = async (userId: string) =>
  (await world.deps.database.query('SELECT id FROM orders WHERE user_id = $1', [userId])).rows.length

/** A customer of the test's own, so that its orders can be counted. */
function customer(name: string): string {
  world.users.ids.add(name)
  return name
}

describe('placing an order', () => {
  test('is answered with 202 and where to look, before anything is decided', async () => {
    const { status, headers, body } = await world.order()

    expect(status).toBe(202)
    expect(body).toEqual({ id: expect.stringMatching(/^[0-9a-f-]{36}$/), status: 'PENDING' })
    expect(headers.get('location')).toBe(`/api/orders/${body['id']}`)
  })

  test('adds up a product that is named twice, at the price of the catalogue', async () => {
    const id = await world.placed({ items: [cup(2), { productId: 'pot', quantity: 1 }, cup(3)] })

    expect(await world.read(id)).toMatchObject({
      items: [
        { productId: 'cup', quantity: 5, price: 1_250, name: 'The cup' },
        { productId: 'pot', quantity: 1, price: 8_900, name: 'The pot' },
      ],
      total: 5 * 1_250 + 8_900,
      currency: 'EUR',
      paymentMethod: 'card-ok',
      createdAt: expect.stringMatching(/^\d{4}-.*Z$/),
    })
    await world.ended(id)
    expect(world.payments.payments.get(id)).toMatchObject({ amount: 5 * 1_250 + 8_900 })
  })

  test.each<[string, unknown[], RegExp]>([
    ['nothing', [], /^items: /],
    ['half a cup', [cup(0.5)], /^items\.0\.quantity: /],
    ['no cups', [cup(0)], /^items\.0\.quantity: /],
    ['more than an order takes', [cup(1_001)], /^items\.0\.quantity: /],
    ['more than an order takes, in two lines', [cup(600), cup(600)], /^items: 1200 of 'cup'/],
    ['too many lines', Array.from({ length: 51 }, () => cup(1)), /^items: /],
    ['no product', [{ quantity: 1 }], /^items\.0\.productId: /],
    ['an unknown product', [cup(1), { productId: 'moon', quantity: 1 }], /'moon'/],
    ['a product that cannot be', [cup(1), { productId: 'a,b&c=/?#\u0000', quantity: 1 }], /there is no product/],
  ])('of %s is refused with 422 and says what is wrong', async (_what, items, detail) => {
    const answer = await world.order({ items })

    expect(answer).toMatchObject({
      status: 422,
      body: { title: 'Unprocessable Content', detail: expect.stringMatching(detail) },
    })
  })

  test('by an unknown way to pay is refused', async () => {
    expect(await world.order({ paymentMethod: 'gold' })).toMatchObject({
      status: 422,
      body: { detail: expect.stringMatching(/^paymentMethod: /) },
    })
  })

  test('for more money than can be counted is refused', async () => {
    world.products.products.get('cup')!.price = Number.MAX_SAFE_INTEGER

    expect(await world.order({ items: [cup(1)] })).toMatchObject({ status: 202 })
    expect(await world.order({ items: [cup(2)] })).toMatchObject({
      status: 422,
      body: { detail: expect.stringContaining('total') },
    })
  })

  test('for nothing, or in two currencies, is refused', async () => {
    world.products.products.get('cup')!.price = 0
    expect(await world.order()).toMatchObject({ status: 422, body: { detail: 'there is nothing to pay' } })

    world.products.products.get('cup')!.currency = 'USD'
    expect(await world.order({ items: [cup(1), { productId: 'pot', quantity: 1 }] })).toMatchObject({
      status: 422,
      body: { detail: expect.stringContaining('one currency') },
    })
  })

  test('needs somebody who orders', async () => {
    expect(await world.order({ userId: '' })).toMatchObject({ status: 401 })
    expect(await world.order({ userId: 'user-gone' })).toMatchObject({
      status: 403,
      body: { detail: 'your account is gone' },
    })
  })
})

describe('the Idempotency-Key', () => {
  const send = (headers: Record<string, string>) =>
    world.request('POST', '/api/orders', { headers, body: { items: [cup(1)], paymentMethod: 'card-ok' } })

  test('must be there, and not too long', async () => {
    expect(await send({})).toMatchObject({ status: 400, body: { detail: expect.stringContaining('Idempotency-Key') } })
    expect(await send({ 'idempotency-key': '  ' })).toMatchObject({ status: 400 })
    expect(await send({ 'idempotency-key': 'k'.repeat(256) })).toMatchObject({ status: 400 })
    expect(await send({ 'idempotency-key': 'k'.repeat(255) })).toMatchObject({ status: 202 })
  })

  test('makes the same order out of the same body, however it is written down', async () => {
    const userId = customer('user-twice')
    const pot = { productId: 'pot', quantity: 1 }

    const first = await world.order({ userId, key: 'twice', items: [cup(1), pot, cup(1)] })
    const again = await world.order({ userId, key: 'twice', items: [pot, { quantity: 2, productId: 'cup' }] })

    expect(again.body).toEqual(first.body)
    expect(again.headers.get('location')).toBe(first.headers.get('location'))
    expect(await ordersOf(userId)).toBe(1)
  })

  test('makes one order out of many at the same moment', async () => {
    const userId = customer('user-impatient')

    const answers = await Promise.all(Array.from({ length: 10 }, () => world.order({ userId, key: 'now' })))

    expect(new Set(answers.map((answer) => answer.status))).toEqual(new Set([202]))
    expect(new Set(answers.map((answer) => answer.body['id'])).size).toBe(1)
    expect(await ordersOf(userId)).toBe(1)
  })

  test('refuses another body, also at the same moment', async () => {
    const userId = customer('user-undecided')

    const answers = await Promise.all(
      [1, 2].map((quantity) => world.order({ userId, key: 'this', items: [cup(quantity)] })),
    )

    expect(answers.map((answer) => answer.status).sort()).toEqual([202, 422])
    expect(await world.order({ userId, key: 'this', paymentMethod: 'card-declined' })).toMatchObject({ status: 422 })
    expect(await ordersOf(userId)).toBe(1)
  })

  test('is the customer’s own', async () => {
    const [one, other] = [customer('user-one'), customer('user-other')]

    const first = await world.order({ userId: one, key: 'shared' })
    const second = await world.order({ userId: other, key: 'shared', items: [cup(3)] })

    expect(second.status).toBe(202)
    expect(second.body['id']).not.toBe(first.body['id'])
  })

  test('is answered also when the services that were asked are away by then', async () => {
    const first = await world.order({ key: 'later' })
    await Promise.all([world.products.goAway(), world.users.goAway()])

    expect((await world.order({ key: 'later' })).body).toEqual(first.body)
  })

  test('is free again when the order was refused', async () => {
    expect(await world.order({ key: 'again', items: [{ productId: 'moon', quantity: 1 }] })).toMatchObject({
      status: 422,
    })
    expect(await world.order({ key: 'again' })).toMatchObject({ status: 202 })
  })
})

describe('when a service is away', () => {
  test('product-service: 503, when to come back, and no order', async () => {
    const userId = customer('user-early')
    await world.products.goAway()

    const answer = await world.order({ userId })

    expect(answer).toMatchObject({ status: 503, body: { detail: expect.stringContaining('product-service') } })
    expect(Number(answer.headers.get('retry-after'))).toBeGreaterThanOrEqual(1)
    expect(await ordersOf(userId)).toBe(0)
  })

  test('user-service: 503 and when to come back', async () => {
    await world.users.goAway()

    const answer = await world.order()

    expect(answer).toMatchObject({ status: 503, body: { detail: expect.stringContaining('user-service') } })
    expect(Number(answer.headers.get('retry-after'))).toBeGreaterThanOrEqual(1)
  })

  test('an answer that is none is the same as no answer', async () => {
    world.products.products.get('cup')!.price = Number.NaN

    expect(await world.order()).toMatchObject({ status: 503 })
  })
})

describe('looking at an order', () => {
  test('shows the names of today, and those of the day of the order with a mark when nobody knows better', async () => {
    const id = await world.placed({ items: [cup(1)] })
    await world.ended(id)
    world.products.products.get('cup')!.name = 'The better cup'

    expect((await world.read(id)).items).toEqual([
      { productId: 'cup', quantity: 1, price: 1_250, name: 'The better cup' },
    ])

    await world.products.goAway()
    expect((await world.read(id)).items).toEqual([
      { productId: 'cup', quantity: 1, price: 1_250, name: 'The cup', fallback: true },
    ])
  })

  test('is for its owner only', async () => {
    const id = await world.placed()

    for (const path of [`/api/orders/${id}`, `/api/orders/${id}/saga`]) {
      expect(await world.request('GET', path, { userId: 'user-eve' })).toMatchObject({ status: 404 })
      expect(await world.request('GET', path, { userId: '' })).toMatchObject({ status: 401 })
    }
    expect(await world.request('GET', '/api/orders/none')).toMatchObject({ status: 404 })
  })

  test('is for nobody whose account is gone, though the token may be good yet; nor is a new one', async () => {
    const bob = customer('user-bob')
    const id = await world.placed({ userId: bob, key: 'the-first' })
    await world.ended(await world.placed())
    await world.depart(bob, new Date(Date.now() + 60_000))

    for (const [method, path] of [
      ['GET', `/api/orders/${id}`],
      ['GET', `/api/orders/${id}/saga`],
      ['POST', `/api/orders/${id}/cancel`],
    ] as const) {
      const [own, nobodys] = [
        await world.request(method, path, { userId: bob }),
        await world.request(method, path.replace(id, 'none'), { userId: bob }),
      ]
      expect(own.status).toBe(404)
      expect(own.body).toEqual(nobodys.body)
    }
    expect(await world.order({ userId: bob })).toMatchObject({ status: 403, body: { detail: 'your account is gone' } })
    expect(await world.order({ userId: bob, key: 'the-first' })).toMatchObject({ status: 403 })
    expect((await world.read(await world.placed())).status).toBeDefined()
  })

  test('is forgotten to be of somebody who is gone when no token of theirs is good any more', async () => {
    const gone = async () => {
      const { rows } = await world.deps.database.query<{ id: string }>('SELECT user_id AS id FROM departed_users')
      return rows.map(({ id }) => id)
    }
    await world.depart('user-long-ago', new Date(Date.now() - 1_000))
    await world.depart('user-unknown')
    await world.depart('user-just-now', new Date(Date.now() + 60_000))

    expect(await gone()).toEqual(expect.arrayContaining(['user-unknown', 'user-just-now']))
    expect(await gone()).not.toContain('user-long-ago')
  })

  test('tells the reason only of a cancelled one', async () => {
    const [good, bad] = [await world.placed(), await world.placed({ paymentMethod: 'card-declined' })]
    const orders: OrderBody[] = [await world.ended(good), await world.ended(bad)]

    expect(orders.map((order) => order.reason)).toEqual([undefined, 'the card was declined'])
  })
})

test('says over HTTP that it is ready, and how it does', async () => {
  expect((await fetch(`${world.url}/health/ready`)).status).toBe(200)
  expect((await fetch(`${world.url}/health/live`)).status).toBe(200)
  expect(await (await fetch(`${world.url}/metrics`)).text()).toContain('http_request_duration_seconds')
})
