// What is promised to an order, and what becomes of the promise:
//
//     (nothing) ── reserve ──▶ reserved ── commit ──▶ committed      gone from the warehouse
//         │                       │
//         └── release, or time ───┴──▶ released                      the tombstone: reserve and commit are refused
//
// A reservation runs out of time unless it is secured, which a checkout does before it asks for money.
//
// Every command takes the order's row first and the products' rows after it, in the order of their ids, so that two
// commands can wait for each other but never in a circle. Stock is only ever changed by a conditional UPDATE, which
// judges and takes in one step.

import type { OrderItem } from '@shop/contracts'
import type { Database, Sql } from '@shop/platform'

export type ReservationStatus = 'reserved' | 'released' | 'committed'

export type ReserveOutcome =
  | { readonly kind: 'reserved'; readonly items: readonly OrderItem[] }
  /** The same reservation again. */
  | { readonly kind: 'repeated'; readonly items: readonly OrderItem[]; readonly status: ReservationStatus }
  /** The order has a reservation, and of other items. */
  | { readonly kind: 'different' }
  | { readonly kind: 'released' }
  | { readonly kind: 'unknown-product'; readonly productId: string }
  | { readonly kind: 'short'; readonly productId: string; readonly wanted: number; readonly left: number }

/** All of the items or none, for `ttl` ms. A product that is named twice is wanted twice. */
export async function reserve(
  database: Database,
  orderId: string,
  wanted: readonly OrderItem[],
  ttl: number,
): Promise<ReserveOutcome> {
  const items = merged(wanted)

  return orRefusal(() =>
    database.transaction(async (tx): Promise<ReserveOutcome> => {
      if (!(await insertReservation(tx, orderId, 'reserved', ttl))) return repeated(tx, orderId, items)

      await refuseUnknown(tx, items)
      for (const item of items) await take(tx, item)
      for (const { productId, quantity } of items) {
        await tx.query('INSERT INTO reservation_items (order_id, product_id, quantity) VALUES ($1, $2, $3)', [
          orderId,
          productId,
          quantity,
        ])
      }
      return { kind: 'reserved', items }
    }),
  )
}

/** Gives everything back, also what has not been reserved yet. Only what is committed stays. */
export async function release(database: Database, orderId: string): Promise<'released' | 'committed'> {
  return database.transaction(async (tx) => {
    if (await insertReservation(tx, orderId, 'released')) return 'released'

    const status = await lockReservation(tx, orderId)
    if (status === 'committed') return 'committed'
    if (status === 'released') return 'released'

    await giveBack(tx, orderId)
    return 'released'
  })
}

async function giveBack(tx: Sql, orderId: string): Promise<void> {
  for (const { productId, quantity } of await reservedItems(tx, orderId)) {
    await tx.query('UPDATE products SET reserved = reserved - $2 WHERE id = $1', [productId, quantity])
  }
  await setStatus(tx, orderId, 'released')
}

/** Takes away the time limit, if there still is something to keep. */
export async function secure(database: Database, orderId: string): Promise<ReservationStatus | undefined> {
  const { rows } = await database.query<{ status: ReservationStatus }>(
    `UPDATE reservations SET expires_at = NULL, updated_at = now()
     WHERE order_id = $1 AND (status <> 'reserved' OR expires_at IS NULL OR expires_at > now()) RETURNING status`,
    [orderId],
  )
  if (rows[0] !== undefined) return rows[0].status

  // There is none, or one whose time is up and that nobody has come round to.
  const { rows: late } = await database.query('SELECT 1 FROM reservations WHERE order_id = $1', [orderId])
  return late.length === 0 ? undefined : release(database, orderId)
}

/** Gives back what nobody secured in time. Answers how many reservations that were. */
export async function releaseExpired(database: Database): Promise<number> {
  const { rows } = await database.query<{ orderId: string }>(
    `SELECT order_id AS "orderId" FROM reservations WHERE status = 'reserved' AND expires_at <= now()
     ORDER BY expires_at LIMIT 100`,
  )
  let released = 0
  for (const { orderId } of rows) {
    await database.transaction(async (tx) => {
      // It may have been secured, committed or released since.
      const { rows: due } = await tx.query(
        `SELECT 1 FROM reservations WHERE order_id = $1 AND status = 'reserved' AND expires_at <= now() FOR UPDATE`,
        [orderId],
      )
      if (due.length === 0) return
      await giveBack(tx, orderId)
      released += 1
    })
  }
  return released
}

/** The goods leave the warehouse. Undefined when nothing was ever reserved for the order. */
export async function commit(database: Database, orderId: string): Promise<'committed' | 'released' | undefined> {
  return database.transaction(async (tx) => {
    const status = await lockReservation(tx, orderId)
    if (status !== 'reserved') return status

    for (const { productId, quantity } of await reservedItems(tx, orderId)) {
      await tx.query('UPDATE products SET on_hand = on_hand - $2, reserved = reserved - $2 WHERE id = $1', [
        productId,
        quantity,
      ])
    }
    await setStatus(tx, orderId, 'committed')
    return 'committed'
  })
}

/** One line per product, in the order in which rows are locked. */
export function merged(items: readonly OrderItem[]): OrderItem[] {
  const quantities = new Map<string, number>()
  for (const { productId, quantity } of items) quantities.set(productId, (quantities.get(productId) ?? 0) + quantity)

  return [...quantities].map(([productId, quantity]) => ({ productId, quantity })).sort(byProduct)
}

/** Rolls the transaction back and still says why. */
class Refusal extends Error {
  readonly outcome: ReserveOutcome

  constructor(outcome: ReserveOutcome) {
    super(outcome.kind)
    this.outcome = outcome
  }
}

async function orRefusal(run: () => Promise<ReserveOutcome>): Promise<ReserveOutcome> {
  try {
    return await run()
  } catch (error) {
    if (error instanceof Refusal) return error.outcome
    throw error
  }
}

/** False when the order has a row already. Waits for a command on the same order that is still running. */
async function insertReservation(
  tx: Sql,
  orderId: string,
  status: ReservationStatus,
  ttl: number | null = null,
): Promise<boolean> {
  const { rows } = await tx.query(
    `INSERT INTO reservations (order_id, status, expires_at)
     VALUES ($1, $2, now() + $3::float8 * interval '1 millisecond') ON CONFLICT DO NOTHING RETURNING order_id`,
    [orderId, status, ttl],
  )
  return rows.length > 0
}

async function lockReservation(tx: Sql, orderId: string): Promise<ReservationStatus | undefined> {
  const { rows } = await tx.query<{ status: ReservationStatus }>(
    'SELECT status FROM reservations WHERE order_id = $1 FOR UPDATE',
    [orderId],
  )
  return rows[0]?.status
}

async function setStatus(tx: Sql, orderId: string, status: ReservationStatus): Promise<void> {
  await tx.query('UPDATE reservations SET status = $2, updated_at = now() WHERE order_id = $1', [orderId, status])
}

async function reservedItems(tx: Sql, orderId: string): Promise<OrderItem[]> {
  const { rows } = await tx.query<OrderItem>(
    'SELECT product_id AS "productId", quantity FROM reservation_items WHERE order_id = $1',
    [orderId],
  )
  return rows.sort(byProduct)
}

async function repeated(tx: Sql, orderId: string, items: readonly OrderItem[]): Promise<ReserveOutcome> {
  const status = await lockReservation(tx, orderId)
  if (status === undefined) throw new Error(`the reservation of order ${orderId} went away; they are never deleted`)
  if (status === 'released') return { kind: 'released' }

  const before = await reservedItems(tx, orderId)
  const same = JSON.stringify(before) === JSON.stringify(items)
  return same ? { kind: 'repeated', items, status } : { kind: 'different' }
}

/** Asked before any stock is taken: a product that does not exist is the better answer than one that is short. */
async function refuseUnknown(tx: Sql, items: readonly OrderItem[]): Promise<void> {
  const { rows } = await tx.query<{ id: string }>('SELECT id FROM products WHERE id = ANY($1::text[])', [
    items.map((item) => item.productId),
  ])
  const known = new Set(rows.map((row) => row.id))
  const unknown = items.find((item) => !known.has(item.productId))
  if (unknown !== undefined) throw new Refusal({ kind: 'unknown-product', productId: unknown.productId })
}

async function take(tx: Sql, { productId, quantity }: OrderItem): Promise<void> {
  const taken = await tx.query(
    'UPDATE products SET reserved = reserved + $2 WHERE id = $1 AND on_hand - reserved >= $2 RETURNING id',
    [productId, quantity],
  )
  if (taken.rows.length > 0) return

  const { rows } = await tx.query<{ left: number }>('SELECT on_hand - reserved AS "left" FROM products WHERE id = $1', [
    productId,
  ])
  throw new Refusal({ kind: 'short', productId, wanted: quantity, left: rows[0]?.left ?? 0 })
}

function byProduct(a: OrderItem, b: OrderItem): number {
  if (a.productId === b.productId) return 0
  return a.productId < b.productId ? -1 : 1
}
