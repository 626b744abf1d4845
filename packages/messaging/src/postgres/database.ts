import { refuse } from '../internal/check.js'
import type { Database, Queryable } from '../shapes.js'

/**
 * Runs `run` in one transaction; what it was given refuses to work once that transaction is over. Not begun at all when
 * the signal is aborted by the time there is a connection.
 */
export type Transact = <T>(run: (tx: Queryable) => Promise<T>, signal?: AbortSignal) => Promise<T>

/** A connection of a pool, as long as it is held. */
export interface Client extends Queryable {
  release(error?: Error | boolean): void
  on?(event: string, listener: (argument?: unknown) => void): unknown
  off?(event: string, listener: (argument?: unknown) => void): unknown
}

/** How to get a connection of one's own; undefined for a database that has one connection for everybody. */
export function connectorOf(pool: Database): (() => Promise<Client>) | undefined {
  if ('transaction' in pool && typeof pool.transaction === 'function') return undefined
  return async () => {
    const client = await connectTo(pool as Pool)
    client.off?.('error', ignore)
    return client
  }
}

type Pool = { connect(): Promise<Client>; readonly totalCount?: unknown; readonly waitingCount?: unknown }

/**
 * A pool of pg (known by its counters) hands a connection over in the middle of what it reads from it. When the next thing it reads
 * is that the server ends this connection, that is an event before a promise is followed up: only who listens at once hears of
 * it, and with nobody listening the process ends.
 */
function connectTo(pool: Pool): Promise<Client> {
  if (typeof pool.totalCount !== 'number' || typeof pool.waitingCount !== 'number') return pool.connect()

  const { connect } = pool as unknown as { connect(taken: (error: unknown, client?: Client) => void): void }
  return new Promise((resolve, reject) => {
    connect.call(pool, (error, client) => {
      if (!client) return reject(error as Error)
      client.on?.('error', ignore)
      resolve(client)
    })
  })
}

/** Tells a pool (`connect`) from a database with one connection (`transaction`). */
export function transactOf(where: string, pool: Database): Transact {
  if (typeof pool?.query !== 'function') refuse(where, 'pool', pool, 'a pg.Pool or PGlite')
  if ('transaction' in pool && typeof pool.transaction === 'function') {
    return (run) => pool.transaction((tx) => lent(tx, run))
  }
  if ('connect' in pool && typeof pool.connect === 'function')
    return (run, signal) => pooled(() => connectTo(pool as Pool), run, signal)

  refuse(where, 'pool', pool, 'something with connect() (pg.Pool) or transaction() (PGlite)')
}

export function checkSchema(where: string, schema: unknown): asserts schema is string {
  if (typeof schema === 'string' && /^(?!pg_)[a-z_][a-z0-9_]{0,62}$/.test(schema)) return

  refuse(where, 'schema', schema, 'a name of a-z, 0-9 and _, at most 63 characters and not beginning with pg_')
}

async function pooled<T>(
  connect: () => Promise<Client>,
  run: (tx: Queryable) => Promise<T>,
  signal: AbortSignal | undefined,
): Promise<T> {
  const client = await connect()
  client.off?.('error', ignore)
  if (signal?.aborted) {
    client.release()
    throw signal.reason
  }
  // A connection that breaks while a handler works on something else is an event that would end the process if nobody
  // listened (a pool listens to idle ones only). The next query on it fails, which is how we hear of it.
  client.on?.('error', ignore)
  try {
    await client.query('BEGIN')
    const result = await lent(client, run)
    await commit(client)
    client.off?.('error', ignore)
    client.release()
    return result
  } catch (error) {
    // Queries of a handler that ran out of time may still be queued on this connection: closing it rolls back at once.
    client.release(true)
    throw error
  }
}

/** After a statement failed, COMMIT rolls back and reports success: nothing but the tag of its answer tells. */
async function commit(client: Client): Promise<void> {
  const { command } = (await client.query('COMMIT')) as { readonly command?: string }
  if (command !== 'ROLLBACK') return

  throw new Error(
    'the transaction was rolled back, as a statement in it failed and its error was not thrown on: throw it, or set a savepoint before that statement',
  )
}

function ignore(): void {}

const ENDS_TRANSACTION = /^\s*(?:commit|end|abort|rollback(?!\s+(?:(?:work|transaction)\s+)?to\b))\b/i

/** After such a statement the rest would be written outside of the transaction. */
function endsTransaction(statement: unknown): boolean {
  const text = typeof statement === 'string' ? statement : (statement as { readonly text?: unknown } | undefined)?.text

  return typeof text === 'string' && ENDS_TRANSACTION.test(text)
}

/** Work that ignored its timeout must not write through a connection that others use by now. */
async function lent<T>(tx: Queryable, run: (tx: Queryable) => Promise<T>): Promise<T> {
  let over = false
  const guarded: Queryable = new Proxy(tx, {
    get(target, property) {
      const value: unknown = Reflect.get(target, property, target)
      if (typeof value !== 'function') return value
      return (...args: unknown[]) => {
        if (over) return Promise.reject(new Error('this transaction is over'))
        if (property === 'query' && endsTransaction(args[0])) {
          return Promise.reject(
            new Error('who opened this transaction ends it: return to commit, throw to roll it back'),
          )
        }
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
