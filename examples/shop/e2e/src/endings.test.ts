import { asTable, runScenario, scenarios } from '@shop/scenarios'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { audit } from './books.js'
import { type Customer, newCustomer, request } from './customer.js'
import { type Operator, operator, operatorToken } from './operator.js'
import { freshFolder, type ShopProcess, startShop } from './shop-process.js'

// The endings of an order that need something to break, brought about and looked at over HTTP alone. At the end the
// auditor goes through the books of all of them.

let folder: Awaited<ReturnType<typeof freshFolder>>
let shop: ShopProcess
let ada: Customer
let op: Operator
let onHandAtFirst: Map<string, number>

beforeAll(async () => {
  folder = await freshFolder()
  shop = await startShop(folder.path, { OPS_TOKEN: operatorToken })
  ada = await newCustomer(shop.url)
  op = operator(shop.url)
  const { items } = (await request(shop.url, 'GET', '/api/products')).body
  onHandAtFirst = new Map(items.map(({ id, stock }: { id: string; stock: number }) => [id, stock]))
})

afterEach(() => op.mend())

afterAll(async () => {
  await shop?.interrupt()
  const wrong = await audit(folder.path, onHandAtFirst)
  await folder.remove()
  expect(wrong).toEqual([])
})

const patient = { timeout: 20_000, interval: 50 }

async function placed(paymentMethod = 'card-ok'): Promise<string> {
  const answer = await ada.order([{ productId: 'espresso-cup', quantity: 1 }], paymentMethod)
  expect(answer.status).toBe(202)
  return answer.body.id
}

async function stock(): Promise<number> {
  return (await request(shop.url, 'GET', '/api/products/espresso-cup')).body.stock
}

const cancel = (order: string) => ada.request('POST', `/api/orders/${order}/cancel`)
const sagaOf = async (order: string) => (await ada.request('GET', `/api/orders/${order}/saga`)).body
const sagaEnds = (order: string, status: string | RegExp) =>
  expect.poll(async () => (await sagaOf(order)).status, patient).toMatch(status)

test('cancelled before the pivot, an order gives everything back', async () => {
  const before = await stock()
  await op.break({ service: 'payment-service', route: 'Authorize', latency: 1_000 })
  const order = await placed()
  await expect.poll(stock, patient).toBe(before - 1)

  expect((await cancel(order)).status).toBe(202)

  expect((await ada.settled(order)).body).toMatchObject({ status: 'CANCELLED', reason: 'cancelled by the customer' })
  await sagaEnds(order, 'cancelled')
  expect(await stock()).toBe(before)
})

test('cancelled after the pivot, an order goes on to its end', async () => {
  const before = await stock()
  await op.break({ service: 'payment-service', route: 'Capture', latency: 700 })
  const order = await placed()
  expect((await ada.settled(order)).body.status).toBe('CONFIRMED')

  expect((await cancel(order)).status).toBe(409)

  await sagaEnds(order, 'completed')
  expect(await stock()).toBe(before - 1)
})

test.each(scenarios)('$name', async (scenario) => {
  const report = await runScenario(scenario, { url: shop.url, token: operatorToken })

  expect(report.holds, asTable(report)).toBe(true)
})

test.each([
  ['reserve', { service: 'product-service', route: 'PUT /internal/reservations/:orderId', latency: 600 }],
  ['capture', { service: 'payment-service', route: 'Capture', latency: 600 }],
  ['commit-stock', { service: 'product-service', route: 'POST /internal/reservations/:orderId/commit', latency: 600 }],
])('order-service killed while it is at %s ends the order all the same', async (_step, slow) => {
  await op.break(slow)
  const seen = async () => (await op.faults()).find(({ route }) => route === slow.route)?.effect.seen ?? 0
  const order = await placed()
  await expect.poll(seen, { timeout: 10_000, interval: 10 }).toBeGreaterThan(0)

  await op.break({ service: 'order-service', kill: true })
  await op.mend()

  await expect
    .poll(async () => (await ada.request('GET', `/api/orders/${order}`)).body.status, patient)
    .toBe('CONFIRMED')
  await sagaEnds(order, 'completed')
})
