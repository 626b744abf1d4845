import type { OrderItem } from '@shop/contracts'
import type { Database } from '@shop/platform'
import { merged } from './reservations.js'

export interface Demand {
  readonly productId: string
  readonly units: number
  readonly orders: number
}

/** Counts an order once, however often its event comes: the event's id and the counts are written together. */
export async function countDemand(database: Database, eventId: string, items: readonly OrderItem[]): Promise<void> {
  await database.transaction(async (tx) => {
    const { rows } = await tx.query(
      'INSERT INTO handled_events (event_id) VALUES ($1) ON CONFLICT DO NOTHING RETURNING event_id',
      [eventId],
    )
    if (rows.length === 0) return

    for (const { productId, quantity } of merged(items)) {
      await tx.query(
        `INSERT INTO demand (product_id, units, orders) VALUES ($1, $2, 1)
         ON CONFLICT (product_id) DO UPDATE SET units = demand.units + excluded.units, orders = demand.orders + 1`,
        [productId, quantity],
      )
    }
  })
}

/** What was asked for most comes first. */
export async function readDemand(database: Database): Promise<Demand[]> {
  const { rows } = await database.query<{ productId: string; units: number | string; orders: number | string }>(
    'SELECT product_id AS "productId", units, orders FROM demand ORDER BY units DESC, product_id',
  )
  // Some drivers hand over a bigint as text.
  return rows.map((row) => ({ productId: row.productId, units: Number(row.units), orders: Number(row.orders) }))
}
