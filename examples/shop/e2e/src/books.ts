import { join } from 'node:path'
import { PGlite } from '@electric-sql/pglite'
import pg from 'pg'

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
  readonly delivered: number
}

/** Everything that is written about orders and stock. */
export interface Books {
  readonly entries: readonly Entry[]
  readonly stock: readonly Stock[]
}

/** Reads the data folder of a stopped shop as PostgreSQL's superuser, across all schemas, which no service can do. */
export async function booksIn(dataDir: string): Promise<Books> {
  const data = await PGlite.create({ dataDir: join(dataDir, 'postgres') })
  try {
    return await read((service, text) => data.query(text.replaceAll('$schema', service)).then(({ rows }) => rows))
  } finally {
    await data.close()
  }
}

/** The same for the shop of seven processes: `server` is an address of PostgreSQL's for its administrator. */
export function booksOn(server: string, shop: string): Promise<Books> {
  return read(async (service, text) => {
    const url = new URL(server)
    url.pathname = `/${shop}_${service}`
    const client = new pg.Client({ connectionString: url.href })
    await client.connect()
    try {
      return (await client.query(text.replaceAll('$schema', 'public'))).rows
    } finally {
      await client.end()
    }
  })
}

/**
 * The auditor: says what is wrong, in sentences; an empty list means that the books balance. `answered`: the orders that
 * somebody was promised.
 */
export function wrongIn(
  { entries, stock }: Books,
  onHandAtFirst: ReadonlyMap<string, number>,
  answered: Iterable<string> = [],
): string[] {
  const written = new Set(entries.map(({ id }) => id))

  return [
    ...[...answered].filter((id) => !written.has(id)).map((id) => `order ${id} was answered with 202 and is not there`),
    ...entries.flatMap(wrongWithOrder),
    ...stock.flatMap((row) => wrongWithStock(row, onHandAtFirst.get(row.id))),
  ]
}

/** What is wrong in the data folder of a stopped shop. */
export async function audit(dataDir: string, onHandAtFirst: ReadonlyMap<string, number>): Promise<string[]> {
  return wrongIn(await booksIn(dataDir), onHandAtFirst)
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
    ...(onHandAtFirst !== undefined && onHandAtFirst + row.delivered === row.onHand + row.taken
      ? []
      : [wrong(`${onHandAtFirst} at first, ${row.delivered} delivered, ${row.taken} taken, ${row.onHand} left`)]),
    ...(row.reserved === row.held ? [] : [wrong(`${row.reserved} reserved, ${row.held} held by reservations`)]),
  ]
}

/** Asks one service's tables, which are in `$schema`. */
type Ask = (service: string, text: string) => Promise<unknown[]>

/** Each service's tables by themselves, put together here: they may be in several databases. */
async function read(ask: Ask): Promise<Books> {
  const orders = (await ask(
    'order_service',
    `SELECT o.id, o.status, o.total::float8 AS total, s.order_id IS NOT NULL AS shipped
     FROM $schema.orders o LEFT JOIN $schema.shipments s ON s.order_id = o.id`,
  )) as Pick<Entry, 'id' | 'status' | 'total' | 'shipped'>[]
  const payments = (await ask(
    'payment_service',
    `SELECT t.order_id AS id, t.status AS payment,
       coalesce(sum(l.amount) FILTER (WHERE l.entry = 'authorise'), 0)::float8 AS authorised,
       coalesce(sum(l.amount) FILTER (WHERE l.entry = 'capture'), 0)::float8 AS captured,
       coalesce(sum(l.amount) FILTER (WHERE l.entry = 'void'), 0)::float8 AS voided
     FROM $schema.transactions t LEFT JOIN $schema.payment_ledger l ON l.order_id = t.order_id
     GROUP BY t.order_id, t.status`,
  )) as (Pick<Entry, 'payment' | 'authorised' | 'captured' | 'voided'> & { readonly id: string })[]
  const reservations = (await ask('product_service', 'SELECT order_id AS id, status FROM $schema.reservations')) as {
    readonly id: string
    readonly status: string
  }[]
  const stock = (await ask(
    'product_service',
    `SELECT p.id, p.on_hand AS "onHand", p.reserved,
       (SELECT coalesce(sum(d.quantity), 0)::float8 FROM $schema.deliveries d WHERE d.product_id = p.id) AS delivered,
       coalesce(sum(i.quantity) FILTER (WHERE r.status = 'committed'), 0)::float8 AS taken,
       coalesce(sum(i.quantity) FILTER (WHERE r.status = 'reserved'), 0)::float8 AS held
     FROM $schema.products p
     LEFT JOIN $schema.reservation_items i ON i.product_id = p.id
     LEFT JOIN $schema.reservations r ON r.order_id = i.order_id
     GROUP BY p.id`,
  )) as Stock[]

  const paymentOf = new Map(payments.map((payment) => [payment.id, payment]))
  const reservationOf = new Map(reservations.map(({ id, status }) => [id, status]))
  const unpaid = { payment: null, authorised: 0, captured: 0, voided: 0 }
  const entries = orders.map((order) => ({
    ...unpaid,
    ...paymentOf.get(order.id),
    ...order,
    reservation: reservationOf.get(order.id) ?? null,
  }))
  return { entries, stock }
}
