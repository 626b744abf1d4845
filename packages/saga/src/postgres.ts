import { MAX_DURATION, shown } from './internal/check.js'
import { sagaConflict } from './internal/conflict.js'
import { canonical } from './internal/json.js'
import { transactOf } from './postgres/database.js'
import { rowOf, type SagaColumns, wireOf } from './postgres/rows.js'
import { migrateSchema } from './postgres/schema.js'
import { statementsFor } from './postgres/statements.js'
import type { Database, Queryable } from './shapes.js'
import type { NewSaga, SagaRow, Store } from './store.js'

export type { Database, Queryable } from './shapes.js'

export interface PostgresStoreOptions {
  /** A `pg.Pool` or PGlite as it is, or anything of their shape. The store does not close it. */
  readonly pool: Database
  /** The schema that the tables live in. Default 'msx_saga'. */
  readonly schema?: string | undefined
}

export interface PostgresStore extends Store<Queryable> {
  /** Creates the schema (when it is missing) and the tables. Safe to repeat, and from several processes at once. */
  migrate(): Promise<void>
}

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i

/**
 * Keeps sagas in PostgreSQL or PGlite, with the same SQL. It needs no session state, no LISTEN/NOTIFY and no advisory
 * session lock, so it works through a pooler too.
 *
 * @example
 * const store = postgresStore({ pool: new pg.Pool() })
 * await store.migrate()
 */
export function postgresStore(options: PostgresStoreOptions): PostgresStore {
  const { pool, schema = 'msx_saga' } = options
  if (typeof schema !== 'string' || !/^[a-z_][a-z0-9_]{0,62}$/.test(schema))
    throw new TypeError(`postgresStore: schema must be a name of a-z, 0-9 and _, not ${shown(schema)}`)

  const transact = transactOf(pool)
  const sql = statementsFor(schema)

  async function rows(on: Queryable, statement: string, values: unknown[]): Promise<SagaRow[]> {
    return (await on.query(statement, values)).rows.map((row) => rowOf(row as SagaColumns))
  }

  async function create(saga: NewSaga, tx?: Queryable): Promise<{ saga: SagaRow; created: boolean }> {
    const on = tx ?? pool
    const [created] = await rows(on, sql.create, [
      saga.id,
      saga.name,
      saga.version,
      saga.shape,
      saga.key ?? null,
      saga.input ?? null,
      JSON.stringify(saga.tags),
      saga.progress.status,
      saga.worker ?? null,
      saga.delay ?? 0,
      saga.deadline ?? null,
    ])
    if (created) return { saga: created, created: true }

    const [known] = await rows(on, sql.findByKey, [saga.name, saga.key])
    // Between the two statements the saga with this key was deleted: the key is free again.
    if (!known) return create(saga, tx)
    if (canonical(known.input) !== canonical(saga.input)) throw sagaConflict(known)
    return { saga: known, created: false }
  }

  return {
    transactional: true,
    create,
    migrate: () => transact((tx) => migrateSchema(tx, schema)),

    claim({ worker, can, limit, holding }) {
      const able = JSON.stringify(can.map(({ name, version }) => ({ name, version })))
      return rows(pool, sql.claim, [worker, able, limit, holding ? JSON.stringify(holding) : null])
    },

    async commit(batch) {
      const accepted = await pool.query(sql.commit, [JSON.stringify(batch.map(wireOf))])
      return new Set(accepted.rows.map((row) => row.id as string))
    },

    commitWith({ id, fence, rev }, run, idle) {
      return transact(async (tx) => {
        const limit = idle === undefined ? null : String(Math.min(Math.ceil(idle), MAX_DURATION))
        const held = await tx.query(sql.lock, [id, String(fence), String(rev), limit])
        if (held.rows.length === 0) return false

        const transition = await run(tx)
        const accepted = await tx.query(sql.commit, [JSON.stringify([wireOf(transition)])])
        if (accepted.rows.length === 0) throw new Error(`saga ${id} changed while it was locked`)
        return true
      })
    },

    async load(id) {
      return UUID.test(id) ? (await rows(pool, sql.load, [id]))[0] : undefined
    },

    async list({ status, name, tags, startedAfter, startedBefore, below, limit }) {
      if (below !== undefined && !UUID.test(below))
        throw new TypeError(`list: after must be a page's next, not '${below}'`)
      return rows(pool, sql.list, [
        status ?? null,
        name ?? null,
        tags ? JSON.stringify(tags) : null,
        startedAfter ?? null,
        startedBefore ?? null,
        below ?? null,
        limit,
      ])
    },

    async enlist(worker, ttl) {
      await pool.query(sql.enlist, [worker, ttl])
    },

    async beat(worker, ttl) {
      return (await pool.query(sql.beat, [worker, ttl])).rows.length > 0
    },

    async sweep() {
      return (await pool.query(sql.sweep)).rows.length
    },

    async leave(worker) {
      await pool.query(sql.leave, [worker])
      await pool.query(sql.quit, [worker])
    },
  }
}
