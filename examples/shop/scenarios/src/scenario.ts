/**
 * Something that goes wrong, and what the shop makes of it. All of it is data: the same scenario is run by a test, from a
 * shell, and by whoever draws a button for it.
 *
 *   break ─► load ─► strike ─► `meanwhile` is awaited ─► mend ─► replay ─► `afterwards` is awaited
 */
export interface Scenario {
  readonly name: string
  /** What somebody has learnt who watched it, in a sentence or two. */
  readonly teaches: string
  /** Broken before anybody comes. */
  readonly faults: readonly FaultOrder[]
  readonly load: Load
  /** Broken while the load is being worked on. */
  readonly strike?: FaultOrder
  readonly meanwhile: readonly Expectation[]
  /** The group whose dead letters are handled again after the mending. */
  readonly replay?: string
  readonly afterwards: readonly Expectation[]
}

/** As `PUT /ops/faults` takes it. */
export interface FaultOrder {
  readonly service: string
  readonly route?: string
  /** Milliseconds. */
  readonly latency?: number
  /** Shares, from 0 to 1. */
  readonly errors?: number
  readonly drop?: number
  readonly kill?: true
}

/** All of it at once. */
export type Load =
  | { readonly orders: number; readonly paymentMethod: string; readonly quantity?: number }
  | { readonly reads: number; readonly path: string }

export type Expectation =
  /** Every request of the load was answered so, each within so many milliseconds. */
  | { readonly see: 'answers'; readonly status: number; readonly within?: number }
  /** Every order that was taken ended so. */
  | { readonly see: 'orders'; readonly status: 'CONFIRMED' | 'CANCELLED'; readonly because?: string }
  /** Every one of their checkouts ended so, with these steps among those it took (`undo authorise`). */
  | { readonly see: 'sagas'; readonly status: 'completed' | 'compensated'; readonly steps?: readonly string[] }
  /** By each order's trace, services were asked these, beginning in this order. */
  | { readonly see: 'spans'; readonly inOrder: readonly string[] }
  | { readonly see: 'breaker'; readonly from: string; readonly to: string; readonly state: 'open' | 'closed' }
  /** Attempts that were made again, and calls that a breaker did not let out, on one edge. */
  | { readonly see: 'retries' | 'rejected'; readonly from: string; readonly to: string; readonly atLeast: number }
  /** What the faults did, by their own count. */
  | { readonly see: 'effect'; readonly of: 'delayed' | 'failed' | 'dropped'; readonly atLeast: number }
  | { readonly see: 'service'; readonly name: string; readonly status: 'away' | 'ready' }
  /** So many pieces fewer can be bought than before, for each order that was taken. */
  | { readonly see: 'stock'; readonly taken: number }
  /** Every customer of these orders was told. */
  | { readonly see: 'told'; readonly of: 'order.confirmed' | 'order.cancelled' }
  /** So many more dead letters than before. */
  | { readonly see: 'dead-letters'; readonly group: string; readonly more: number }
  /** A new order goes all the way to CONFIRMED, or a read is answered with 200. */
  | { readonly see: 'recovery'; readonly of: 'orders' | 'reads' }
