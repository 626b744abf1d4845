import { expect, onTestFinished, test } from 'vitest'
import { newCustomer, request } from './customer.js'
import { keepers, oneProcess } from './soak/premises.js'
import { kill, killGateway } from './soak/troubles.js'

test('of a service that was killed and started again, the process holds nothing of its earlier life', async () => {
  const shop = await oneProcess()
  onTestFinished(async () => void (await shop.close()))
  // All of them have done something that could hold on to them.
  const ada = await newCustomer(shop.url)
  const [{ id }] = (await request(shop.url, 'GET', '/api/products')).body.items
  await ada.settled((await ada.order([{ productId: id, quantity: 1 }], 'card-ok')).body.id)
  const atFirst = await shop.serversInMemory()
  expect(atFirst).toBe(keepers.length + 1)

  for (const trouble of [...keepers.map(kill), killGateway]) await trouble.run(shop, 0)

  await expect.poll(shop.serversInMemory, { timeout: 10_000 }).toBe(atFirst)
})
