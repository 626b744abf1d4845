import type { Sql } from '@shop/platform'
import type { PricedItem } from './pricing.js'

/** Anything that asks one question at a time: the database, or a transaction of whoever owns one. */
type Queries = Pick<Sql, 'query'>

export type OrderStatus = 'PENDING' | 'CONFIRMED' | 'CANCELLED'

export interface Order {
  readonly id: string
  readonly sagaId: string
  readonly userId: string
  readonly status: OrderStatus
  readonly paymentMethod: string
  readonly items: readonly PricedItem[]
  readonly total: number
  readonly currency: string
  readonly reason: string | undefined
  readonly createdAt: string
  readonly updatedAt: string
}

export type NewOrder = Pick<
  Order,
  'id' | 'sagaId' | 'userId' | 'paymentMethod' | 'items' | 'total' | 'currency' | 'createdAt'
>

/** What is in the document beside the columns that orders are found and guarded by. */
type OrderDocument = Pick<Order, 'paymentMethod' | 'items' | 'total' | 'currency'>

export async function insertOrder(tx: Queries, order: NewOrder): Promise<void> {
  const { paymentMethod, items, total, currency } = order
  const document: OrderDocument = { paymentMethod, items, total, currency }
  await tx.query('INSERT INTO orders (id, saga_id, user_id, document, created_at) VALUES ($1, $2, $3, $4, $5)', [
    order.id,
    order.sagaId,
    order.userId,
    JSON.stringify(document),
    order.createdAt,
  ])
}

export async function findOrder(sql: Queries, id: string): Promise<Order | undefined> {
  const { rows } = await sql.query<OrderRow>('SELECT * FROM orders WHERE id = $1', [id])
  const [row] = rows
  if (row === undefined) return undefined

  return {
    ...row.document,
    id: row.id,
    sagaId: row.saga_id,
    userId: row.user_id,
    status: row.status,
    reason: row.reason ?? undefined,
    createdAt: new Date(row.created_at).toISOString(),
    updatedAt: new Date(row.updated_at).toISOString(),
  }
}

/** PENDING to CONFIRMED. Answers when that was; undefined when the order was no longer PENDING. */
export async function confirmOrder(tx: Queries, id: string): Promise<string | undefined> {
  const { rows } = await tx.query<{ at: string | Date }>(
    `UPDATE orders SET status = 'CONFIRMED', updated_at = now() WHERE id = $1 AND status = 'PENDING'
     RETURNING updated_at AS at`,
    [id],
  )
  return rows[0] && new Date(rows[0].at).toISOString()
}

/** PENDING to CANCELLED. An order that is CANCELLED already keeps its first reason, which is the answer. */
export async function cancelOrder(
  tx: Queries,
  id: string,
  reason: string,
): Promise<{ readonly reason: string; readonly at: string }> {
  const { rows } = await tx.query<{ reason: string; at: string | Date }>(
    `UPDATE orders SET status = 'CANCELLED', reason = coalesce(reason, $2),
       updated_at = CASE status WHEN 'PENDING' THEN now() ELSE updated_at END
     WHERE id = $1 AND status IN ('PENDING', 'CANCELLED') RETURNING reason, updated_at AS at`,
    [id, reason],
  )
  const [cancelled] = rows
  if (cancelled === undefined) throw new Error(`order ${id} is not there, or CONFIRMED`)

  return { reason: cancelled.reason, at: new Date(cancelled.at).toISOString() }
}

/** The order's one shipment, made by the first call. */
export async function insertShipment(tx: Queries, orderId: string): Promise<void> {
  await tx.query('INSERT INTO shipments (order_id) VALUES ($1) ON CONFLICT (order_id) DO NOTHING', [orderId])
}

export interface OrderRequestRow {
  readonly orderId: string
  readonly bodyHash: string
}

export async function findRequest(sql: Queries, userId: string, key: string): Promise<OrderRequestRow | undefined> {
  const { rows } = await sql.query<OrderRequestRow>(
    'SELECT order_id AS "orderId", body_hash AS "bodyHash" FROM order_requests WHERE user_id = $1 AND key = $2',
    [userId, key],
  )
  return rows[0]
}

/** False when the key is taken; then whoever took it has committed. */
export async function insertRequest(tx: Queries, userId: string, key: string, row: OrderRequestRow): Promise<boolean> {
  const { rows } = await tx.query(
    `INSERT INTO order_requests (user_id, key, body_hash, order_id) VALUES ($1, $2, $3, $4)
     ON CONFLICT (user_id, key) DO NOTHING RETURNING order_id`,
    [userId, key, row.bodyHash, row.orderId],
  )
  return rows.length > 0
}

interface OrderRow {
  readonly id: string
  readonly saga_id: string
  readonly user_id: string
  readonly status: OrderStatus
  readonly document: OrderDocument
  readonly reason: string | null
  readonly created_at: string | Date
  readonly updated_at: string | Date
}
