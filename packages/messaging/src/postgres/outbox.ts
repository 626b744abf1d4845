import type { Bus } from '../bus.js'
import type { Catalogue, EventName, Input, Schemas } from '../catalogue.js'
import { isMessagingError } from '../errors.js'
import { checkCount, checkSpan, refuse } from '../internal/check.js'
import { createEncoder, type Prepared } from '../internal/encode.js'
import { applicationHeaders } from '../internal/envelope.js'
import { FORWARD, type Forward } from '../internal/forward.js'
import { Watch } from '../internal/watch.js'
import type { MessageHeaders, PublishOptions } from '../message.js'
import type { OutboxStats } from '../outbox-events.js'
import type { Database, Queryable } from '../shapes.js'
import type { Telemetry } from '../telemetry.js'
import type { WireHeaders } from '../transport.js'
import { checkSchema, transactOf } from './database.js'
import { onTables } from './migrated.js'
import { OutboxRelay, type Relay, type RelayOptions } from './relay.js'
import { rowOf } from './row.js'
import { type MigrationsOptions, migrateSchema, migrationText } from './schema.js'
import { statementsFor } from './statements.js'
import { checkStorable } from './storable.js'

export interface OutboxOptions<S extends Schemas> {
  readonly events: Catalogue<S>
  /** A `pg.Pool` or PGlite as it is, or anything of their shape. The outbox does not close it. */
  readonly pool: Database
  /** The schema that the tables live in. Default 'msx_messaging'. */
  readonly schema?: string | undefined
  /**
   * Wake relays in other processes with NOTIFY instead of letting them find out by polling. Default false: it takes a
   * lock on the whole database at each commit, and does not pass poolers that share connections between transactions.
   */
  readonly notify?: boolean | undefined
  /** Sees every event that is written, and what it adds (the trace it belongs to) is kept in the row. Default none. */
  readonly telemetry?: Telemetry | undefined
}

/**
 * Options of an event that waits in an outbox: those of `bus.publish` without `signal` and `timeout`. The database waits
 * for the end of a `delay`: it is exact, whatever the broker can do, and may be as long as 100 years.
 */
export type OutboxPublishOptions = Omit<PublishOptions, 'signal' | 'timeout'>

/** One item of {@link Outbox.publishMany}. */
export type OutboxItem<S extends Schemas> = {
  [K in EventName<S>]: {
    readonly type: K
    readonly data: Input<S, K>
    readonly options?: OutboxPublishOptions | undefined
  }
}[EventName<S>]

/** An event that could not be published and waits for {@link Outbox.retry}. */
export interface ParkedRow {
  /** Of the row: what `retry` takes. */
  readonly id: string
  /** Of the message. */
  readonly messageId: string
  readonly type: string
  readonly key?: string | undefined
  /** The JSON as it would travel. */
  readonly data: unknown
  readonly headers: MessageHeaders
  /** How many attempts to publish it failed. */
  readonly attempts: number
  /** Why it is here: a code of the README's table. */
  readonly code: string
  readonly reason: string
  /** When it was written. */
  readonly at: Date
  readonly failedAt: Date
}

/** Which part of the parked rows. */
export interface ParkedPage {
  /** At most so many. Default 1,000. */
  readonly limit?: number | undefined
  /** The `id` of a row: only those that were written after it. Default: from the first one on. */
  readonly after?: string | number | bigint | undefined
}

/** Events that are written together with what they tell of. {@link createOutbox} makes it. */
export interface Outbox<S extends Schemas> {
  /** Creates the schema (when it is missing) and the tables. Safe to repeat, and from several processes at once. */
  migrate(): Promise<void>
  /** What `migrate` runs, as SQL: on a new schema, or on one that is at version `from`. */
  migrations(options?: MigrationsOptions): string
  /**
   * Writes an event in the caller's transaction: it is published when, and only when, that commits. One statement.
   * Rejects with MSX_VALIDATION, MSX_NOT_JSON or MSX_UNKNOWN_EVENT without writing it.
   *
   * @param tx The connection that the transaction is open on.
   */
  publish<K extends EventName<S>>(
    tx: Queryable,
    type: K,
    data: Input<S, K>,
    options?: OutboxPublishOptions,
  ): Promise<void>
  /** Writes any number of events with one statement. Nothing is written when one of them is not valid. */
  publishMany(tx: Queryable, batch: Iterable<OutboxItem<S>>): Promise<void>
  /** Runs `run` in a transaction of its own, and wakes this process's relays when it is committed. */
  transaction<T>(run: (tx: Queryable) => Promise<T>): Promise<T>
  /** Makes this process's relays look at once: for after a commit of one's own. They look by themselves a moment later. */
  wake(): void
  /** Starts to publish what is written. Any number of relays, in any number of processes, share the work. */
  relay(bus: Bus<S>, options?: RelayOptions): Relay
  /** What could not be published, oldest first: at most `limit` (default 1,000), those behind the row `after`. */
  parked(options?: ParkedPage): Promise<readonly ParkedRow[]>
  /** Has parked rows published again, each at its place in the order of its key. Returns how many it found. */
  retry(ids: readonly (string | number | bigint)[]): Promise<number>
  stats(): Promise<OutboxStats>
}

interface Item {
  readonly type: string
  readonly data: unknown
  readonly options?: OutboxPublishOptions | undefined
}

/**
 * Makes an outbox on PostgreSQL or PGlite: an event and the rows that it tells of are committed together or not at all,
 * and relays see to it that the broker gets each committed event at least once, in the order of its key.
 *
 * @throws TypeError for a wrong option.
 * @example
 * const outbox = createOutbox({ events, pool: new pg.Pool() })
 * await outbox.migrate()
 * const relay = outbox.relay(bus)
 * await outbox.transaction(async (tx) => {
 *   await tx.query('INSERT INTO orders (id) VALUES ($1)', ['o-1'])
 *   await outbox.publish(tx, 'order.created', { orderId: 'o-1' })
 * })
 */
export function createOutbox<S extends Schemas>(options: OutboxOptions<S>): Outbox<S> {
  const { events, pool, schema = 'msx_messaging', notify = false, telemetry } = options
  if (typeof events?.events !== 'object') refuse('createOutbox', 'events', events, 'what defineEvents returns')
  const transact = transactOf('createOutbox', pool)
  checkSchema('createOutbox', schema)
  if (typeof notify !== 'boolean') refuse('createOutbox', 'notify', notify, 'true or false')

  const catalogue = events as unknown as Catalogue
  const sql = statementsFor(schema, notify)
  // Whose bus it goes out by is known to the relay.
  const encoder = createEncoder(catalogue, '', true)
  const watch = telemetry && new Watch(telemetry, { system: 'postgresql' }, Object.keys(catalogue.events))
  const relays = new Set<OutboxRelay>()
  const taken = new Set<number>()

  async function write(tx: Queryable, prepared: readonly Prepared[]): Promise<void> {
    if (prepared.length === 0) return

    await onTables(schema, insert(tx, prepared, []))
    for (const relay of relays) relay.expect()
  }

  /** All of them, each with what the telemetry adds to it. */
  async function insert(tx: Queryable, prepared: readonly Prepared[], ready: Prepared[]): Promise<void> {
    const next = prepared[ready.length]
    if (watch === undefined || next === undefined) {
      await tx.query(sql.insert, [JSON.stringify((watch === undefined ? prepared : ready).map(rowOf))])
      return
    }
    await watch.send(next.wire, 'outbox', (wire) => {
      ready.push({ ...next, wire })
      return insert(tx, prepared, ready)
    })
  }

  /** The delay is no matter of the bus, which has to keep a timer for it. */
  async function encode(type: string, data: unknown, { delay, ...terms }: OutboxPublishOptions): Promise<Prepared> {
    if (delay !== undefined) checkSpan(`publish '${type}'`, 'delay', delay)

    const prepared = await encoder.encode(type, data, terms)
    checkStorable(prepared.wire)
    return { ...prepared, delay }
  }

  async function publishMany(tx: Queryable, batch: Iterable<OutboxItem<S>>): Promise<void> {
    checkTransaction(tx)
    const items = [...(batch as Iterable<Item>)]
    await write(tx, await Promise.all(items.map(encodeItem)))
  }

  async function encodeItem({ type, data, options: terms = {} }: Item, index: number): Promise<Prepared> {
    try {
      return await encode(type, data, terms)
    } catch (error) {
      if (isMessagingError(error)) error.message = `item ${index} of the batch: ${error.message}`
      throw error
    }
  }

  function ask(statement: string, values?: unknown[]): ReturnType<Queryable['query']> {
    return onTables(schema, pool.query(statement, values))
  }

  function wake(): void {
    for (const relay of relays) relay.wake()
  }

  return {
    migrate: () => transact((tx) => migrateSchema(tx, schema)),
    migrations: (which) => migrationText(schema, which),

    async publish(tx, type, data, terms = {}) {
      checkTransaction(tx)
      await write(tx, [await encode(type, data, terms)])
    },

    publishMany,
    wake,

    async transaction(run) {
      const result = await transact(run)
      wake()
      return result
    },

    relay(bus, terms = {}) {
      const forward = (bus as unknown as { readonly [FORWARD]?: Forward })?.[FORWARD]
      if (typeof forward !== 'function') refuse('relay', 'bus', bus, 'what createBus returns')

      const relay: OutboxRelay = new OutboxRelay({
        pool,
        schema,
        sql,
        catalogue,
        forward,
        source: bus.source,
        taken,
        listens: notify,
        options: terms,
        onClosed: () => relays.delete(relay),
      })
      relays.add(relay)
      return relay
    },

    async parked(page = {}) {
      if (typeof page !== 'object' || page === null) refuse('parked', 'options', page, 'an object')
      const { limit = 1_000, after = 0 } = page
      checkCount('parked', 'limit', limit, 1)

      const { rows } = await ask(sql.parked, [Math.min(limit, MOST), readId('parked', 'after', after)])
      return rows.map(readParked)
    },

    async retry(ids) {
      if (!Array.isArray(ids)) refuse('retry', 'ids', ids, 'an array of ids of parked rows')

      const { rows } = await ask(sql.retry, [JSON.stringify(ids.map((id) => readId('retry', 'ids', id)))])
      wake()
      return rows.length
    },

    async stats() {
      return (await ask(sql.stats)).rows[0] as OutboxStats
    },
  }
}

function checkTransaction(tx: Queryable): void {
  if (typeof tx?.query !== 'function') refuse('publish', 'tx', tx, 'the connection that the transaction is open on')
}

/** Of rows that one statement answers with. */
const MOST = 2 ** 31 - 1

const HIGHEST_ID = 2n ** 63n - 1n

function readId(where: string, option: string, id: unknown): string {
  const isText = typeof id === 'string' && /^\d{1,19}$/.test(id)
  const isNumber = typeof id === 'bigint' || Number.isSafeInteger(id)
  if ((isText || isNumber) && BigInt(id as string) >= 0n && BigInt(id as string) <= HIGHEST_ID) return String(id)

  refuse(where, option, id, 'ids of parked rows')
}

interface ParkedColumns {
  readonly id: string
  readonly message_id: string
  readonly type: string
  readonly key: string | null
  readonly body: string
  readonly headers: WireHeaders
  readonly attempts: number
  readonly code: string
  readonly reason: string
  readonly at: number
  readonly failed_at: number
}

function readParked(row: ParkedColumns): ParkedRow {
  return {
    id: row.id,
    messageId: row.message_id,
    type: row.type,
    key: row.key ?? undefined,
    data: JSON.parse(row.body) as unknown,
    headers: applicationHeaders(row.headers),
    attempts: row.attempts,
    code: row.code,
    reason: row.reason,
    at: new Date(row.at),
    failedAt: new Date(row.failed_at),
  }
}
