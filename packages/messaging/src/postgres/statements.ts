import { KEY_HEAD } from './schema.js'

/** Every statement of outbox and relay, each one round trip. All times are the database's. */
export interface Statements {
  readonly insert: string
  readonly fetch: string
  readonly hold: string
  readonly release: string
  readonly remove: string
  readonly promote: string
  readonly fail: string
  readonly parked: string
  readonly retry: string
  readonly stats: string
  readonly survey: string
}

/** Rows of one key share a bucket, and a bucket has one relay at a time. */
export const BUCKETS = 16

/** Counting a backlog of millions would hold up the relay that is to work it off. */
const COUNTED = 10_000

/** How many keys with something held are looked at in one go. */
const PAGE = 500

/** Where going through all keys begins. */
export const FIRST_HEAD = ''
const HIGHEST = String(2n ** 63n - 1n)

const head = (table: string): string => KEY_HEAD.replace('key', `${table}.key`)
const ms = (interval: string): string => `(extract(epoch FROM ${interval}) * 1000)::float8`

export function statementsFor(schema: string, notifies: boolean): Statements {
  const outbox = `"${schema}".outbox`
  const insert = `INSERT INTO ${outbox} (bucket, message_id, type, key, body, headers, correlation_id, ttl, state, due)
    SELECT e.bucket, e.id, e.type, e.key, e.body, e.headers, e.correlation, e.ttl, CASE WHEN e.delay > 0 THEN 1 ELSE 0 END,
      CASE WHEN e.delay > 0 THEN clock_timestamp() + e.delay * interval '1 millisecond' END
    FROM json_to_recordset($1::json) AS e (bucket int2, id text, type text, key text, body text, headers json,
      correlation text, ttl float8, delay float8)`

  const mine = `ARRAY(SELECT json_array_elements_text($1::json)::int2)`
  const counted = (state: number): string =>
    `SELECT count(*)::int FROM (SELECT 1 FROM ${outbox}
      WHERE state > 0 AND state = ${state} AND bucket = ANY (${mine}) LIMIT ${COUNTED}) AS found`
  const ids = (parameter: string): string => `ARRAY(SELECT json_array_elements_text(${parameter}::json)::bigint)`
  const earlier = (condition: string): string =>
    `EXISTS (SELECT 1 FROM ${outbox} h WHERE ${condition} AND ${head('h')} = ${head('o')} AND h.id < o.id)`
  // The first rows that wait for their time, bucket by bucket, for each way to wait.
  const waiting = (when: string, limit: string): string =>
    `json_array_elements_text($1::json) AS b (bucket) CROSS JOIN (VALUES (1::int2), (2::int2)) AS s (state)
      CROSS JOIN LATERAL (SELECT w.id, w.due FROM ${outbox} w
        WHERE w.state > 0 AND w.state = s.state AND w.bucket = b.bucket::int2 AND w.due ${when} statement_timestamp()
        ORDER BY w.due LIMIT ${limit}) AS o`

  return {
    // One notification per transaction, however many statements: the server drops those that are alike.
    insert: notifies ? `WITH e AS (${insert}) SELECT pg_notify('${schema}', '')` : insert,

    // Always from the first row of a bucket on: one with a low id may be committed after one with a high id was published.
    // Buckets in the given order, as far as the limit goes: each has to be the first one in turn. What is held goes without
    // its body.
    fetch: `SELECT o.id, o.bucket, o.message_id, o.type, o.key, CASE WHEN o.held THEN '' ELSE o.body END AS body, o.headers,
        o.correlation_id, o.ttl, o.attempts, o.failed, o.held, o.age
      FROM json_array_elements_text($1::json) AS b (bucket) CROSS JOIN LATERAL (
        SELECT o.id::text AS id, o.bucket, o.message_id, o.type, o.key, o.body, o.headers, o.correlation_id, o.ttl, o.attempts,
          o.failed_at IS NOT NULL AS failed, ${earlier('h.failed_at IS NOT NULL')} OR ${earlier('h.state = 4')} AS held,
          ${ms('clock_timestamp() - coalesce(o.due, o.at)')} AS age
        FROM ${outbox} o
        WHERE o.state = 0 AND o.bucket = b.bucket::int2
          AND o.id NOT IN (SELECT json_array_elements_text($2::json)::bigint)
        ORDER BY o.id LIMIT $3::int) AS o
      LIMIT $3::int`,

    // Who names rows by their id names nothing else: a condition on the state might bring in its index, and that be read whole.
    hold: `UPDATE ${outbox} SET state = 4 WHERE id = ANY (${ids('$1')})`,

    // From one key that has something held to the next, a page of them, beginning with the head $2: what has nothing that
    // failed before it is ready, the first ones first.
    release: `WITH RECURSIVE keys (head, bucket) AS (
        (SELECT ${head('o')}, o.bucket FROM ${outbox} o
          WHERE o.state = 4 AND ${head('o')} >= $2::text ORDER BY ${head('o')}, o.id LIMIT 1)
        UNION ALL
        SELECT n.head, n.bucket FROM keys k CROSS JOIN LATERAL (
          SELECT ${head('o')} AS head, o.bucket FROM ${outbox} o
          WHERE o.state = 4 AND ${head('o')} > k.head ORDER BY ${head('o')}, o.id LIMIT 1) AS n
      ), page AS (SELECT head, bucket FROM keys LIMIT ${PAGE}),
      free AS (
        SELECT o.id FROM page p CROSS JOIN LATERAL (
          SELECT o.id FROM ${outbox} o
          WHERE o.state = 4 AND ${head('o')} = p.head AND o.id <= coalesce((SELECT f.id FROM ${outbox} f
            WHERE f.failed_at IS NOT NULL AND ${head('f')} = p.head ORDER BY f.id LIMIT 1), ${HIGHEST})
          ORDER BY o.id LIMIT $3::int) AS o
        WHERE p.bucket = ANY (${mine}) LIMIT $3::int
      ), moved AS (UPDATE ${outbox} SET state = 0 WHERE id = ANY (ARRAY(SELECT id FROM free)) RETURNING 1)
      SELECT (SELECT count(*) FROM moved)::int AS moved,
        (SELECT CASE WHEN count(*) = ${PAGE} THEN max(head) END FROM page) AS next`,

    remove: `DELETE FROM ${outbox} WHERE id = ANY (${ids('$1')})`,

    // What was delayed keeps its time: it waits since then. Only by the relay that reads the bucket: what was held back may
    // be read from then on, and must not be read first.
    promote: `WITH due AS (SELECT o.id FROM ${waiting('<=', '$2::int')} LIMIT $2::int),
      moved AS (
        UPDATE ${outbox} SET state = 0, due = CASE WHEN state = 1 THEN due END
        WHERE id = ANY (ARRAY(SELECT id FROM due)) RETURNING 1)
      SELECT (SELECT count(*) FROM moved)::int AS moved,
        (SELECT ${ms('min(o.due) - clock_timestamp()')} FROM ${waiting('>', '1')}) AS next`,

    fail: `UPDATE ${outbox} o SET attempts = o.attempts + 1, code = f.code, reason = f.reason, failed_at = clock_timestamp(),
        state = CASE WHEN f.delay IS NULL THEN 3 ELSE 2 END, due = clock_timestamp() + f.delay * interval '1 millisecond'
      FROM json_to_recordset($1::json) AS f (id bigint, code text, reason text, delay float8)
      WHERE o.id = f.id AND o.id = ANY (ARRAY(SELECT (e ->> 'id')::bigint FROM json_array_elements($1::json) AS e))`,

    parked: `SELECT o.id::text AS id, o.message_id, o.type, o.key, o.body, o.headers, o.attempts, o.code, o.reason,
        ${ms('o.at')} AS at, ${ms('o.failed_at')} AS failed_at
      FROM ${outbox} o WHERE o.state = 3 AND o.id > $2::bigint ORDER BY o.id LIMIT $1::int`,

    retry: `UPDATE ${outbox} SET state = 2, due = clock_timestamp(), attempts = 0
      WHERE state = 3 AND id = ANY (${ids('$1')}) RETURNING 1`,

    stats: `SELECT count(*) FILTER (WHERE state = 0)::int AS ready, count(*) FILTER (WHERE state = 1)::int AS delayed,
        count(*) FILTER (WHERE state = 2)::int AS retrying, count(*) FILTER (WHERE state = 3)::int AS parked,
        count(*) FILTER (WHERE state = 4)::int AS held,
        coalesce(${ms('clock_timestamp() - min(coalesce(due, at)) FILTER (WHERE state = 0)')}, 0) AS lag
      FROM ${outbox}`,

    // The same of some buckets, as far as it is worth counting, and the oldest of the first ones.
    survey: `SELECT (SELECT count(*)::int FROM (SELECT 1 FROM ${outbox}
          WHERE state = 0 AND bucket = ANY (${mine}) LIMIT ${COUNTED}) AS found) AS ready,
        (${counted(1)}) AS delayed, (${counted(2)}) AS retrying, (${counted(3)}) AS parked, (${counted(4)}) AS held,
        (SELECT coalesce(${ms('clock_timestamp() - min(coalesce(o.due, o.at))')}, 0)
          FROM json_array_elements_text($1::json) AS b (bucket) CROSS JOIN LATERAL (SELECT o.due, o.at FROM ${outbox} o
            WHERE o.state = 0 AND o.bucket = b.bucket::int2 ORDER BY o.id LIMIT 100) AS o) AS lag`,
  }
}
