import { Registry } from 'prom-client'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { measureStuck } from './stuck.js'
import { createWorld, refill, type World } from './testing/world.js'

let world: World

beforeAll(async () => {
  world = await createWorld()
  await refill(world)
})

afterAll(() => world.close())

const stuck = async () => /^checkouts_stuck (\d+)$/m.exec(await (await fetch(`${world.url}/metrics`)).text())?.[1]

test('a checkout that waits for an operator is counted, whichever process brought it there', async () => {
  await world.stop()
  await world.start({ undoAttempts: 1 })
  expect(await stuck()).toBe('0')

  world.products.before = (request) => {
    if (request === 'DELETE') throw new Error('it cannot be given back')
  }
  const id = await world.placed({ paymentMethod: 'card-declined' })
  await vi.waitFor(async () => expect(await world.saga(id)).toMatchObject({ status: 'stuck' }), { timeout: 3_000 })

  expect(await stuck()).toBe('1')
  await world.stop()
  await world.start()
  expect(await stuck()).toBe('1')
})

test('nothing is said of them while nobody knows', async () => {
  const registry = new Registry()
  const list = vi
    .fn()
    .mockResolvedValueOnce({ items: [{}] })
    .mockRejectedValueOnce(new Error('the database is away'))
  measureStuck(registry, { list })

  expect(await registry.metrics()).toMatch(/^checkouts_stuck 1$/m)
  expect(await registry.metrics()).not.toMatch(/^checkouts_stuck /m)
})
