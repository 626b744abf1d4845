import { shown } from '../internal/check.js'
import type { Database, Queryable } from '../shapes.js'

/** Runs `run` in one transaction; what it was given refuses to work once that transaction is over. */
export type Transact = <T>(run: (tx: Queryable) => Promise<T>) => Promise<T>

export interface Transactions {
  /** For what the store does by itself: READ COMMITTED, whatever the database has for its default. */
  readonly own: Transact
  /** For the steps of users, who may want the default that they have set. */
  readonly users: Transact
}

/** Tells a pool (`connect`) from a database with one connection (`transaction`). */
export function transactionsOf(pool: Database): Transactions {
  if (typeof pool?.query !== 'function')
    throw new TypeError(`postgresStore: pool must be a pg.Pool or PGlite, not ${shown(pool)}`)
  if ('transaction' in pool && typeof pool.transaction === 'function') {
    const transact: Transact = (run) => pool.transaction((tx) => lent(tx, run))
    return { own: transact, users: transact }
  }
  if ('connect' in pool && typeof pool.connect === 'function') {
    const connect = connectorOf(pool)
    return {
      own: (run) => pooled(connect, 'BEGIN ISOLATION LEVEL READ COMMITTED', run),
      users: (run) => pooled(connect, 'BEGIN', run),
    }
  }

  throw new TypeError('postgresStore: pool must have connect() (pg.Pool) or transaction() (PGlite)')
}

/**
 * A pool of pg hands a connection over in the middle of what it reads from it. When the next thing it reads is that the server
 * ends this connection, that is an event before a promise is followed up: only who listens at once hears of it, and with nobody
 * listening the process ends.
 */
export function connectorOf<C>(pool: Queryable & { connect(): Promise<C> }): () => Promise<C> {
  if (!isPgPool(pool)) return () => pool.connect()

  const { connect } = pool as unknown as { connect(taken: (error: unknown, client?: C) => void): void }
  return () =>
    new Promise((resolve, reject) => {
      connect.call(pool, (error, client) => {
        if (!client) return reject(error as Error)
        const { on } = client as { on?(event: 'error', listener: () => void): unknown }
        on?.call(client, 'error', ignore)
        resolve(client)
      })
    })
}

/** Asks `on` with one of the statements of the store. */
export type Ask = (on: Queryable, statement: string, values: unknown[]) => ReturnType<Queryable['query']>

/** What a pooler says that does not know the statement, or knows another one by its name: nothing was done. */
const UNPREPARED: ReadonlySet<unknown> = new Set(['26000', '42P05'])

/**
 * Asks a `pg.Pool` and its clients by name: each connection parses and plans a statement once. Others are asked by text. The
 * name is made of the text, so that the same name is the same statement, whoever else uses a connection of the pooler.
 */
export function askerOf(pool: Database, prepare: boolean): Ask {
  let named = prepare && isPgPool(pool)
  const names = new Map<string, string>()
  const nameOf = (text: string): string => {
    const known = names.get(text) ?? `msx_saga_${hash(text, 0x811c9dc5)}${hash(text, 0x9e3779b9)}`
    names.set(text, known)
    return known
  }

  return async (on, text, values) => {
    if (!named) return on.query(text, values)
    try {
      return await (on as unknown as PgQueryable).query({ name: nameOf(text), text, values })
    } catch (error) {
      if (!UNPREPARED.has((error as { code?: unknown } | null)?.code)) throw error
      named = false
      // In a transaction that is over now; it is tried again as a whole.
      if (on !== pool) throw error
      return on.query(text, values)
    }
  }
}

interface PgQueryable {
  query(config: { name: string; text: string; values: unknown[] }): ReturnType<Queryable['query']>
}

/** By the counters that a pool of pg has: whatever else has `connect` may know only text. */
function isPgPool(pool: Queryable): boolean {
  const { totalCount, waitingCount } = pool as Queryable & { totalCount?: unknown; waitingCount?: unknown }
  return typeof totalCount === 'number' && typeof waitingCount === 'number'
}

/** FNV-1a, 32 bits. */
function hash(text: string, seed: number): string {
  let value = seed
  for (let i = 0; i < text.length; i++) value = Math.imul(value ^ text.charCodeAt(i), 0x01000193) >>> 0
  return value.toString(16).padStart(8, '0')
}

interface Client extends Queryable {
  release(error?: Error | boolean): void
  on?(event: 'error', listener: () => void): unknown
  off?(event: 'error', listener: () => void): unknown
}

/** The connections that a pool of pg may have; undefined for others. */
export function mostConnections(pool: Database): number | undefined {
  const { max } = (pool as { options?: { max?: unknown } }).options ?? {}
  return isPgPool(pool) && typeof max === 'number' ? max : undefined
}

interface Spare extends Queryable {
  connect(): Promise<unknown>
  end(): Promise<void>
  on(event: 'error', listener: () => void): unknown
}

/**
 * Asks what cannot wait. When all connections of a pool of pg are taken, by steps that take long or by others who use it, a
 * connection beside them is opened for this one question: a lease that is not renewed in time costs more than that.
 */
export async function askUrgently(pool: Database, text: string, values: unknown[]): ReturnType<Queryable['query']> {
  const spare = isExhausted(pool) ? await connectBeside(pool) : undefined
  if (!spare) return pool.query(text, values)
  try {
    return await spare.query(text, values)
  } finally {
    spare.end().catch(ignore)
  }
}

function isExhausted(pool: Database): boolean {
  const most = mostConnections(pool)
  const { totalCount, idleCount } = pool as unknown as { totalCount: number; idleCount: number }
  return most !== undefined && idleCount === 0 && totalCount >= most
}

/** Undefined where there is no room for another connection: then it has to wait. */
async function connectBeside(pool: Database): Promise<Spare | undefined> {
  const { Client, options } = pool as unknown as { Client?: new (options: object) => Spare; options: object }
  if (!Client) return undefined

  const spare = new Client(options)
  spare.on('error', ignore)
  try {
    await spare.connect()
    return spare
  } catch {
    spare.end().catch(ignore)
    return undefined
  }
}

async function pooled<T>(
  connect: () => Promise<Client>,
  begin: string,
  run: (tx: Queryable) => Promise<T>,
): Promise<T> {
  const client = await connect()
  // A connection that breaks while a step works on something else is an event that would end the process if nobody
  // listened (a pool listens to idle ones only). The next query on it fails, which is how we hear of it.
  client.off?.('error', ignore)
  client.on?.('error', ignore)
  try {
    await client.query(begin)
    const result = await lent(client, run)
    await client.query('COMMIT')
    client.off?.('error', ignore)
    client.release()
    return result
  } catch (error) {
    // Queries of a step that ran out of time may still be queued on this connection: closing it rolls back at once.
    client.release(true)
    throw error
  }
}

function ignore(): void {}

/** Work that ignored its timeout must not write through a connection that others use by now. */
async function lent<T>(tx: Queryable, run: (tx: Queryable) => Promise<T>): Promise<T> {
  let over = false
  const guarded: Queryable = new Proxy(tx, {
    get(target, property) {
      const value: unknown = Reflect.get(target, property, target)
      if (typeof value !== 'function') return value
      return (...args: unknown[]) => {
        if (over) return Promise.reject(new Error('this transaction is over'))
        return Reflect.apply(value, target, args)
      }
    },
  })

  try {
    return await run(guarded)
  } finally {
    over = true
  }
}
