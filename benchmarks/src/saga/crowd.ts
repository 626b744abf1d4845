import { postgresStore } from '@msx/saga/postgres'
import type { Pool } from 'pg'

/** How many sagas a schema has besides those that are measured. */
export interface Crowd {
  /** Completed, with four records each. */
  readonly finished: number
  /** Half of them sleep, half wait for an event. */
  readonly waiting: number
}

export const CROWD: Crowd = { finished: 1_000_000, waiting: 100_000 }

const AT_ONCE = 50_000

/** Fills a schema, and has the database look at what it has, as autovacuum would in time. */
export async function fill(pool: Pool, schema: string, { finished, waiting }: Crowd): Promise<void> {
  await postgresStore({ pool, schema }).migrate()
  for (let from = 0; from < finished; from += AT_ONCE) {
    const count = Math.min(AT_ONCE, finished - from)
    await pool.query(
      `WITH s AS (
        INSERT INTO ${schema}.saga (id, name, version, shape, status, cursor, rev, token, key, input, output, created_at, finished_at)
        SELECT gen_random_uuid(), 'bench', 1, '00000000', 'completed', 4, 5, gen_random_uuid(), 'key-' || n,
          '{"order":"order-1","amount":7}', '4', now() - n * interval '1 s', now() - n * interval '1 s'
        FROM generate_series($1::int, $2::int) AS n RETURNING id, created_at)
      INSERT INTO ${schema}.saga_step (saga_id, seq, name, kind, outcome, attempt, output, took, at)
      SELECT s.id, n + 1, 'step-' || n, 'do', 'ok', 1, '{"ok":true,"step":1}', 1, s.created_at FROM s, generate_series(1, 4) AS n`,
      [from + 1, from + count],
    )
  }
  await pool.query(
    `WITH s AS (
      INSERT INTO ${schema}.saga (id, name, version, shape, status, cursor, rev, input, created_at, wake_at)
      SELECT gen_random_uuid(), 'bench', 1, '00000000', 'waiting', 1, 2, '{"order":"order-1","amount":7}', now(),
        CASE WHEN n % 2 = 0 THEN now() + interval '1 day' + n * interval '1 s' END
      FROM generate_series(1, $1::int) AS n RETURNING id, wake_at)
    INSERT INTO ${schema}.saga_wait (saga_id, step, event, key, at)
    SELECT id, 'step-1', 'paid', id::text, now() FROM s WHERE wake_at IS NULL`,
    [waiting],
  )
  for (const table of ['saga', 'saga_step', 'saga_wait']) await pool.query(`VACUUM ANALYZE ${schema}.${table}`)
}
