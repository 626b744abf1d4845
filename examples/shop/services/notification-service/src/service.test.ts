import { createBus, memory } from '@msx/messaging'
import { shopEvents } from '@shop/contracts'
import type { Service } from '@shop/platform'
import { type TestDeps, testDeps } from '@shop/platform/testing'
import { afterAll, beforeAll, expect, it, vi } from 'vitest'
import { createNotificationService } from './service.js'

let deps: TestDeps
let service: Service
let url: string
let orders: ReturnType<typeof orderBus>

const orderBus = () => createBus({ events: shopEvents, transport: deps.transport, source: 'order-service' })

beforeAll(async () => {
  deps = await testDeps({ role: 'notification_service' })
  service = createNotificationService(deps)
  url = (await service.start()).url
  orders = orderBus()
  await orders.start()
})

afterAll(async () => {
  await orders.close()
  await service.stop()
  await deps.close()
})

const order = (userId: string, orderId = 'o-1') => ({ orderId, userId, timestamp: new Date().toISOString() })

async function notifications(userId: string, at = url): Promise<Record<string, unknown>[]> {
  const response = await fetch(`${at}/internal/notifications?userId=${userId}`)
  return ((await response.json()) as { items: Record<string, unknown>[] }).items
}

it('writes a notification for everything that happens to an order, to its owner', async () => {
  const paid = { total: 100, currency: 'EUR' }
  await orders.publish('order.created', { ...order('ada'), ...paid, items: [{ productId: 'pen', quantity: 1 }] })
  await orders.publish('order.confirmed', { ...order('ada'), ...paid })
  await orders.publish('order.cancelled', { ...order('eve', 'o-2'), reason: 'the card was declined' })
  await deps.transport.drain()

  const ada = await notifications('ada')
  expect(ada.map(({ type }) => type).sort()).toEqual(['order.confirmed', 'order.created'])
  expect(await notifications('eve')).toEqual([
    {
      id: expect.any(String),
      userId: 'eve',
      orderId: 'o-2',
      type: 'order.cancelled',
      channel: 'email',
      subject: 'Your order was cancelled',
      text: expect.stringContaining('the card was declined'),
      at: expect.any(String),
    },
  ])
})

it('writes once about an event that comes twice', async () => {
  const data = { ...order('grace'), reason: 'out of stock' }

  await orders.publish('order.cancelled', data, { id: 'event-1' })
  await orders.publish('order.cancelled', data, { id: 'event-1' })
  await deps.transport.drain()

  expect(await notifications('grace')).toHaveLength(1)
})

it('lists the newest first', async () => {
  for (const orderId of ['first', 'second', 'third']) {
    await orders.publish('order.cancelled', { ...order('joan', orderId), reason: 'out of stock' })
    await deps.transport.drain()
  }

  const times = (await notifications('joan')).map(({ at }) => String(at))
  expect(times).toEqual([...times].sort().reverse())
  expect(times).toHaveLength(3)
})

it('goes by the channels that its owner chose, and by no other, and by none to whoever is gone', async () => {
  const told = (preferences: { email: boolean; sms: boolean; push: boolean }, timestamp: string) =>
    orders.publish('user.updated', { userId: 'mary', preferences, timestamp })
  const channelsOf = async (orderId: string) =>
    (await notifications('mary')).filter((one) => one['orderId'] === orderId).map(({ channel }) => channel)

  await told({ email: false, sms: true, push: true }, '2026-01-02T00:00:00.000Z')
  await told({ email: true, sms: false, push: false }, '2026-01-01T00:00:00.000Z')
  await deps.transport.drain()
  await orders.publish('order.cancelled', { ...order('mary', 'first'), reason: 'out of stock' })
  await deps.transport.drain()
  expect(await channelsOf('first')).toEqual(['push', 'sms'])

  await orders.publish('user.deleted', { userId: 'mary', timestamp: '2026-01-03T00:00:00.000Z' })
  await deps.transport.drain()
  await orders.publish('order.cancelled', { ...order('mary', 'second'), reason: 'out of stock' })
  await deps.transport.drain()
  expect(await channelsOf('second')).toEqual([])
})

it('gives up on an event after six attempts, and writes about it once the dead letter is replayed', async () => {
  const transport = memory({ clock: hurried() })
  let attempts = 0
  let broken = true
  let migrated = false
  const transaction: TestDeps['database']['transaction'] = (run) => {
    if (!migrated) return deps.database.transaction(run)
    attempts++
    return broken ? Promise.reject(new Error('disk full')) : deps.database.transaction(run)
  }
  const { query } = deps.database
  const database = { ...deps.database, pool: { query, transaction } }
  const fragile = createNotificationService({ ...deps, transport, database })
  const started = await fragile.start()
  migrated = true
  const bus = createBus({ events: shopEvents, transport, source: 'order-service' })
  await bus.start()

  await bus.publish('order.cancelled', { ...order('hedy'), reason: 'out of stock' })
  await vi.waitFor(() => expect(transport.deadLetters('notification')).toHaveLength(1))
  expect(attempts).toBe(6)
  expect(await notifications('hedy', started.url)).toEqual([])

  broken = false
  await bus.redrive('notification')
  await vi.waitFor(async () => expect(await notifications('hedy', started.url)).toHaveLength(1))
  expect(transport.deadLetters('notification')).toEqual([])

  await bus.close()
  await fragile.stop()
})

it('wants to know whose notifications are asked for', async () => {
  expect((await fetch(`${url}/internal/notifications`)).status).toBe(422)
})

/** A clock on which nothing takes time: what is due later is due now. */
function hurried() {
  let now = 0
  return {
    now: () => now,
    after(ms: number, run: () => void) {
      const immediate = setImmediate(() => {
        now += ms
        run()
      })
      return () => clearImmediate(immediate)
    },
  }
}
