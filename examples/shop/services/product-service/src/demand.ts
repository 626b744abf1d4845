import type { OrderItem } from '@shop/contracts'
import type { Database, Sql } from '@shop/platform'
import { merged } from './reservations.js'

export interface Demand {
  readonly productId: string
  readonly units: number
  readonly orders: number
}

/** Adds an order to the counts. In the transaction of the inbox, which lets each event in once. */
export async function countDemand(tx: Pick<Sql, 'query'>, items: readonly OrderItem[]): Promise<void> {
  for (const { productId, quantity } of merged(items)) {
    await tx.query(
      `INSERT INTO demand (product_id, units, orders) VALUES ($1, $2, 1)
       ON CONFLICT (product_id) DO UPDATE SET units = demand.units + excluded.units, orders = demand.orders + 1`,
      [productId, quantity],
    )
  }
}

/** What was asked for most comes first. */
export async function readDemand(database: Database): Promise<Demand[]> {
  const { rows } = await database.query<{ productId: string; units: number | string; orders: number | string }>(
    'SELECT product_id AS "productId", units, orders FROM demand ORDER BY units DESC, product_id',
  )
  // Some drivers hand over a bigint as text.
  return rows.map((row) => ({ productId: row.productId, units: Number(row.units), orders: Number(row.orders) }))
}
