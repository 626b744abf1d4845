import { beforeAll, describe, expect, inject, test } from 'vitest'
import { type Customer, expectDeparture, expectProblem, newCustomer, request } from './customer.js'

const shop = { url: inject('sharedShop') }
let ada: Customer

beforeAll(async () => {
  ada = await newCustomer(shop.url)
})

async function stockOf(productId: string): Promise<number> {
  return (await request(shop.url, 'GET', `/api/products/${productId}`)).body.stock
}

async function firstProducts(): Promise<{ id: string; price: number; stock: number }[]> {
  return (await request(shop.url, 'GET', '/api/products')).body.items
}

describe('an order', () => {
  test('is accepted at once and ends CONFIRMED, with the total of the server and the stock taken', async () => {
    const [product] = await firstProducts()
    if (product === undefined) throw new Error('the shop sells nothing')

    const accepted = await ada.order([{ productId: product.id, quantity: 2 }], 'card-ok')
    expect(accepted.status).toBe(202)
    expect(accepted.headers.get('location')).toBe(`/api/orders/${accepted.body.id}`)

    const order = (await ada.settled(accepted.body.id, 3_000)).body
    expect(order).toMatchObject({ id: accepted.body.id, status: 'CONFIRMED', total: product.price * 2 })
    expect(order.items).toMatchObject([{ productId: product.id, quantity: 2, name: expect.any(String) }])
    expect(await stockOf(product.id)).toBe(product.stock - 2)
  })

  test('with a declined card ends CANCELLED with the stock back', async () => {
    const [, product] = await firstProducts()
    if (product === undefined) throw new Error('the shop sells too little')

    const accepted = await ada.order([{ productId: product.id, quantity: 3 }], 'card-declined')

    expect((await ada.settled(accepted.body.id, 3_000)).body.status).toBe('CANCELLED')
    expect(await stockOf(product.id)).toBe(product.stock)
  })

  test('whose payment times out after the charge ends within 10 s, in one way or the other, with its stock in balance', async () => {
    const [, , product] = await firstProducts()
    if (product === undefined) throw new Error('the shop sells too little')

    const accepted = await ada.order([{ productId: product.id, quantity: 1 }], 'card-timeout-after-charge')
    const { status } = (await ada.settled(accepted.body.id, 10_000)).body

    expect(await stockOf(product.id)).toBe(status === 'CONFIRMED' ? product.stock - 1 : product.stock)
  })

  test('shows the steps of its saga, undone ones too', async () => {
    const [product] = await firstProducts()
    const accepted = await ada.order([{ productId: product?.id ?? '', quantity: 1 }], 'card-declined')
    await ada.settled(accepted.body.id)

    const saga = (await ada.request('GET', `/api/orders/${accepted.body.id}/saga`)).body

    expect(saga.status).toBe('compensated')
    expect(saga.steps.map((step: { name: string }) => step.name)).toEqual(
      expect.arrayContaining(['reserve', 'authorise']),
    )
  })

  test('sent twice with one key is one order, and with another body is refused', async () => {
    const [product] = await firstProducts()
    const lines = [{ productId: product?.id ?? '', quantity: 1 }]

    const [first, second] = await Promise.all([
      ada.order(lines, 'card-ok', 'one-key'),
      ada.order(lines, 'card-ok', 'one-key'),
    ])
    const other = await ada.order([{ productId: product?.id ?? '', quantity: 2 }], 'card-ok', 'one-key')

    expect([first.status, second.status]).toEqual([202, 202])
    expect(second.body).toEqual(first.body)
    expect(other.status).toBe(422)
    expect((await ada.settled(first.body.id)).body.status).toBe('CONFIRMED')
  })

  test('can no longer be cancelled once it is confirmed', async () => {
    const [product] = await firstProducts()
    const accepted = await ada.order([{ productId: product?.id ?? '', quantity: 1 }], 'card-ok')
    await ada.settled(accepted.body.id)

    expect((await ada.request('POST', `/api/orders/${accepted.body.id}/cancel`)).status).toBe(409)
  })

  test('is cancelled by its owner while it waits for the payment', async () => {
    const [product] = await firstProducts()
    const accepted = await ada.order([{ productId: product?.id ?? '', quantity: 1 }], 'card-timeout-after-charge')

    expect((await ada.request('POST', `/api/orders/${accepted.body.id}/cancel`)).status).toBe(202)
    expect((await ada.settled(accepted.body.id)).body.status).toBe('CANCELLED')
  })

  test('of somebody else is not there: not to read, not to cancel, nor its saga', async () => {
    const [product] = await firstProducts()
    const accepted = await ada.order([{ productId: product?.id ?? '', quantity: 1 }], 'card-ok')
    const eve = await newCustomer(shop.url)

    for (const [method, path] of [
      ['GET', ''],
      ['GET', '/saga'],
      ['POST', '/cancel'],
    ] as const) {
      const answer = await eve.request(method, `/api/orders/${accepted.body.id}${path}`)
      expectProblem(answer, 404)
    }
    expect((await ada.settled(accepted.body.id)).body.status).toBe('CONFIRMED')
  })
})

describe('a bad order', () => {
  test.each([
    ['a body that is no JSON', '{"items":', 400],
    ['no items', { items: [], paymentMethod: 'card-ok' }, 422],
    ['a quantity of 0', { items: [{ productId: 'espresso-cup', quantity: 0 }], paymentMethod: 'card-ok' }, 422],
    ['a quantity of 1e308', { items: [{ productId: 'espresso-cup', quantity: 1e308 }], paymentMethod: 'card-ok' }, 422],
    ['a quantity of a half', { items: [{ productId: 'espresso-cup', quantity: 0.5 }], paymentMethod: 'card-ok' }, 422],
    ['an unknown product', { items: [{ productId: 'moon', quantity: 1 }], paymentMethod: 'card-ok' }, 422],
    ['an unknown way to pay', { items: [{ productId: 'espresso-cup', quantity: 1 }], paymentMethod: 'gold' }, 422],
  ])('with %s is refused with a problem', async (_what, body, status) => {
    const answer = await ada.request('POST', '/api/orders', body, { 'idempotency-key': 'bad-order' })

    expectProblem(answer, status)
  })

  test('without an Idempotency-Key is refused with a problem', async () => {
    const body = { items: [{ productId: 'espresso-cup', quantity: 1 }], paymentMethod: 'card-ok' }

    expectProblem(await ada.request('POST', '/api/orders', body), 400)
  })
})

test('an account that is deleted takes its orders out of reach, although its token is good yet', async () => {
  await expectDeparture(shop.url)
})
