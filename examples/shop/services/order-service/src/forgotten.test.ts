import { randomUUID } from 'node:crypto'
import { createDiscovery, fixed } from '@msx/discovery'
import { createInstruments } from '@shop/platform'
import { isForgotten, operationsToken } from '@shop/platform/testing'
import { afterAll, beforeAll, expect, it, vi } from 'vitest'
import { createOrderService } from './index.js'
import { ada, createWorld, refill, type World } from './testing/world.js'

let world: World

beforeAll(async () => {
  world = await createWorld()
  await refill(world)
  // Two of it on one embedded database would do one another's work.
  await world.stop()
})

afterAll(() => world.close())

/** One life of the service, with all that it is given anew each time, and an order in it. */
async function live(): Promise<Readonly<Record<string, WeakRef<object>>>> {
  const { products, users, payments, deps } = world
  const discovery = createDiscovery({
    source: fixed({
      'product-service': [products.url],
      'user-service': [users.url],
      'payment-service': [payments.url],
    }),
  })
  const instruments = createInstruments('order-service', { token: operationsToken })
  const service = createOrderService({ ...deps, discovery, instruments })
  const { url } = await service.start()
  const response = await fetch(`${url}/api/orders`, {
    method: 'POST',
    headers: { 'x-user-id': ada, 'idempotency-key': randomUUID(), 'content-type': 'application/json' },
    body: JSON.stringify({ items: [{ productId: 'cup', quantity: 1 }], paymentMethod: 'card-ok' }),
  })
  const { id } = (await response.json()) as { id: string }
  await vi.waitFor(
    async () => {
      const order = await fetch(`${url}/api/orders/${id}`, { headers: { 'x-user-id': ada } })
      expect(await order.json()).toMatchObject({ status: 'CONFIRMED' })
    },
    { timeout: 10_000 },
  )
  await (await fetch(`${url}/metrics`)).text()

  await service.stop({ abruptly: true })
  await discovery.close()
  await instruments.spans.close()
  return Object.fromEntries(
    Object.entries({ service, discovery, instruments }).map(([name, part]) => [name, new WeakRef(part)]),
  )
}

it('is held by nothing in its process when it was killed in the middle of its work', async () => {
  const parts = await live()

  const held: string[] = []
  for (const [name, part] of Object.entries(parts)) if (!(await isForgotten(part))) held.push(name)
  expect(held).toEqual([])
}, 60_000)
