/** Every statement of outbox and relay, each one round trip. All times are the database's. */
export interface Statements {
  readonly insert: string
  readonly fetch: string
  readonly remove: string
  readonly promote: string
  readonly fail: string
  readonly parked: string
  readonly retry: string
  readonly stats: string
  readonly survey: string
}

/** Rows of one key share a bucket, and a bucket has one relay at a time. A bit mask of them fits an int. */
export const BUCKETS = 16

/** Counting a backlog of millions would hold up the relay that is to work it off. */
const COUNTED = 10_000

const ms = (interval: string): string => `(extract(epoch FROM ${interval}) * 1000)::float8`

export function statementsFor(schema: string, notifies: boolean): Statements {
  const outbox = `"${schema}".outbox`
  const insert = `INSERT INTO ${outbox} (bucket, message_id, type, key, body, headers, correlation_id, ttl, state, due)
    SELECT e.bucket, e.id, e.type, e.key, e.body, e.headers, e.correlation, e.ttl, CASE WHEN e.delay > 0 THEN 1 ELSE 0 END,
      CASE WHEN e.delay > 0 THEN clock_timestamp() + e.delay * interval '1 millisecond' END
    FROM json_to_recordset($1::json) AS e (bucket int2, id text, type text, key text, body text, headers json,
      correlation text, ttl float8, delay float8)`

  const counted = (state: number): string =>
    `SELECT count(*)::int FROM (SELECT 1 FROM ${outbox}
      WHERE state = ${state} AND (1 << bucket) & $1::int <> 0 LIMIT ${COUNTED}) AS found`

  return {
    // One notification per transaction, however many statements: the server drops those that are alike.
    insert: notifies ? `WITH e AS (${insert}) SELECT pg_notify('${schema}', '')` : insert,

    // Always from the first row on: one with a low id may be committed after one with a high id was published. What
    // failed before holds back what came after it with the same key.
    fetch: `SELECT o.id::text AS id, o.bucket, o.message_id, o.type, o.key, o.body, o.headers, o.correlation_id, o.ttl, o.attempts,
        ${ms('clock_timestamp() - coalesce(o.due, o.at)')} AS age
      FROM ${outbox} o
      WHERE o.state = 0 AND (1 << o.bucket) & $1::int <> 0
        AND o.id NOT IN (SELECT json_array_elements_text($2::json)::bigint)
        AND NOT EXISTS (SELECT 1 FROM ${outbox} h WHERE h.state >= 2 AND h.key = o.key AND h.id < o.id)
      ORDER BY o.id LIMIT $3::int`,

    remove: `DELETE FROM ${outbox} WHERE id = ANY (ARRAY(SELECT json_array_elements_text($1::json)::bigint))`,

    // What was delayed keeps its time: it waits since then. Only by the relay that reads the bucket: what was held back may be read from then on, and must not be read first.
    promote: `WITH moved AS (
        UPDATE ${outbox} SET state = 0, due = CASE WHEN state = 1 THEN due END
        WHERE state IN (1, 2) AND due <= clock_timestamp() AND (1 << bucket) & $1::int <> 0 RETURNING 1
      )
      SELECT (SELECT count(*) FROM moved)::int AS moved,
        (SELECT ${ms('min(due) - clock_timestamp()')} FROM ${outbox} WHERE state IN (1, 2) AND due > clock_timestamp()) AS next`,

    fail: `UPDATE ${outbox} SET attempts = attempts + 1, code = $2, reason = $3, failed_at = clock_timestamp(),
        state = CASE WHEN $4::float8 IS NULL THEN 3 ELSE 2 END,
        due = clock_timestamp() + $4::float8 * interval '1 millisecond'
      WHERE id = $1::bigint`,

    parked: `SELECT id::text AS id, message_id, type, key, body, headers, attempts, code, reason,
        ${ms('at')} AS at, ${ms('failed_at')} AS failed_at
      FROM ${outbox} WHERE state = 3 ORDER BY id LIMIT $1::int`,

    retry: `UPDATE ${outbox} SET state = 2, due = clock_timestamp(), attempts = 0
      WHERE state = 3 AND id = ANY (ARRAY(SELECT json_array_elements_text($1::json)::bigint)) RETURNING 1`,

    stats: `SELECT count(*) FILTER (WHERE state = 0)::int AS ready, count(*) FILTER (WHERE state = 1)::int AS delayed,
        count(*) FILTER (WHERE state = 2)::int AS retrying, count(*) FILTER (WHERE state = 3)::int AS parked,
        coalesce(${ms('clock_timestamp() - min(coalesce(due, at)) FILTER (WHERE state = 0)')}, 0) AS lag
      FROM ${outbox}`,

    // The same of some buckets, each kind by the index that has it.
    survey: `SELECT r.rows AS ready, r.lag, (${counted(1)}) AS delayed, (${counted(2)}) AS retrying, (${counted(3)}) AS parked
      FROM (SELECT count(*)::int AS rows, coalesce(${ms('clock_timestamp() - min(since)')}, 0) AS lag
        FROM (SELECT coalesce(due, at) AS since FROM ${outbox}
          WHERE state = 0 AND (1 << bucket) & $1::int <> 0 ORDER BY id LIMIT ${COUNTED}) AS first) AS r`,
  }
}
