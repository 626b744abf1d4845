import type { Database, Queryable } from '../shapes.js'
import { type Client, connectorOf } from './database.js'
import { BUCKETS } from './statements.js'

/** A relay's way to the database, and its claim to buckets, which ends with it. */
export interface Session extends Queryable {
  /** Of the given buckets, tries to get as many as wanted. */
  lock(buckets: readonly number[], wanted: number): Promise<readonly number[]>
  unlock(bucket: number): Promise<void>
  /** How many relays there are, this one included. */
  relays(): Promise<number>
  /** Gives everything back. Never rejects. */
  close(): Promise<void>
}

export interface SessionTerms {
  readonly pool: Database
  readonly schema: string
  /** Where relays on a database with one connection tell each other what they hold. */
  readonly taken: Set<number>
  /** The channel to listen on, if any. */
  readonly channel: string | undefined
  readonly onNotice: () => void
  readonly onLost: (error: unknown) => void
}

/** The lock that each relay shares with all others, so that they can be counted. */
const PRESENCE = BUCKETS

/**
 * A table that is empty whenever statistics are taken looks small enough to be read whole, and sorted anew, for each batch.
 * What these make of costs must not look as if it were worth compiling.
 */
export const SETTINGS: readonly string[] = ['SET enable_seqscan = off', 'SET enable_sort = off', 'SET jit = off']

/** How long `close` waits for the server to hear of it, in ms. */
const PARTING = 1_000

export async function openSession(terms: SessionTerms): Promise<Session> {
  const connect = connectorOf(terms.pool)
  if (connect === undefined) return embeddedSession(terms)

  const client = await connect()
  try {
    return await pooledSession(client, terms)
  } catch (error) {
    client.release(true)
    throw error
  }
}

/**
 * A connection of its own, with advisory locks that are its until it ends, whatever ends it: a relay that is killed
 * holds up nobody. No transaction stays open while the broker is waited for.
 */
async function pooledSession(client: Client, terms: SessionTerms): Promise<Session> {
  const { schema, channel, onNotice, onLost } = terms
  const space = (await client.query('SELECT hashtext($1) AS space', [`msx_messaging/${schema}/outbox`])).rows[0].space
  let isOpen = true
  // One statement at a time, the next one as soon as the connection is free.
  let last: Promise<unknown> = Promise.resolve()
  const query: Queryable['query'] = (text, values) => {
    const result = last.then(() => client.query(text, values))
    last = result.catch(() => {})
    return result
  }
  const lost = (error: unknown): void => {
    if (isOpen) onLost(error)
  }
  client.on?.('error', lost)
  client.on?.('end', lost)
  if (channel !== undefined) {
    client.on?.('notification', onNotice)
    await client.query(`LISTEN "${channel}"`)
  }
  for (const setting of SETTINGS) await client.query(setting)
  await client.query('SELECT pg_advisory_lock_shared($1::int, $2::int)', [space, PRESENCE])

  return {
    query,

    async lock(buckets, wanted) {
      const { rows } = await query(
        `SELECT b.bucket::int AS bucket FROM json_array_elements_text($2::json) AS b (bucket)
         WHERE pg_try_advisory_lock($1::int, b.bucket::int) LIMIT $3::int`,
        [space, JSON.stringify(buckets), wanted],
      )
      return rows.map(({ bucket }) => bucket as number)
    },

    async unlock(bucket) {
      await query('SELECT pg_advisory_unlock($1::int, $2::int)', [space, bucket])
    },

    async relays() {
      const { rows } = await query(
        `SELECT count(*)::int AS relays FROM pg_catalog.pg_locks
         WHERE locktype = 'advisory' AND granted AND objsubid = 2 AND objid = $2::int::oid
           AND classid = ((($1::int)::bigint + 4294967296) % 4294967296)::oid
           AND database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())`,
        [space, PRESENCE],
      )
      return rows[0].relays as number
    },

    async close() {
      isOpen = false
      client.off?.('error', lost)
      client.off?.('end', lost)
      client.off?.('notification', onNotice)
      client.on?.('error', () => {})
      // The next user of the connection is not to inherit settings: it ends here, and with it its locks. Said first, so
      // that they are free when this resolves.
      const unlocked = query('SELECT pg_advisory_unlock_all()').catch(() => {})
      await Promise.race([unlocked, new Promise((resolve) => setTimeout(resolve, PARTING).unref())])
      client.release(true)
    },
  }
}

/** A database inside this process: there is no other process to share buckets with. */
function embeddedSession({ pool, taken }: SessionTerms): Session {
  const own = new Set<number>()

  return {
    query: (text, values) => pool.query(text, values),
    async lock(buckets) {
      const free = buckets.filter((bucket) => !taken.has(bucket))
      for (const bucket of free) {
        taken.add(bucket)
        own.add(bucket)
      }
      return free
    },
    async unlock(bucket) {
      taken.delete(bucket)
      own.delete(bucket)
    },
    relays: async () => 1,
    async close() {
      for (const bucket of own) taken.delete(bucket)
    },
  }
}
