import { checkCount, checkSpan, refuse } from '../internal/check.js'
import { createEmitter } from '../internal/emitter.js'
import type { BusMiddleware } from '../message.js'
import type { InboxEvents } from '../outbox-events.js'
import type { Database, Queryable } from '../shapes.js'
import { checkSchema, transactOf } from './database.js'
import { onTables } from './migrated.js'
import { type MigrationsOptions, migrateSchema, migrationText } from './schema.js'
import { storableId } from './storable.js'

export interface InboxOptions {
  /** A `pg.Pool` or PGlite as it is, or anything of their shape. The inbox does not close it. */
  readonly pool: Database
  /** The schema that the tables live in, the same as an outbox's if you like. Default 'msx_messaging'. */
  readonly schema?: string | undefined
}

export interface PruneOptions {
  /** In ms. Longer than a message may be on its way: its retries, and the days until somebody redrives dead letters. */
  readonly olderThan: number
  /** How many rows one statement deletes. Default 10,000. */
  readonly batch?: number | undefined
}

/** Middleware for `createBus({ use })`. {@link inbox} makes it. */
export interface Inbox extends BusMiddleware {
  /** Returns what ends the listening. */
  on<E extends keyof InboxEvents>(event: E, listener: (event: InboxEvents[E]) => void): () => void
  /** Creates the schema (when it is missing) and the tables, as `outbox.migrate` does. Safe to repeat. */
  migrate(): Promise<void>
  /** What `migrate` runs, as SQL: on a new schema, or on one that is at version `from`. */
  migrations(options?: MigrationsOptions): string
  /** Forgets messages handled long ago, in short transactions. Returns how many. */
  prune(options: PruneOptions): Promise<number>
}

/**
 * Handles each message once per group: that it was handled is written in the same transaction as what the handler writes
 * through `context.tx`, before anything else, and the message is acknowledged after the commit. One that was handled
 * before is acknowledged without calling the handler; one that is being handled elsewhere is waited for.
 *
 * Only what goes through `context.tx` is protected. A failing handler rolls everything back and is tried again.
 *
 * @throws TypeError for a wrong option.
 * @example
 * const bus = createBus({ events, transport, source: 'order-service', use: [inbox({ pool })] })
 * bus.subscribe('stock', 'order.created', async ({ data }, { tx }) => {
 *   await tx?.query('UPDATE stock SET count = count - 1 WHERE sku = $1', [data.sku])
 * })
 */
export function inbox({ pool, schema = 'msx_messaging' }: InboxOptions): Inbox {
  const transact = transactOf('inbox', pool)
  checkSchema('inbox', schema)

  const told = createEmitter<InboxEvents>(['handled', 'duplicate'])
  const table = `"${schema}".inbox`
  const enter = `INSERT INTO ${table} (group_name, message_id) VALUES ($1, $2) ON CONFLICT DO NOTHING RETURNING 1`
  const forget = forgetStatement(schema)

  const middleware: BusMiddleware = async (message, context, next) => {
    const { signal } = message
    const outcome = await transact(
      (tx) =>
        endingWith(signal, async () => {
          // Waits while another transaction has the same message: it is handled here only if that one rolls back.
          const { rows } = await onTables(schema, tx.query(enter, [context.group, storableId(message.id)]))
          if (rows.length === 0) return 'duplicate'
          // Its time was up while it waited, and another attempt may be on its way.
          signal.throwIfAborted()

          ;(context as { tx?: Queryable }).tx = tx
          await next()
          return 'handled'
        }),
      signal,
    )
    told.emit(outcome, { group: context.group, type: message.type, id: message.id })
  }

  return Object.assign(middleware, {
    on: told.on,
    migrate: () => transact((tx) => migrateSchema(tx, schema)),
    migrations: (which?: MigrationsOptions) => migrationText(schema, which),

    async prune(options: PruneOptions) {
      if (typeof options !== 'object' || options === null) refuse('prune', 'options', options, '{ olderThan }')
      const { olderThan, batch = 10_000 } = options
      checkSpan('prune', 'olderThan', olderThan)
      checkCount('prune', 'batch', batch, 1)

      let pruned = 0
      for (;;) {
        const { rows } = await onTables(schema, pool.query(forget, [olderThan, Math.min(batch, MOST)]))
        pruned += rows.length
        if (rows.length < batch) return pruned
      }
    },
  })
}

/** Deletes what was handled longer ago than $1 ms, $2 rows at most. */
export function forgetStatement(schema: string): string {
  const table = `"${schema}".inbox`

  return `DELETE FROM ${table} WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM ${table} WHERE at < statement_timestamp() - $1::float8 * interval '1 millisecond' LIMIT $2::int)) RETURNING 1`
}

/** Of rows that one statement deletes. */
const MOST = 2 ** 31 - 1

/**
 * An attempt whose time is up, or whose bus is closed, no longer keeps its transaction open: it is rolled back, whatever
 * it still does. One that is over before it began does not begin.
 */
async function endingWith<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> {
  signal.throwIfAborted()

  let onAbort = (): void => {}
  const aborted = new Promise<never>((_, reject) => {
    onAbort = () => reject(signal.reason as Error)
    signal.addEventListener('abort', onAbort, { once: true })
  })
  try {
    return await Promise.race([work(), aborted])
  } finally {
    signal.removeEventListener('abort', onAbort)
  }
}
