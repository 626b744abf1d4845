import { createHash } from 'node:crypto'
import { type Database, quotaUsedUp } from '@shop/platform'

export interface TryLimit {
  /** How many wrong passwords one address may be sent at once. */
  readonly limit: number
  /** In how many milliseconds all of these are forgotten, one after another. */
  readonly window: number
}

/** Counts the wrong passwords that are tried on an address, from wherever they come. */
export interface Tries {
  /** Takes one try, before the password is looked at. Rejects with 429 when there is none left. */
  take(email: string): Promise<void>
  /** The try was none: the password was right, or nobody looked at it. */
  giveBack(email: string): Promise<void>
}

/**
 * The generic cell rate algorithm, as a bucket that leaks, in a table: `limit` tries at once, and then one more each
 * `window / limit` ms. So whoever uses up the tries of somebody else keeps them waiting for that long, and no longer than
 * they go on. In the database, since several instances of this service count as one.
 */
export function createTries(database: Database, { limit, window }: TryLimit): Tries {
  const interval = window / limit / 1_000
  let sweptAt = performance.now()

  /** A row that is empty says nothing. As many stay as there are sign-ins in two windows, which hashing keeps few. */
  async function sweep(): Promise<void> {
    if (performance.now() - sweptAt < window) return

    sweptAt = performance.now()
    await database.query('DELETE FROM sign_in_tries WHERE forgotten_at < now()')
  }

  return {
    async take(email) {
      await sweep()
      const { rows } = await database.query<{ taken: boolean; full: number | string | null }>(
        `WITH taken AS (
           INSERT INTO sign_in_tries AS tries (address, forgotten_at) VALUES ($1, now() + make_interval(secs => $2))
           ON CONFLICT (address) DO UPDATE
           SET forgotten_at = greatest(tries.forgotten_at, now()) + make_interval(secs => $2)
           WHERE greatest(tries.forgotten_at, now()) + make_interval(secs => $2) <= now() + make_interval(secs => $3)
           RETURNING address
         )
         SELECT EXISTS (SELECT FROM taken) AS taken,
           (SELECT extract(epoch FROM forgotten_at - now()) FROM sign_in_tries WHERE address = $1) AS full`,
        [keyOf(email), interval, window / 1_000],
      )
      const [row] = rows
      if (row?.taken === true) return

      const full = Number(row?.full ?? 0)
      throw quotaUsedUp({
        name: 'account',
        limit,
        window,
        resetAfter: full * 1_000,
        retryAfter: (full + interval) * 1_000 - window,
        detail: 'too many wrong passwords for this address; try again later',
      })
    },

    async giveBack(email) {
      await database.query(
        'UPDATE sign_in_tries SET forgotten_at = forgotten_at - make_interval(secs => $2) WHERE address = $1',
        [keyOf(email), interval],
      )
    },
  }
}

function keyOf(email: string): string {
  return createHash('sha256').update(email).digest('base64url')
}
