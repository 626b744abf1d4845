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

export async function insertOrder(tx: Queries, order: NewOrder): Promise<void> {
  await tx.query(
    `INSERT INTO orders (id, saga_id, user_id, payment_method, total, currency, created_at)
     VALUES ($1, $2, $3, $4, $5, $6, $7)`,
    [order.id, order.sagaId, order.userId, order.paymentMethod, order.total, order.currency, order.createdAt],
  )
  for (const [position, item] of order.items.entries()) {
    await tx.query(
      `INSERT INTO order_items (order_id, position, product_id, name, price, quantity) VALUES ($1, $2, $3, $4, $5, $6)`,
      [order.id, position, item.productId, item.name, item.price, item.quantity],
    )
  }
}

export async function findOrder(sql: Queries, id: string): Promise<Order | undefined> {
  const orders = await sql.query<OrderRow>('SELECT * FROM orders WHERE id = $1', [id])
  const row = orders.rows[0]
  if (row === undefined) return undefined

  const items = await sql.query<ItemRow>('SELECT * FROM order_items WHERE order_id = $1 ORDER BY position', [id])
  return {
    id: row.id,
    sagaId: row.saga_id,
    userId: row.user_id,
    status: row.status,
    paymentMethod: row.payment_method,
    items: items.rows.map((item) => ({
      productId: item.product_id,
      quantity: item.quantity,
      price: Number(item.price),
      name: item.name,
    })),
    total: Number(row.total),
    currency: row.currency,
    reason: row.reason ?? undefined,
    createdAt: new Date(row.created_at).toISOString(),
    updatedAt: new Date(row.updated_at).toISOString(),
  }
}

/** PENDING to CONFIRMED. False when the order was no longer PENDING. */
export async function confirmOrder(tx: Queries, id: string): Promise<boolean> {
  const { rows } = await tx.query(
    `UPDATE orders SET status = 'CONFIRMED', updated_at = now() WHERE id = $1 AND status = 'PENDING' RETURNING id`,
    [id],
  )
  return rows.length > 0
}

/** PENDING to CANCELLED; changes nothing when it is that already, so the first reason stays. */
export async function cancelOrder(tx: Queries, id: string, reason: string): Promise<void> {
  await tx.query(
    `UPDATE orders SET status = 'CANCELLED', reason = $2, updated_at = now() WHERE id = $1 AND status = 'PENDING'`,
    [id, reason],
  )
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
  readonly payment_method: string
  readonly total: Int8
  readonly currency: string
  readonly reason: string | null
  readonly created_at: string | Date
  readonly updated_at: string | Date
}

interface ItemRow {
  readonly product_id: string
  readonly name: string
  readonly price: Int8
  readonly quantity: number
}

/** A 64-bit integer, as the driver has it. What is stored here is within the safe ones. */
type Int8 = number | bigint | string
