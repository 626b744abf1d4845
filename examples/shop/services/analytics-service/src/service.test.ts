import { createBus } from '@msx/messaging'
import { shopEvents } from '@shop/contracts'
import type { Service } from '@shop/platform'
import { type TestDeps, testDeps } from '@shop/platform/testing'
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest'
import type { Summary } from './facts.js'
import { createAnalyticsService } from './service.js'

let deps: TestDeps
let service: Service
let url: string
let bus: ReturnType<typeof otherBus>

const otherBus = () => createBus({ events: shopEvents, transport: deps.transport, source: 'somebody' })

beforeAll(async () => {
  deps = await testDeps({ role: 'analytics_service' })
  service = createAnalyticsService(deps)
  url = (await service.start()).url
  bus = otherBus()
  await bus.start()
})

afterAll(async () => {
  await bus.close()
  await service.stop()
  await deps.close()
})

beforeEach(() => deps.database.execute('TRUNCATE facts, event_counts, revenue'))

const timestamp = '2026-11-22T12:00:00.000Z'
const order = (orderId: string) => ({ orderId, userId: 'ada', timestamp })

async function summary(): Promise<Summary> {
  await deps.transport.drain()
  return (await (await fetch(`${url}/internal/summary`)).json()) as Summary
}

it('begins with nothing', async () => {
  expect(await summary()).toEqual({ orders: { created: 0, confirmed: 0, cancelled: 0 }, revenue: {}, events: {} })
})

it('counts every event, and takes revenue from confirmed orders only', async () => {
  const items = [{ productId: 'pen', quantity: 1 }]
  await bus.publish('user.registered', { userId: 'ada', timestamp })
  await bus.publish('order.created', { ...order('1'), items, total: 1_000, currency: 'EUR' })
  await bus.publish('order.created', { ...order('2'), items, total: 9_999, currency: 'EUR' })
  await bus.publish('order.created', { ...order('3'), items, total: 250, currency: 'EUR' })
  await bus.publish('order.confirmed', { ...order('1'), total: 1_000, currency: 'EUR' })
  await bus.publish('order.cancelled', { ...order('2'), reason: 'declined' })
  await bus.publish('order.confirmed', { ...order('3'), total: 250, currency: 'EUR' })

  expect(await summary()).toEqual({
    orders: { created: 3, confirmed: 2, cancelled: 1 },
    revenue: { EUR: 1_250 },
    events: { 'order.cancelled': 1, 'order.confirmed': 2, 'order.created': 3, 'user.registered': 1 },
  })
})

it('counts an event once, however often it comes', async () => {
  const confirmed = { ...order('1'), total: 1_000, currency: 'EUR' }
  for (let time = 0; time < 3; time++) await bus.publish('order.confirmed', confirmed, { id: 'event-1' })

  expect(await summary()).toMatchObject({ orders: { confirmed: 1 }, revenue: { EUR: 1_000 } })
})

it('keeps the facts that the numbers were made from', async () => {
  await bus.publish('order.cancelled', { ...order('1'), reason: 'declined' }, { id: 'event-2' })
  await deps.transport.drain()

  const { rows } = await deps.database.query('SELECT event_id, type, source, data FROM facts')
  expect(rows).toEqual([
    { event_id: 'event-2', type: 'order.cancelled', source: 'somebody', data: { ...order('1'), reason: 'declined' } },
  ])
})
