import { defineEvents } from '@msx/messaging'
import { z } from 'zod'
import { orderItem } from './orders.js'

const timestamp = z.iso.datetime()
const user = z.object({ userId: z.string(), timestamp })
/** With how they want to hear from the shop. Optional, for events of before this was told. */
const reachable = user.extend({
  preferences: z.object({ email: z.boolean(), sms: z.boolean(), push: z.boolean() }).optional(),
})
/** With the time until which a token of theirs may still be good. Optional, for events of before this was told. */
const departed = user.extend({ tokensExpire: timestamp.optional() })
const order = z.object({ orderId: z.string(), userId: z.string(), timestamp })

/** Every event that crosses a service's border, with its schema. Whoever publishes it owns it. */
export const shopEvents = defineEvents({
  'user.registered': reachable,
  'user.updated': reachable,
  'user.deleted': departed,

  'order.created': order.extend({
    items: z.array(orderItem).min(1),
    total: z.int().nonnegative(),
    currency: z.string(),
  }),
  'order.confirmed': order.extend({ total: z.int().nonnegative(), currency: z.string() }),
  'order.cancelled': order.extend({ reason: z.string() }),
})

export type ShopEvents = typeof shopEvents
export type EventName = keyof ShopEvents['events']
