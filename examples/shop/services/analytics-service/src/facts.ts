import type { Database, Sql } from '@shop/platform'

export interface Fact {
  readonly eventId: string
  readonly type: string
  readonly source: string
  readonly at: Date
  readonly data: unknown
  /** What the event adds to the shop's revenue. */
  readonly revenue?: { readonly amount: number; readonly currency: string } | undefined
}

export interface Summary {
  readonly orders: { readonly created: number; readonly confirmed: number; readonly cancelled: number }
  /** Of confirmed orders, in minor units, per currency. */
  readonly revenue: Readonly<Record<string, number>>
  /** All events, by name. */
  readonly events: Readonly<Record<string, number>>
}

/** Records a fact and what it adds to the aggregates. In the transaction of the inbox, which lets each event in once. */
export async function recordFact(tx: Pick<Sql, 'query'>, fact: Fact): Promise<void> {
  await tx.query('INSERT INTO facts (event_id, type, source, at, data) VALUES ($1, $2, $3, $4, $5)', [
    fact.eventId,
    fact.type,
    fact.source,
    fact.at.toISOString(),
    JSON.stringify(fact.data),
  ])
  await tx.query(
    `INSERT INTO event_counts (type, events) VALUES ($1, 1)
     ON CONFLICT (type) DO UPDATE SET events = event_counts.events + 1`,
    [fact.type],
  )
  if (fact.revenue === undefined) return

  await tx.query(
    `INSERT INTO revenue (currency, amount) VALUES ($1, $2)
     ON CONFLICT (currency) DO UPDATE SET amount = revenue.amount + excluded.amount`,
    [fact.revenue.currency, fact.revenue.amount],
  )
}

export async function summarise(database: Database): Promise<Summary> {
  const [counts, revenue] = await database.transaction(async (tx) => [
    // Some drivers hand over a bigint as text.
    await tx.query<{ type: string; events: number | string }>('SELECT type, events FROM event_counts ORDER BY type'),
    await tx.query<{ currency: string; amount: number | string }>('SELECT currency, amount FROM revenue'),
  ])
  const events = Object.fromEntries(counts.rows.map((row) => [row.type, Number(row.events)]))

  return {
    orders: {
      created: events['order.created'] ?? 0,
      confirmed: events['order.confirmed'] ?? 0,
      cancelled: events['order.cancelled'] ?? 0,
    },
    revenue: Object.fromEntries(revenue.rows.map((row) => [row.currency, Number(row.amount)])),
    events,
  }
}
