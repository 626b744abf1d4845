import { checkBelow, duration, MAX_DURATION, shown, UUID } from './internal/check.js'
import { sagaConflict } from './internal/conflict.js'
import { Gather } from './internal/gather.js'
import { canonical } from './internal/json.js'
import { LONGEST } from './plan.js'
import { askerOf, askUrgently, mostConnections, transactionsOf } from './postgres/database.js'
import { hintsOf } from './postgres/hints.js'
import { birthsOf, bornOf, rowOf, type SagaColumns, transitionsOf } from './postgres/rows.js'
import { installTestClock, migrateSchema } from './postgres/schema.js'
import { statementsFor } from './postgres/statements.js'
import type { Database, Queryable } from './shapes.js'
import type { ClaimRequest, Delivered, Mail, NewSaga, SagaRow, Store, Support, Transition } from './store.js'

export type { Database, Queryable } from './shapes.js'

export interface PostgresStoreOptions {
  /**
   * A `pg.Pool` or PGlite as it is, or anything of their shape. The store does not close it. When all connections of a `pg.Pool`
   * are taken, a lease is renewed on one that is opened beside them.
   */
  readonly pool: Database
  /** The schema that the tables live in. Default 'msx_saga'. */
  readonly schema?: string | undefined
  /**
   * Whether the statements of a `pg.Pool` are prepared on its connections. A pooler that gives each transaction another
   * connection has to know of it (PgBouncer 1.21 and later do); when it does not, the store goes on without, as with false.
   * Default true.
   */
  readonly prepare?: boolean | undefined
  /**
   * Whether engines tell each other by NOTIFY that something is due which they do not take themselves, and LISTEN for it on one
   * connection of the pool. It only saves the time until the next poll. Not through a pooler. Default false.
   */
  readonly notify?: boolean | undefined
  /** For tests: `migrate` installs a clock that `advance` moves. A schema that has one keeps it. Default false. */
  readonly testClock?: boolean | undefined
}

export interface PostgresStore extends Store<Queryable> {
  readonly schema: string
  /** Creates the schema (when it is missing) and the tables. Safe to repeat, and from several processes at once. */
  migrate(): Promise<void>
  /** With `testClock`: moves the clock of this schema on by so many milliseconds, for all who use it. */
  advance?(ms: number): Promise<void>
}

/** What the database calls them. */
const UNKNOWN_TABLE = '42P01'
const UNKNOWN_SCHEMA = '3F000'

/**
 * Keeps sagas in PostgreSQL or PGlite, with the same SQL. But for `prepare` and `notify` it needs no more of a session than a
 * transaction lasts, so it works through a pooler too.
 *
 * @example
 * const store = postgresStore({ pool: new pg.Pool() })
 * await store.migrate()
 */
export function postgresStore(options: PostgresStoreOptions): PostgresStore {
  const { pool, schema = 'msx_saga', testClock = false, prepare = true, notify = false } = options
  if (typeof schema !== 'string' || !/^[a-z_][a-z0-9_]{0,62}$/.test(schema))
    throw new TypeError(`postgresStore: schema must be a name of a-z, 0-9 and _, not ${shown(schema)}`)

  const { own: transact, users } = transactionsOf(pool)
  const sql = statementsFor(schema)
  const ask = askerOf(pool, prepare)

  /** What a first run comes to that forgot the migration. */
  function missing(error: unknown): never {
    const { code } = error as { code?: unknown }
    if (code !== UNKNOWN_TABLE && code !== UNKNOWN_SCHEMA) throw error
    const text = `postgresStore: schema '${schema}' does not have its tables: call migrate() first`
    throw Object.assign(new Error(text, { cause: error }), { code })
  }

  async function rows(on: Queryable, statement: string, values: unknown[]): Promise<SagaRow[]> {
    return (await ask(on, statement, values)).rows.map((row) => rowOf(row as SagaColumns))
  }

  /** Those that were created; of the others the key is known. */
  async function insert(on: Queryable, sagas: readonly NewSaga[]): Promise<(SagaRow | undefined)[]> {
    const { now, owned, some } = (await ask(on, sql.create, birthsOf(sagas)).catch(missing)).rows[0] as {
      readonly now: number
      readonly owned: number
      readonly some: string | null
    }
    if (some === null) return sagas.map((saga) => bornOf(saga, now, owned > 0))

    const created = new Map((JSON.parse(some) as { id: string; owned: boolean }[]).map((one) => [one.id, one.owned]))
    return sagas.map((saga) => (created.has(saga.id) ? bornOf(saga, now, created.get(saga.id) === true) : undefined))
  }

  const births = new Gather<NewSaga, SagaRow | undefined>((sagas) => insert(pool, sagas), {
    weight: ({ input }) => input?.length ?? 0,
  })

  /** When the database itself said no, it may have meant another saga of the statement. */
  async function bear(saga: NewSaga): Promise<SagaRow | undefined> {
    try {
      return await births.add(saga)
    } catch (error) {
      if (!isSaidBySql(error)) throw error
      return (await insert(pool, [saga]))[0]
    }
  }

  async function create(saga: NewSaga, tx?: Queryable): Promise<{ saga: SagaRow; created: boolean }> {
    const created = tx === undefined ? await bear(saga) : (await insert(tx, [saga]))[0]
    if (created) return { saga: created, created: true }

    const [known] = await rows(tx ?? pool, sql.findByKey, [saga.name, saga.key])
    // Between the two statements the saga with this key was deleted: the key is free again.
    if (!known) return create(saga, tx)
    if (canonical(known.input) !== canonical(saga.input)) throw sagaConflict(known)
    return { saga: known, created: false }
  }

  async function take(
    on: Queryable,
    request: ClaimRequest,
    can: readonly Support[],
    limit: number,
  ): Promise<SagaRow[]> {
    const { worker, holding } = request
    const able = JSON.stringify(can.map(({ name, version }) => ({ name, version })))
    return rows(on, sql.claim, [worker, able, limit, holding ? JSON.stringify(holding) : null])
  }

  /** Counting and claiming are one thing: another worker that wants sagas of this name waits for both. */
  function claimLimited(
    request: ClaimRequest,
    name: string,
    can: readonly Support[],
    limit: number,
  ): Promise<SagaRow[]> {
    const most = Math.min(...can.map(({ maxRunning }) => maxRunning as number))
    return transact(async (tx) => {
      await tx.query(sql.limit, [`${schema}/${name}`])
      const { count } = (await tx.query(sql.running, [name])).rows[0] as { count: number }
      return count < most ? take(tx, { ...request, holding: undefined }, can, Math.min(limit, most - count)) : []
    })
  }

  async function apply(on: Queryable, batch: readonly Transition[]): Promise<ReadonlySet<string>> {
    const far = batch.some(reachesFar)
    const [answer] = (await ask(on, far ? sql.commitFar : sql.commit, transitionsOf(batch))).rows as {
      readonly count: number
      readonly ids: string | null
      readonly returned?: string | null
    }[]
    if (answer?.returned) {
      for (const box of JSON.parse(answer.returned) as Pick<Mail, 'event' | 'key'>[]) {
        await openMailbox(on, box)
        await on.query(sql.handOn, [box.event, box.key])
      }
    }
    return new Set(
      answer?.count === batch.length ? batch.map(({ id }) => id) : (JSON.parse(answer?.ids ?? '[]') as string[]),
    )
  }

  /** Until the transaction ends, what is in this mailbox is ours alone to read and to change. */
  async function openMailbox(tx: Queryable, { event, key }: Pick<Mail, 'event' | 'key'>): Promise<void> {
    const locked = await tx.query(sql.mailbox, [JSON.stringify([schema, event, key])])
    const { isolation } = locked.rows[0] as { isolation: string }
    if (isolation !== 'read committed')
      throw new TypeError(`send: tx must be of isolation READ COMMITTED, not ${isolation.toUpperCase()}`)
  }

  async function deliver(tx: Queryable, { event, key, messageId, payload }: Mail): Promise<Delivered> {
    await openMailbox(tx, { event, key })
    if (messageId !== undefined) {
      const known = await tx.query(sql.isDuplicate, [event, key, messageId])
      if (known.rows.length > 0) return 'duplicate'
    }
    const { rows: letters } = await tx.query(sql.deliver, [event, key, messageId ?? null, payload ?? null])
    return letters[0]?.delivered ? 'delivered' : 'buffered'
  }

  return {
    transactional: true,
    schema,
    ...(notify && { hints: hintsOf(listenable(pool), schema) }),
    create,
    ...(testClock && {
      async advance(ms: number): Promise<void> {
        duration('advance', ms, Number.NaN, 0, LONGEST)
        await pool.query(sql.advance, [ms])
      },
    }),
    migrate: () =>
      transact(async (tx) => {
        await migrateSchema(tx, schema)
        if (testClock) await installTestClock(tx, schema)
      }),

    async claim(request) {
      const free = request.can.filter(({ maxRunning }) => maxRunning === undefined)
      const claimed = await take(pool, request, free, request.limit)
      for (const [name, can] of limitedOf(request.can)) {
        if (claimed.length >= request.limit) break
        claimed.push(...(await claimLimited(request, name, can, request.limit - claimed.length)))
      }
      return claimed
    },

    async commit(batch) {
      return batch.some(reachesFar) ? transact((tx) => apply(tx, batch)) : apply(pool, batch)
    },

    async park({ can, overdue, limit }) {
      const able = JSON.stringify(can.map(({ name, version }) => ({ name, version })))
      return (await ask(pool, sql.park, [able, overdue, limit])).rows
    },

    commitWith({ id, fence, rev }, run, idle) {
      return users(async (tx) => {
        const limit = idle === undefined ? null : String(Math.min(Math.ceil(idle), MAX_DURATION))
        const held = await tx.query(sql.lock, [id, String(fence), String(rev), limit])
        if (held.rows.length === 0) return false

        const transition = await run(tx)
        const accepted = await apply(tx, [transition])
        if (accepted.size === 0) throw new Error(`saga ${id} changed while it was locked`)
        return true
      })
    },

    spawn(parent, child) {
      return transact(async (tx) => {
        if ((await apply(tx, [parent])).size === 0) return false

        await create(child, tx)
        return true
      })
    },

    receive(id, wait, run) {
      const { event, key, step } = wait
      return transact(async (tx) => {
        await openMailbox(tx, wait)
        const mail = (await tx.query(sql.look, [event, key, id, step])).rows[0]
        const transition = run(mail && { payload: mail.payload ?? undefined })
        if (transition && (await apply(tx, [transition])).size === 0) return false

        if (mail) await tx.query(sql.take, [mail.id, id, step])
        const { record } = transition ?? {}
        const waitsOn = !mail && (record === undefined || (record.name === step && record.outcome === 'started'))
        if (waitsOn) await tx.query(sql.enrol, [id, step, event, key])
        else await tx.query(sql.strike, [id, step])
        return true
      })
    },

    deliver(mail, tx) {
      return tx === undefined ? transact((own) => deliver(own, mail)) : deliver(tx, mail)
    },

    async prune({ finishedBefore, limit }) {
      const pruned = await pool.query(sql.prune, [finishedBefore, limit])
      await pool.query(sql.pruneMail, [finishedBefore, limit])
      return (pruned.rows[0] as { count: number }).count
    },

    async load(id) {
      return UUID.test(id) ? (await rows(pool, sql.load, [id]))[0] : undefined
    },

    async list({ status, name, tags, startedAfter, startedBefore, below, limit }) {
      checkBelow(below)
      // Not prepared: which of the filters there are decides on the plan.
      const { rows: found } = await pool.query(sql.list, [
        status ?? null,
        name ?? null,
        tags ? JSON.stringify(tags) : null,
        startedAfter ?? null,
        startedBefore ?? null,
        below ?? null,
        limit,
      ])
      return found.map((row) => rowOf(row as SagaColumns))
    },

    async describe(definitions) {
      await pool.query(sql.describe, [JSON.stringify(definitions)]).catch(missing)
    },

    async outline(name, version) {
      return (await pool.query(sql.outline, [name, version])).rows[0]?.outline as string | undefined
    },

    async enlist(worker, ttl) {
      await askUrgently(pool, sql.enlist, [worker, ttl]).catch(missing)
    },

    async beat(worker, ttl) {
      return (await askUrgently(pool, sql.beat, [worker, ttl])).rows.length > 0
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

function listenable(pool: Database): Parameters<typeof hintsOf>[0] {
  if (!('connect' in pool && typeof pool.connect === 'function'))
    throw new TypeError('postgresStore: notify needs a pg.Pool, whose connections can LISTEN')
  if (mostConnections(pool) === 1)
    throw new TypeError('postgresStore: notify needs a pool of at least 2 connections: one of them only LISTENs')
  return pool
}

function reachesFar({ unwait, parent, lock }: Transition): boolean {
  return unwait === true || parent !== undefined || lock !== undefined
}

/** Definitions with a limit, by name and in one order, so that two workers lock in one. */
function limitedOf(can: readonly Support[]): [string, Support[]][] {
  const limited = new Map<string, Support[]>()
  for (const support of can)
    if (support.maxRunning !== undefined) limited.set(support.name, [...(limited.get(support.name) ?? []), support])
  return [...limited].sort(([a], [b]) => (a < b ? -1 : 1))
}

/** An error with a SQLSTATE: the statement was refused, and nothing of it is there. */
function isSaidBySql(error: unknown): boolean {
  const code = (error as { code?: unknown } | null)?.code
  return typeof code === 'string' && /^[0-9A-Z]{5}$/.test(code)
}
