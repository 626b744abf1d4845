import type { Database } from '@shop/platform'

export interface KnownOrder {
  readonly orderId: string
  readonly userId: string
  readonly total: number
  readonly currency: string
  readonly timestamp: string
}

/** Works an order.created event into this service's own picture of the orders; a repeated event changes nothing. */
export async function rememberOrder(database: Database, eventId: string, order: KnownOrder): Promise<void> {
  await database.transaction(async (tx) => {
    const { rows } = await tx.query(
      'INSERT INTO handled_events (event_id) VALUES ($1) ON CONFLICT (event_id) DO NOTHING RETURNING event_id',
      [eventId],
    )
    if (rows.length === 0) return

    await tx.query(
      `INSERT INTO known_orders (order_id, user_id, total, currency, created_at) VALUES ($1, $2, $3, $4, $5)
       ON CONFLICT (order_id) DO NOTHING`,
      [order.orderId, order.userId, order.total, order.currency, order.timestamp],
    )
  })
}
