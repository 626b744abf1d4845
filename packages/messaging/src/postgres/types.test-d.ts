import type pg from 'pg'
import { z } from 'zod'
import { createBus, defineEvents, memory, type Queryable } from '../index.js'
import { createOutbox, inbox } from '../postgres.js'

const events = defineEvents({
  'order.created': z.object({ orderId: z.string() }),
  'order.cancelled': z.object({ orderId: z.string(), reason: z.string() }),
})
declare const pool: pg.Pool
declare const client: pg.PoolClient

// A pool and its clients are taken as they are.
const outbox = createOutbox({ events, pool })
void outbox.publish(client, 'order.created', { orderId: 'o-1' }, { delay: 5 })
void outbox.publishMany(client, [
  { type: 'order.created', data: { orderId: 'o-1' } },
  { type: 'order.cancelled', data: { orderId: 'o-1', reason: 'r' } },
])

// @ts-expect-error an event that is not in the catalogue
void outbox.publish(client, 'order.lost', { orderId: 'o-1' })
// @ts-expect-error data of another event
void outbox.publish(client, 'order.cancelled', { orderId: 'o-1' })
// @ts-expect-error nobody waits for the broker here
void outbox.publish(client, 'order.created', { orderId: 'o-1' }, { timeout: 5 })
// @ts-expect-error data of another event
void outbox.publishMany(client, [{ type: 'order.cancelled', data: { orderId: 'o-1' } }])

const bus = createBus({ events, transport: memory(), source: 'tests', use: [inbox({ pool })] })
outbox.relay(bus)
bus.subscribe('g', 'order.*', async (_, { tx, group }) => {
  const given: Queryable | undefined = tx
  const name: string = group
  void [given, name]
})

const others = createBus({ events: defineEvents({ other: z.object({}) }), transport: memory(), source: 'tests' })
// @ts-expect-error a bus of other events
outbox.relay(others)
