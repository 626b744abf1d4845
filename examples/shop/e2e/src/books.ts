import { join } from 'node:path'
import { PGlite } from '@electric-sql/pglite'

/** One order with everything that the services wrote about it, each in its own schema. */
export interface Entry {
  readonly id: string
  readonly status: 'PENDING' | 'CONFIRMED' | 'CANCELLED'
  readonly total: number
  readonly shipped: boolean
  readonly payment: string | null
  readonly authorised: number
  readonly captured: number
  readonly voided: number
  readonly reservation: string | null
}

export interface Stock {
  readonly id: string
  readonly onHand: number
  readonly reserved: number
  /** What committed reservations took, and what open ones hold, added up from the reservations themselves. */
  readonly taken: number
  readonly held: number
}

/**
 * The auditor: reads the data folder of a stopped shop as PostgreSQL's superuser, across all schemas, which no service
 * can do. Says what is wrong, in sentences; an empty list means that the books balance.
 */
export async function audit(dataDir: string, onHandAtFirst: ReadonlyMap<string, number>): Promise<string[]> {
  const { entries, stock } = await read(dataDir)
  return [...entries.flatMap(wrongWithOrder), ...stock.flatMap((row) => wrongWithStock(row, onHandAtFirst.get(row.id)))]
}

export function wrongWithOrder(entry: Entry): string[] {
  const wrong = (what: string) => `order ${entry.id} (${entry.status}): ${what}`

  switch (entry.status) {
    case 'PENDING':
      return [wrong('is not ended')]

    case 'CONFIRMED':
      return [
        ...(entry.payment === 'CAPTURED' ? [] : [wrong(`its payment is ${entry.payment}`)]),
        ...(entry.authorised === entry.total && entry.captured === entry.total && entry.voided === 0
          ? []
          : [wrong(`of ${entry.total}, ${entry.captured} were captured, ${entry.voided} voided`)]),
        ...(entry.reservation === 'committed' ? [] : [wrong(`its reservation is ${entry.reservation}`)]),
        ...(entry.shipped ? [] : [wrong('is not shipped')]),
      ]

    case 'CANCELLED':
      return [
        ...(entry.captured === 0 && entry.authorised === entry.voided
          ? []
          : [wrong(`${entry.authorised} were authorised, ${entry.captured} captured, ${entry.voided} voided`)]),
        ...(entry.reservation === null || entry.reservation === 'released'
          ? []
          : [wrong(`its reservation is ${entry.reservation}`)]),
        ...(entry.shipped ? [wrong('is shipped')] : []),
      ]
  }
}

export function wrongWithStock(row: Stock, onHandAtFirst: number | undefined): string[] {
  const wrong = (what: string) => `product ${row.id}: ${what}`

  return [
    ...(onHandAtFirst === row.onHand + row.taken
      ? []
      : [wrong(`${onHandAtFirst} at first, ${row.taken} taken, ${row.onHand} left`)]),
    ...(row.reserved === row.held ? [] : [wrong(`${row.reserved} reserved, ${row.held} held by reservations`)]),
  ]
}

async function read(dataDir: string): Promise<{ entries: Entry[]; stock: Stock[] }> {
  const data = await PGlite.create({ dataDir: join(dataDir, 'postgres') })
  try {
    const entries = await data.query<Entry>(`
      SELECT o.id, o.status, o.total::float8 AS total, s.order_id IS NOT NULL AS shipped,
             t.status AS payment, r.status AS reservation,
             coalesce((SELECT sum(amount) FROM payment_service.payment_ledger l WHERE l.order_id = o.id AND entry = 'authorise'), 0)::float8 AS authorised,
             coalesce((SELECT sum(amount) FROM payment_service.payment_ledger l WHERE l.order_id = o.id AND entry = 'capture'), 0)::float8 AS captured,
             coalesce((SELECT sum(amount) FROM payment_service.payment_ledger l WHERE l.order_id = o.id AND entry = 'void'), 0)::float8 AS voided
      FROM order_service.orders o
      LEFT JOIN order_service.shipments s ON s.order_id = o.id
      LEFT JOIN payment_service.transactions t ON t.order_id = o.id
      LEFT JOIN product_service.reservations r ON r.order_id = o.id`)
    const stock = await data.query<Stock>(`
      SELECT p.id, p.on_hand AS "onHand", p.reserved,
             coalesce(sum(i.quantity) FILTER (WHERE r.status = 'committed'), 0)::float8 AS taken,
             coalesce(sum(i.quantity) FILTER (WHERE r.status = 'reserved'), 0)::float8 AS held
      FROM product_service.products p
      LEFT JOIN product_service.reservation_items i ON i.product_id = p.id
      LEFT JOIN product_service.reservations r ON r.order_id = i.order_id
      GROUP BY p.id`)
    return { entries: entries.rows, stock: stock.rows }
  } finally {
    await data.close()
  }
}
