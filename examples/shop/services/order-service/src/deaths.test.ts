import { crashPoints } from '@msx/saga/testing'
import type { Payment, PaymentStatus } from '@shop/contracts'
import { expect, test } from 'vitest'
import { type CheckoutParts, checkoutSaga } from './checkout.js'

const items = [{ productId: 'cup', name: 'Cup', price: 1_000, quantity: 2 }]
const input = {
  orderId: 'order-1',
  userId: 'ada',
  items,
  total: 2_000,
  currency: 'EUR',
  paymentMethod: 'card-ok',
  createdAt: '2026-01-01T00:00:00.000Z',
}

/** The other services, and what their books say. Every command may come again, and some come late. */
function town(card: 'ok' | 'declined' | 'charged without an answer') {
  const books = {
    stock: 10,
    goods: undefined as 'reserved' | 'released' | 'committed' | undefined,
    money: undefined as PaymentStatus | undefined,
    charges: 0,
    order: 'PENDING',
    shipped: false,
    told: new Set<string>(),
  }
  const refused = { ok: false, status: 409, reason: undefined, detail: 'its time is up' } as const
  const payment = (): Payment => ({
    transactionId: 't-1',
    orderId: 'order-1',
    status: books.money!,
    amount: 2_000,
    currency: 'EUR',
  })
  const parts: CheckoutParts = {
    outbox: { publish: async (_tx: unknown, type: string) => void books.told.add(type) } as never,
    products: {
      find: async () => [],
      names: async () => new Map(),
      async reserve() {
        if (books.goods === 'released') return refused
        if (books.goods === undefined) books.stock -= 2
        books.goods ??= 'reserved'
        return { ok: true }
      },
      secure: async () => (books.goods === 'released' ? refused : { ok: true }),
      async release() {
        if (books.goods === 'reserved') books.stock += 2
        books.goods = 'released'
        return { ok: true }
      },
      async commit() {
        books.goods = 'committed'
        return { ok: true }
      },
    },
    payments: {
      async authorise() {
        if (books.money === undefined && card !== 'declined') books.charges += 1
        books.money ??= card === 'declined' ? 'DECLINED' : 'AUTHORISED'
        if (card === 'charged without an answer') throw new Error('no answer in time')
        return payment()
      },
      async capture() {
        books.money = 'CAPTURED'
        return payment()
      },
      async void() {
        books.money = 'VOIDED'
        return payment()
      },
      find: async () => (books.money === undefined ? undefined : payment()),
      close() {},
    },
  }
  // What a dead process had not committed is done again, so here it is done as if for the first time.
  const tx = {
    async query(text: string) {
      const at = input.createdAt
      if (text.includes('INTO shipments')) books.shipped = true
      else books.order = /status = '(\w+)'/.exec(text)![1]!
      return { rows: [{ at, reason: 'a reason' }] }
    },
  }
  return { books, parts, tx }
}

const done = {
  stock: 8,
  goods: 'committed',
  money: 'CAPTURED',
  charges: 1,
  order: 'CONFIRMED',
  shipped: true,
  told: new Set(['order.confirmed']),
}
const undone = { stock: 10, order: 'CANCELLED', shipped: false, told: new Set(['order.cancelled']) }

test.each([
  ['ok', 'completed', done],
  ['declined', 'compensated', { ...undone, money: 'DECLINED', charges: 0 }],
  ['charged without an answer', 'compensated', { ...undone, money: 'VOIDED', charges: 1 }],
] as const)(
  'whenever the process dies, a checkout with a card that is %s ends %s, and the books balance',
  async (card, status, books) => {
    let here = town(card)
    // The definition is one; the town is another one for each death.
    const through = <T extends object>(part: () => T): T =>
      new Proxy({} as T, { get: (_, name) => Reflect.get(part(), name) })
    const checkout = checkoutSaga({
      outbox: through(() => here.parts.outbox),
      products: through(() => here.parts.products),
      payments: through(() => here.parts.payments),
    })

    const { points, failures } = await crashPoints(checkout, () => {
      here = town(card)
      return {
        input,
        tx: here.tx,
        check: (end) => expect({ status: end.status, ...here.books }).toMatchObject({ status, ...books }),
      }
    })

    expect(failures).toEqual([])
    expect(points).toBeGreaterThan(20)
  },
)
