import { status } from '@grpc/grpc-js'
import { createBus, memory } from '@msx/messaging'
import { shopEvents } from '@shop/contracts'
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import { refusal } from './testing/payment-service.js'
import { createWorld, refill, type World } from './testing/world.js'

let world: World

beforeAll(async () => {
  world = await createWorld()
})

beforeEach(() => refill(world))

afterAll(() => world.close())

const forward = ['open', 'reserve', 'authorise', 'confirm', 'capture', 'commit-stock', 'ship']

const stockOf = (productId: string) => world.products.products.get(productId)?.stock
const paymentOf = (orderId: string) => world.payments.payments.get(orderId)
const shipments = async (orderId: string) =>
  (await world.deps.database.query('SELECT * FROM shipments WHERE order_id = $1', [orderId])).rows.length

/** Lets a promise be settled from outside. */
function gate() {
  let open!: () => void
  const passed = new Promise<void>((resolve) => {
    open = resolve
  })
  return { passed, open }
}

describe('an order with nothing in its way', () => {
  test('is confirmed, paid, taken from stock and shipped', async () => {
    const id = await world.placed()

    expect(await world.ended(id)).toMatchObject({ status: 'CONFIRMED', total: 2_500 })
    expect(paymentOf(id)).toMatchObject({ status: 'CAPTURED', amount: 2_500, currency: 'EUR' })
    expect(world.products.reservations.get(id)).toMatchObject({ status: 'committed' })
    expect(stockOf('cup')).toBe(98)
    expect(await shipments(id)).toBe(1)
    expect(await world.path(id)).toEqual(forward)
    expect(await world.saga(id)).toMatchObject({ status: 'completed' })
  })

  test('is announced twice, each time with the whole story', async () => {
    const id = await world.placed()
    const { createdAt } = (await world.ended(id)) as unknown as { createdAt: string }

    await vi.waitFor(() => expect(world.eventsOf(id)).toEqual(['order.created', 'order.confirmed']))
    const [created, confirmed] = world.events.filter((event) => event.data['orderId'] === id)
    expect(created).toMatchObject({
      data: {
        userId: 'user-ada',
        items: [{ productId: 'cup', quantity: 2 }],
        total: 2_500,
        currency: 'EUR',
        timestamp: createdAt,
      },
    })
    expect(confirmed).toMatchObject({
      data: { userId: 'user-ada', total: 2_500, currency: 'EUR' },
    })
  })

  test('tells payment-service how long it will wait', async () => {
    const id = await world.placed()
    await world.ended(id)

    const patience = world.payments.patience.at(-1)
    expect(patience).toBeGreaterThan(1_000)
    expect(patience).toBeLessThanOrEqual(1_500)
  })
})

describe('an order that fails', () => {
  test('with a declined card gives the stock back and says why', async () => {
    const id = await world.placed({ paymentMethod: 'card-declined' })

    expect(await world.ended(id)).toMatchObject({ status: 'CANCELLED', reason: 'the card was declined' })
    expect(stockOf('cup')).toBe(100)
    expect(await world.path(id)).toEqual(['open', 'reserve', '!authorise', '-reserve', '-open'])
    await vi.waitFor(() => expect(world.eventsOf(id)).toEqual(['order.created', 'order.cancelled']))
    expect(world.events.at(-1)).toMatchObject({ data: { reason: 'the card was declined', userId: 'user-ada' } })
    expect(world.payments.asked).not.toContain('Void')
  })

  test('because its reservation ran out of time is cancelled before anybody is charged', async () => {
    world.products.before = (request) => {
      if (request === 'secure') for (const one of world.products.reservations.values()) one.status = 'released'
    }
    const id = await world.placed()

    expect(await world.ended(id)).toMatchObject({ status: 'CANCELLED', reason: 'its time is up' })
    expect(world.payments.asked).not.toContain('Authorize')
  })

  test('for want of stock never asks for money', async () => {
    const id = await world.placed({ items: [{ productId: 'pot', quantity: 101 }] })

    expect(await world.ended(id)).toMatchObject({ status: 'CANCELLED', reason: "too few of 'pot'" })
    expect(world.payments.asked).toEqual([])
    expect(world.products.asked).not.toContain('DELETE')
    expect(await shipments(id)).toBe(0)
  })

  test('after a reservation whose answer was lost releases it, whatever the next one says', async () => {
    let calls = 0
    world.products.before = (request) => {
      if (request !== 'PUT') return
      calls += 1
      if (calls > 1) world.products.products.get('cup')!.stock = 0
      if (calls === 1) throw new Error('broken')
    }
    const id = await world.placed()

    expect(await world.ended(id)).toMatchObject({ status: 'CANCELLED', reason: "too few of 'cup'" })
    expect(world.products.asked).toContain('DELETE')
    expect(world.products.reservations.get(id)).toMatchObject({ status: 'released' })
  })

  test('because the payment hangs after the charge is CANCELLED within 10 s, the money given back', async () => {
    const id = await world.placed({ paymentMethod: 'card-timeout-after-charge' })

    expect(await world.ended(id, 10_000)).toMatchObject({
      status: 'CANCELLED',
      reason: 'a service that the order needs did not answer in time',
    })
    expect(paymentOf(id)).toMatchObject({ status: 'VOIDED', amount: 2_500 })
    expect(stockOf('cup')).toBe(100)
    expect(world.payments.asked.slice(-2)).toEqual(['GetPayment', 'Void'])
  }, 12_000)

  test('because the payment never arrived leaves a tombstone for it', async () => {
    world.payments.before = (method) => {
      if (method === 'Authorize') throw refusal(status.INTERNAL)
    }
    const id = await world.placed()

    expect(await world.ended(id)).toMatchObject({ status: 'CANCELLED' })
    expect(paymentOf(id)).toMatchObject({ status: 'VOIDED', amount: 0 })
  })

  test('because the payment is refused as wrong is not tried again', async () => {
    world.payments.before = (method) => {
      if (method === 'Authorize') throw refusal(status.INVALID_ARGUMENT)
    }
    const id = await world.placed()

    expect(await world.ended(id)).toMatchObject({ status: 'CANCELLED', reason: 'the payment was refused' })
    expect(world.payments.asked.filter((method) => method === 'Authorize')).toHaveLength(1)
  })
})

test('what happened while nobody could hear of it is told as soon as somebody can, in order', async () => {
  const lonely = memory()
  await world.stop()
  await world.start({ transport: lonely })
  const id = await world.placed({ paymentMethod: 'card-declined' })
  expect(await world.ended(id)).toMatchObject({ status: 'CANCELLED' })

  const heard: string[] = []
  const listener = createBus({ events: shopEvents, transport: lonely, source: 'late' })
  listener.subscribe('late', 'order.*', (message) => void heard.push(message.type))
  await listener.start()

  await vi.waitFor(() => expect(heard).toEqual(['order.created', 'order.cancelled']), { timeout: 5_000 })

  await listener.close()
  await world.stop()
  await world.start()
}, 15_000)

describe('when a service is away in the middle', () => {
  test('stock is reserved once product-service is back', async () => {
    let away = true
    world.products.before = (request) => {
      if (request === 'PUT' && away) throw new Error('broken')
    }
    const id = await world.placed()
    await vi.waitFor(() => expect(world.products.asked).toContain('PUT'))
    away = false

    expect(await world.ended(id)).toMatchObject({ status: 'CONFIRMED' })
  })

  test('the order lives through a restart of product-service', async () => {
    const left = { PUT: 4, secure: 4 }
    world.products.before = (request) => {
      if ((request === 'PUT' || request === 'secure') && left[request]-- > 0) throw new Error('broken')
    }
    const id = await world.placed()

    expect(await world.ended(id, 15_000)).toMatchObject({ status: 'CONFIRMED' })
    expect(world.payments.asked.filter((method) => method === 'Authorize')).toHaveLength(1)
  }, 20_000)

  test('the order is CANCELLED, and only after product-service is back and has released', async () => {
    const reached = gate()
    world.payments.before = async (method) => {
      if (method !== 'Authorize') return
      await world.products.goAway()
      reached.open()
      throw refusal(status.INVALID_ARGUMENT)
    }
    const id = await world.placed()
    await reached.passed
    await vi.waitFor(async () => expect(await world.path(id)).toContain('!-reserve'))

    expect(await world.read(id)).toMatchObject({ status: 'PENDING' })
    await world.products.comeBack()

    expect(await world.ended(id, 10_000)).toMatchObject({ status: 'CANCELLED' })
    expect(stockOf('cup')).toBe(100)
  }, 15_000)

  test('after the pivot money and stock are asked for until they are had', async () => {
    let left = 3
    world.payments.before = (method) => {
      if (method === 'Capture' && left-- > 0) throw refusal(status.INTERNAL)
    }
    let refused = 2
    world.products.before = (request) => {
      if (request === 'commit' && refused-- > 0) throw new Error('broken')
    }
    const id = await world.placed()

    expect(await world.ended(id, 10_000)).toMatchObject({ status: 'CONFIRMED' })
    expect(paymentOf(id)).toMatchObject({ status: 'CAPTURED' })
    expect(world.products.reservations.get(id)).toMatchObject({ status: 'committed' })
    expect(await shipments(id)).toBe(1)
  }, 12_000)
})

describe('cancelling', () => {
  const cancel = (id: string, userId?: string) => world.request('POST', `/api/orders/${id}/cancel`, { userId })

  test('before the pivot undoes everything', async () => {
    const id = await world.placed({ paymentMethod: 'card-timeout-after-charge' })
    await vi.waitFor(() => expect(paymentOf(id)).toBeDefined())

    expect(await cancel(id)).toMatchObject({ status: 202, body: { id } })

    expect(await world.ended(id, 1_200)).toMatchObject({ status: 'CANCELLED', reason: 'cancelled by the customer' })
    expect(paymentOf(id)).toMatchObject({ status: 'VOIDED' })
    expect(stockOf('cup')).toBe(100)
    expect(await world.saga(id)).toMatchObject({ status: 'cancelled' })
  })

  test('again is the same answer, and the order stays cancelled for its first reason', async () => {
    const id = await world.placed({ paymentMethod: 'card-declined' })
    await world.ended(id)

    expect(await cancel(id)).toMatchObject({ status: 202, body: { id, status: 'CANCELLED' } })
    expect(await world.read(id)).toMatchObject({ reason: 'the card was declined' })
  })

  test('is refused once the order is confirmed, also while it is still being finished', async () => {
    const capture = gate()
    world.payments.before = (method) => (method === 'Capture' ? capture.passed : undefined)
    const id = await world.placed()
    await vi.waitFor(async () => expect(await world.read(id)).toMatchObject({ status: 'CONFIRMED' }))

    expect(await cancel(id)).toMatchObject({ status: 409, body: { title: 'Conflict' } })

    capture.open()
    expect(await world.ended(id)).toMatchObject({ status: 'CONFIRMED' })
    expect(await cancel(id)).toMatchObject({ status: 409 })
    expect(await world.path(id)).toEqual(forward)
  })

  test('somebody else cannot', async () => {
    const id = await world.placed()

    expect(await cancel(id, 'user-eve')).toMatchObject({ status: 404 })
    expect(await world.ended(id)).toMatchObject({ status: 'CONFIRMED' })
  })
})

describe('a service that stops in the middle', () => {
  test('leaves an order that the next one finishes', async () => {
    const capture = gate()
    world.payments.before = (method) => (method === 'Capture' ? capture.passed : undefined)
    const id = await world.placed()
    await vi.waitFor(() => expect(world.payments.asked).toContain('Capture'))

    const stopped = world.stop()
    capture.open()
    await stopped
    await world.start()

    expect(await world.ended(id)).toMatchObject({ status: 'CONFIRMED' })
    expect(await world.path(id)).toEqual(forward)
  })

  test('leaves an order in doubt that the next one undoes', async () => {
    const id = await world.placed({ paymentMethod: 'card-timeout-after-charge' })
    await vi.waitFor(() => expect(paymentOf(id)).toBeDefined())

    await world.stop()
    expect(paymentOf(id)).toMatchObject({ status: 'AUTHORISED' })
    await world.start()

    expect(await world.ended(id, 10_000)).toMatchObject({ status: 'CANCELLED' })
    expect(paymentOf(id)).toMatchObject({ status: 'VOIDED' })
  }, 15_000)
})

test('what a checkout says of itself holds nothing of the inside', async () => {
  world.payments.before = (method) => {
    if (method === 'Authorize') throw refusal(status.INTERNAL)
  }
  const id = await world.placed()
  await world.ended(id)

  const saga = JSON.stringify(await world.saga(id))

  expect(saga).not.toMatch(/stack|\.ts|\.js|INTERNAL|127\.0\.0\.1/)
  expect(JSON.parse(saga).steps[0]).toEqual({
    name: 'open',
    kind: 'do',
    outcome: 'ok',
    attempt: 1,
    startedAt: expect.stringMatching(/^\d{4}-.*Z$/),
    at: expect.stringMatching(/^\d{4}-.*Z$/),
  })
})
