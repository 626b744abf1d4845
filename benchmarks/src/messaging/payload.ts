import { randomUUID } from 'node:crypto'
import { z } from 'zod'

const line = z.object({ sku: z.string(), title: z.string(), quantity: z.number().int(), price: z.number().int() })

/** What every subject publishes; JSON of it is the body. */
export const order = z.object({
  orderId: z.string(),
  userId: z.string(),
  currency: z.string(),
  total: z.number().int(),
  items: z.array(line),
  timestamp: z.string(),
})

export type Order = z.infer<typeof order>

/** The routing key, and the name of the event. */
export const TYPE = 'order.created'

/** Under `source` in the envelope. */
export const SOURCE = 'bench'

/** Orders whose JSON has about so many bytes. Some are given, so that nobody publishes the same object each time. */
export function orders(size: number, count = 64): readonly Order[] {
  return Array.from({ length: count }, () => {
    const made: Order = {
      orderId: randomUUID(),
      userId: randomUUID(),
      currency: 'EUR',
      total: 0,
      items: [],
      timestamp: new Date().toISOString(),
    }
    do {
      const price = 100 + ((made.items.length * 37) % 900)
      made.items.push({ sku: `sku-${made.items.length}`, title: 'Cup', quantity: 1, price })
      made.total += price
    } while (JSON.stringify(made).length < size - 30)

    return made
  })
}

/** What @msx/messaging sends along with the body, for those who are to send the very same message. */
export function envelope(): Envelope {
  const id = randomUUID()
  const now = new Date()

  return {
    messageId: id,
    correlationId: id,
    contentType: 'application/json',
    timestamp: Math.floor(now.getTime() / 1_000),
    headers: {
      cloudEvents_specversion: '1.0',
      cloudEvents_id: id,
      cloudEvents_source: SOURCE,
      cloudEvents_type: TYPE,
      cloudEvents_time: now.toISOString(),
    },
  }
}

interface Envelope {
  readonly messageId: string
  readonly correlationId: string
  readonly contentType: string
  readonly timestamp: number
  readonly headers: Readonly<Record<string, string>>
}
