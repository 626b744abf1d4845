import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { audit } from './books.js'
import { type Customer, customer, newCustomer, request } from './customer.js'
import { freshFolder, type ShopProcess, startShop } from './shop-process.js'

/** How long after the first 202 the shop dies: in the middle of placing, of the sagas, and of their undoing. */
const deaths = [0, 150, 700]
const methods = ['card-ok', 'card-ok', 'card-ok', 'card-declined', 'card-timeout-after-charge'] as const

test('every order answered with 202 ends after kill -9, and money and stock balance', {
  timeout: 180_000,
}, async () => {
  const folder = await freshFolder()
  let shop = await startShop(folder.path)
  const ada = await newCustomer(shop.url)
  const products: { id: string; stock: number }[] = (await request(shop.url, 'GET', '/api/products')).body.items
  const onHandAtFirst = new Map(products.map((product) => [product.id, product.stock]))

  const placed: Placed[] = []
  for (const delay of deaths) {
    placed.push(...(await orderAndKill(shop, at(shop, ada), products, delay)))
    shop = await startShop(folder.path)
  }

  const owner = at(shop, ada)
  await Promise.all(placed.map((order) => endedWell(owner, order)))
  await shop.interrupt()
  expect(await audit(folder.path, onHandAtFirst)).toEqual([])
  expect(placed.filter((order) => order.answered !== undefined).length).toBeGreaterThanOrEqual(deaths.length)
  await folder.remove()
})

interface Placed {
  readonly key: string
  readonly line: { productId: string; quantity: number }
  readonly method: string
  /** The id in the 202, when there was time for one. */
  readonly answered: string | undefined
}

/** The customer of an earlier life of the shop, at the address of its present one. */
function at(shop: ShopProcess, known: Customer): Customer {
  return customer(shop.url, known.id, known.email, known.token)
}

async function orderAndKill(shop: ShopProcess, buyer: Customer, products: { id: string }[], delay: number) {
  let first = () => {}
  const answered = new Promise<void>((resolve) => {
    first = resolve
  })
  const orders = Array.from({ length: 12 }, async (_, i): Promise<Placed> => {
    const order = {
      key: randomUUID(),
      line: { productId: products[i % products.length]?.id ?? '', quantity: 1 },
      method: methods[i % methods.length] ?? 'card-ok',
    }
    try {
      const answer = await buyer.order([order.line], order.method, order.key)
      expect(answer.status).toBe(202)
      first()
      return { ...order, answered: answer.body.id }
    } catch (error) {
      if ((error as Error).name === 'AssertionError') throw error
      return { ...order, answered: undefined }
    }
  })

  await answered
  await sleep(delay)
  await shop.kill()
  return Promise.all(orders)
}

/**
 * Asks for the same order once more, under its key: one that was answered must be the one it was, one that was cut off
 * is placed now unless it was already.
 */
async function endedWell(buyer: Customer, order: Placed): Promise<void> {
  const again = await buyer.order([order.line], order.method, order.key)
  expect(again.status).toBe(202)
  if (order.answered !== undefined) expect(again.body.id).toBe(order.answered)

  await buyer.settled(again.body.id, 30_000)
  await expect
    .poll(async () => (await buyer.request('GET', `/api/orders/${again.body.id}/saga`)).body.status, {
      timeout: 15_000,
    })
    .toMatch(/^(completed|compensated)$/)
}
