import { hasDeparted, type Sql } from '@shop/platform'
import { Refusal } from './refusal.js'

type Queries = Pick<Sql, 'query'>

interface Order {
  readonly orderId: string
  readonly userId: string
  readonly timestamp: string
}

/** Works order.created into this service's own picture of the orders. The order's end may have been heard of before. */
export async function rememberOrder(
  tx: Queries,
  order: Order & { readonly total: number; readonly currency: string },
): Promise<void> {
  await tx.query(
    `INSERT INTO known_orders (order_id, user_id, total, currency, created_at) VALUES ($1, $2, $3, $4, $5)
     ON CONFLICT (order_id) DO UPDATE SET total = coalesce(known_orders.total, excluded.total),
       currency = coalesce(known_orders.currency, excluded.currency)`,
    [order.orderId, order.userId, order.total, order.currency, order.timestamp],
  )
}

/** Works order.confirmed or order.cancelled into it: from now on it cannot be paid by its customer. */
export async function rememberEnd(tx: Queries, order: Order, status: 'CONFIRMED' | 'CANCELLED'): Promise<void> {
  await tx.query(
    `INSERT INTO known_orders (order_id, user_id, created_at, status) VALUES ($1, $2, $3, $4)
     ON CONFLICT (order_id) DO UPDATE SET status = excluded.status`,
    [order.orderId, order.userId, order.timestamp, status],
  )
}

export interface PaymentWish {
  readonly orderId: string
  readonly userId: string
  readonly amount: number
  readonly currency: string
}

/**
 * Refuses what the order does not bear out. Until the transaction ends, the order's end cannot be heard of, so a payment
 * and a cancellation see one another.
 */
export async function refuseUnlessOwed(tx: Queries, wish: PaymentWish): Promise<void> {
  const { rows } = await tx.query<Row>('SELECT * FROM known_orders WHERE order_id = $1 FOR UPDATE', [wish.orderId])
  const [order] = rows
  const isOwn = order?.user_id === wish.userId && !(await hasDeparted(tx, wish.userId))
  if (order === undefined || !isOwn || order.total === null) {
    throw new Refusal('NOT_FOUND', `there is no order ${wish.orderId} of yours to pay`)
  }
  if (order.status !== 'PENDING') throw new Refusal('FAILED_PRECONDITION', `the order is ${order.status}`)

  if (Number(order.total) !== wish.amount)
    throw new Refusal('INVALID_ARGUMENT', 'amount: it is not what the order costs')
  if (order.currency !== wish.currency) throw new Refusal('INVALID_ARGUMENT', "currency: it is not the order's")
}

/** The card on file, or the shop's usual one. */
export async function cardOf(tx: Queries, userId: string): Promise<string> {
  const { rows } = await tx.query<{ payment_method: string }>(
    'SELECT payment_method FROM payment_methods WHERE user_id = $1',
    [userId],
  )
  return rows[0]?.payment_method ?? 'card-ok'
}

interface Row {
  readonly user_id: string
  readonly total: number | bigint | string | null
  readonly currency: string | null
  readonly status: 'PENDING' | 'CONFIRMED' | 'CANCELLED'
}
