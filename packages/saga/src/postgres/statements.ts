/** Milliseconds of a timestamp, or between two, as a float8 that every driver gives as a number. */
const ms = (interval: string): string => `(extract(epoch FROM ${interval}) * 1000)::float8`

const LEAST = '00000000-0000-0000-0000-000000000000'
const MOST = 'ffffffff-ffff-ffff-ffff-ffffffffffff'

/** Every statement of the store, each one round trip. All times are the database's, by `<schema>.now()`. */
export interface Statements {
  readonly create: string
  readonly findByKey: string
  readonly claim: string
  readonly lock: string
  readonly commit: string
  /** The same for transitions that reach further than their own saga. */
  readonly commitFar: string
  readonly mailbox: string
  readonly isDuplicate: string
  readonly deliver: string
  readonly look: string
  readonly take: string
  readonly enrol: string
  readonly strike: string
  readonly handOn: string
  readonly park: string
  readonly limit: string
  readonly running: string
  readonly prune: string
  readonly pruneMail: string
  readonly load: string
  readonly list: string
  readonly describe: string
  readonly outline: string
  readonly enlist: string
  readonly beat: string
  readonly sweep: string
  readonly leave: string
  readonly quit: string
  readonly advance: string
}

export function statementsFor(schema: string): Statements {
  const at = `"${schema}"`
  const now = `${at}.now()`

  /** A row without records. Payloads come as text, so that `null` and nothing stay two things. */
  const columns = `
    s.id::text AS id, s.name, s.version, s.shape, s.status, s.backward, s.cursor, s.committed, s.attempt, s.delay, s.intent,
    s.cause::text AS cause, s.problem::text AS problem, s.cancel, s.rev::text AS rev, s.fence::text AS fence,
    s.worker::text AS worker, s.claims, s.token::text AS token, ${ms('s.wake_at')} AS wake_at,
    ${ms(`s.deadline - ${now}`)} AS deadline_in, s.key, s.input::text AS input, s.output::text AS output,
    s.tags::text AS tags, ${ms('s.created_at')} AS created_at, ${ms('s.finished_at')} AS finished_at,
    s.lanes::text AS lanes, s.parent::text AS parent, s.lock, s.trace, s.nudges, ${ms(now)} AS now`

  const records = `(
    SELECT json_agg(json_build_object('seq', r.seq, 'name', r.name, 'kind', r.kind, 'outcome', r.outcome, 'attempt', r.attempt,
      'output', r.output::text, 'error', r.error::text, 'note', r.note::text, 'took', r.took, 'due', r.due, 'child', r.child, 'at', ${ms('r.at')}) ORDER BY r.seq)::text
    FROM ${at}.saga_step r WHERE r.saga_id = s.id) AS records`

  /*
   * One array for each column, as text: a row costs a fraction of what it costs as a JSON object. The BETWEEN holds for every
   * row. It has the planner, which cannot know how many there are, expect few, and so look sagas up by their index however
   * small the table is when the statement is prepared: it may be large before the statistics, and the plan, are renewed.
   */
  const commit = (further: string, told = ''): string => `
      WITH t AS MATERIALIZED (SELECT ${now} AS now),
      b AS (
        SELECT * FROM unnest($1::text::uuid[], $2::text::bigint[], $3::text::bigint[], $4::text::uuid[], $5::text::boolean[],
            $6::text::boolean[], $7::text::text[], $8::text::int[], $9::text::boolean[], $10::text::text[], $11::text::text[],
            $12::text::text[], $13::text::text[], $14::text::text[], $15::text::float8[], $16::text::json[])
          AS b(id, fence, rev, token, keep, finished, status, cursor, committed, output, name, kind, outcome, result, took, rest)
        WHERE b.rev BETWEEN 0 AND 9007199254740991
      ), u AS (
        UPDATE ${at}.saga s SET
          rev = s.rev + 1, token = b.token, claims = coalesce((b.rest->>'claims')::int, b.keep::int),
          worker = CASE WHEN b.keep THEN s.worker END,
          wake_at = CASE WHEN b.keep THEN NULL WHEN s.nudges <> (b.rest->>'nudges')::int THEN t.now
            ELSE t.now + (b.rest->>'wakeIn')::float8 * interval '1 ms' END,
          status = b.status, backward = coalesce((b.rest->>'backward')::boolean, false), cursor = b.cursor,
          committed = b.committed, attempt = coalesce((b.rest->>'attempt')::int, 0),
          delay = coalesce((b.rest->>'delay')::float8, 0), intent = coalesce((b.rest->>'intent')::boolean, false),
          cause = (b.rest->>'cause')::json, problem = (b.rest->>'problem')::json, cancel = b.rest->>'cancel',
          lanes = (b.rest->>'lanes')::json, output = coalesce(b.output::json, s.output),
          finished_at = CASE WHEN b.finished THEN t.now END
        FROM b, t WHERE s.id = b.id AND s.fence = b.fence AND s.rev = b.rev
        RETURNING s.id, s.rev, b.name, b.kind, b.outcome, b.result, b.took, b.rest
      ), r AS (
        INSERT INTO ${at}.saga_step (saga_id, seq, name, kind, outcome, attempt, output, error, note, took, due, child, at)
        SELECT u.id, u.rev, u.name, u.kind, u.outcome, coalesce((u.rest->>'tried')::int, 1), u.result::json,
          (u.rest->>'error')::json, (u.rest->>'note')::json, u.took, (u.rest->>'due')::float8, (u.rest->>'child')::uuid, t.now
        FROM t, u WHERE u.name IS NOT NULL
      )${further}
      SELECT count(*)::int AS count, CASE WHEN count(*) < cardinality($1::text::uuid[]) THEN json_agg(u.id)::text END AS ids${told} FROM u`

  return {
    // What was created is known to who asked, but for its times and its owner.
    create: `
      WITH t AS MATERIALIZED (SELECT ${now} AS now),
      b AS (
        SELECT * FROM unnest($1::text::uuid[], $2::text::text[], $3::text::int[], $4::text::text[], $5::text::text[],
            $6::text::text[], $7::text::text[], $8::text::text[], $9::text::uuid[], $10::text::float8[], $11::text::float8[],
            $12::text::json[])
          AS b(id, name, version, shape, key, input, tags, status, worker, delay, deadline, rest)
      ), s AS (
        INSERT INTO ${at}.saga (id, name, version, shape, key, input, tags, status, worker, claims, wake_at, deadline, created_at,
          parent, lock, trace)
        SELECT b.id, b.name, b.version, b.shape, b.key, b.input::json, b.tags::jsonb, b.status, home.id,
               CASE WHEN home.id IS NULL THEN 0 ELSE 1 END,
               CASE WHEN home.id IS NULL THEN t.now + b.delay * interval '1 ms' END,
               t.now + b.deadline * interval '1 ms', t.now, (b.rest->>'parent')::uuid, b.rest->>'lock', b.rest->>'trace'
        FROM t, b LEFT JOIN ${at}.saga_worker home ON home.id = b.worker AND home.expires_at > (SELECT now FROM t)
        ORDER BY b.name, b.key
        ON CONFLICT (name, key) WHERE key IS NOT NULL DO NOTHING
        RETURNING id, worker
      )
      SELECT ${ms('t.now')} AS now, (SELECT count(*)::int FROM s) AS count, (SELECT count(worker)::int FROM s) AS owned,
        CASE WHEN (SELECT count(*) FROM s WHERE worker IS NOT NULL) NOT IN (0, cardinality($1::text::uuid[]))
          OR (SELECT count(*) FROM s) < cardinality($1::text::uuid[])
          THEN (SELECT coalesce(json_agg(json_build_object('id', id, 'owned', worker IS NOT NULL)), '[]') FROM s)::text END AS some FROM t`,

    findByKey: `SELECT ${columns}, NULL AS records FROM ${at}.saga s WHERE s.name = $1 AND s.key = $2`,

    // The sub-select around now() is evaluated once, which lets the index on wake_at be used. As for the BETWEEN, and a lateral
    // join where another would do: see above. With many sagas that are not due the planner would expect a third of them, and
    // the server compile code for a hundred thousand rows, which takes longer than to find the few there are.
    claim: `
      WITH able AS (
        SELECT c.name, c.version FROM json_to_recordset($2::text::json) AS c(name text, version int)
      ), due AS (
        SELECT d.id, d.lock, d.wake_at FROM ${at}.saga d
        WHERE d.wake_at BETWEEN '-infinity' AND (SELECT ${now}) AND d.cursor + 0 BETWEEN 0 AND 2147483647
          AND (d.name, d.version) IN (SELECT name, version FROM able)
          AND EXISTS (SELECT 1 FROM ${at}.saga_worker w WHERE w.id = $1::text::uuid AND w.expires_at > (SELECT ${now}))
          AND (d.lock IS NULL OR NOT EXISTS (
            SELECT 1 FROM ${at}.saga_lock l WHERE l.resource = d.lock AND l.saga_id <> d.id))
        ORDER BY d.wake_at LIMIT $3::int FOR UPDATE SKIP LOCKED
      ), mailed AS (
        SELECT d.id FROM (
          SELECT DISTINCT m.saga_id FROM ${at}.saga_mail m
          WHERE m.saga_id BETWEEN '${LEAST}' AND '${MOST}' AND NOT m.taken) m
        CROSS JOIN LATERAL (
          SELECT d.id FROM ${at}.saga d
          WHERE d.id = m.saga_id AND d.worker IS NULL AND d.status = 'waiting'
            AND (d.name, d.version) IN (SELECT name, version FROM able)
          FOR UPDATE SKIP LOCKED) d
        WHERE EXISTS (SELECT 1 FROM ${at}.saga_worker w WHERE w.id = $1::text::uuid AND w.expires_at > (SELECT ${now}))
        LIMIT $3::int
      ), astray AS (
        SELECT d.id FROM ${at}.saga d
        WHERE $4::text IS NOT NULL AND d.worker = $1::text::uuid
          AND d.id NOT IN (SELECT h.id::uuid FROM json_array_elements_text($4::text::json) AS h(id))
          AND EXISTS (SELECT 1 FROM ${at}.saga_worker w WHERE w.id = $1::text::uuid AND w.expires_at > (SELECT ${now}))
        LIMIT $3::int FOR UPDATE SKIP LOCKED
      ), locked AS (
        INSERT INTO ${at}.saga_lock (resource, saga_id)
        SELECT DISTINCT ON (lock) lock, id FROM due WHERE lock IS NOT NULL ORDER BY lock, wake_at, id
        ON CONFLICT (resource) DO NOTHING RETURNING saga_id
      ), mine AS (
        SELECT id FROM astray UNION SELECT id FROM mailed UNION
        SELECT id FROM due WHERE lock IS NULL OR id IN (SELECT saga_id FROM locked)
          OR EXISTS (SELECT 1 FROM ${at}.saga_lock l WHERE l.resource = due.lock AND l.saga_id = due.id)
        LIMIT $3::int
      ), s AS (
        UPDATE ${at}.saga u SET worker = $1::text::uuid, fence = u.fence + 1, claims = u.claims + 1, wake_at = NULL,
          status = CASE u.status WHEN 'waiting' THEN 'running'
            WHEN 'stuck' THEN CASE WHEN u.backward THEN 'compensating' ELSE 'running' END ELSE u.status END,
          problem = CASE WHEN u.status <> 'stuck' THEN u.problem END
        FROM mine WHERE u.id = mine.id AND mine.id BETWEEN '${LEAST}' AND '${MOST}'
        RETURNING u.*
      )
      SELECT ${columns}, ${records} FROM s`,

    // They stay due: a worker with the version claims them as if nothing had been.
    park: `
      UPDATE ${at}.saga u SET status = 'stuck', rev = u.rev + 1, problem = json_build_object('name', 'Error', 'message',
        format('no worker takes saga ''%s'' version %s: start one that has this version', u.name, u.version))
      WHERE u.id IN (
        SELECT d.id FROM ${at}.saga d
        WHERE d.wake_at BETWEEN '-infinity' AND (SELECT ${now}) - $2::float8 * interval '1 ms' AND d.status <> 'stuck'
          AND d.name IN (SELECT c.name FROM json_to_recordset($1::text::json) AS c(name text))
          AND (d.name, d.version) NOT IN (SELECT c.name, c.version FROM json_to_recordset($1::text::json) AS c(name text, version int))
        ORDER BY d.wake_at LIMIT $3::int FOR UPDATE SKIP LOCKED)
      RETURNING u.id::text AS id, u.name, u.version`,

    limit: 'SELECT pg_advisory_xact_lock(hashtextextended($1, 0))',

    running: `SELECT count(*)::int AS count FROM ${at}.saga WHERE worker IS NOT NULL AND name = $1`,

    // A stopped process (or one that the network cut off) would keep its lock, and so its saga, for as long as it likes.
    lock: `
      SELECT set_config('idle_in_transaction_session_timeout',
        coalesce($4::text, current_setting('idle_in_transaction_session_timeout')), true)
      FROM ${at}.saga WHERE id = $1::text::uuid AND fence = $2::text::bigint AND rev = $3::text::bigint FOR UPDATE`,

    commit: commit(''),

    commitFar: commit(
      `, released AS (
        DELETE FROM ${at}.saga_lock l USING u WHERE l.resource = u.rest->>'lock' AND l.saga_id = u.id
      ), struck AS (
        DELETE FROM ${at}.saga_wait w USING u WHERE (u.rest->>'unwait')::boolean AND w.saga_id = u.id
      ), nudged AS (
        UPDATE ${at}.saga p SET nudges = p.nudges + 1,
          wake_at = CASE WHEN p.worker IS NULL AND p.status IN ('waiting', 'compensating') THEN ${now} ELSE p.wake_at END
        FROM u WHERE p.id = (u.rest->>'parent')::uuid
      ), returned AS (
        UPDATE ${at}.saga_mail m SET saga_id = NULL, step = NULL FROM u
        WHERE (u.rest->>'unwait')::boolean AND m.saga_id = u.id AND NOT m.taken RETURNING m.event, m.key
      )`,
      `, (SELECT json_agg(json_build_object('event', event, 'key', key)) FROM returned)::text AS returned`,
    ),

    // The lock goes first, in a statement of its own: what the next one sees includes all that was done under it.
    mailbox: `
      SELECT pg_advisory_xact_lock(hashtextextended($1, 1)), current_setting('transaction_isolation') AS isolation`,

    isDuplicate: `SELECT 1 FROM ${at}.saga_mail WHERE event = $1 AND key = $2 AND message_id = $3`,

    deliver: `
      WITH w AS (
        DELETE FROM ${at}.saga_wait WHERE (saga_id, step) IN (
          SELECT saga_id, step FROM ${at}.saga_wait WHERE event = $1 AND key = $2 ORDER BY at, saga_id LIMIT 1)
        RETURNING saga_id, step
      )
      INSERT INTO ${at}.saga_mail (event, key, message_id, payload, saga_id, step, at)
      SELECT $1, $2, $3, $4::text::json, w.saga_id, w.step, ${now} FROM (SELECT 1) AS one LEFT JOIN w ON true
      RETURNING saga_id IS NOT NULL AS delivered`,

    look: `
      SELECT id::text AS id, payload::text AS payload FROM ${at}.saga_mail
      WHERE event = $1 AND key = $2 AND NOT taken AND (saga_id IS NULL OR (saga_id = $3::text::uuid AND step = $4))
      ORDER BY saga_id IS NULL, id LIMIT 1`,

    take: `UPDATE ${at}.saga_mail SET taken = true, saga_id = $2::text::uuid, step = $3 WHERE id = $1::text::bigint`,

    enrol: `
      INSERT INTO ${at}.saga_wait (saga_id, step, event, key, at) VALUES ($1::text::uuid, $2, $3, $4, ${now})
      ON CONFLICT (saga_id, step) DO NOTHING`,

    strike: `DELETE FROM ${at}.saga_wait WHERE saga_id = $1::text::uuid AND step = $2`,

    /** Of a mailbox: what came back goes to those who wait, the oldest to the longest waiting. */
    handOn: `
      WITH m AS (
        SELECT id, row_number() OVER (ORDER BY id) AS place FROM ${at}.saga_mail
        WHERE event = $1 AND key = $2 AND saga_id IS NULL
      ), w AS (
        SELECT saga_id, step, row_number() OVER (ORDER BY at, saga_id) AS place FROM ${at}.saga_wait
        WHERE event = $1 AND key = $2
      ), pair AS (
        SELECT m.id, w.saga_id, w.step FROM m JOIN w USING (place)
      ), gone AS (
        DELETE FROM ${at}.saga_wait x USING pair WHERE x.saga_id = pair.saga_id AND x.step = pair.step
      )
      UPDATE ${at}.saga_mail x SET saga_id = pair.saga_id, step = pair.step FROM pair WHERE x.id = pair.id`,

    prune: `
      WITH old AS (
        DELETE FROM ${at}.saga WHERE id IN (
          SELECT s.id FROM ${at}.saga s
          WHERE s.finished_at < to_timestamp($1::float8 / 1000) AND NOT EXISTS (
            SELECT 1 FROM ${at}.saga p WHERE p.id = s.parent AND p.finished_at IS NULL)
          ORDER BY s.finished_at LIMIT $2::int FOR UPDATE SKIP LOCKED)
        RETURNING id
      ), steps AS (
        DELETE FROM ${at}.saga_step r USING old WHERE r.saga_id = old.id
      )
      SELECT count(*)::int AS count FROM old`,

    pruneMail: `
      DELETE FROM ${at}.saga_mail WHERE id IN (
        SELECT id FROM ${at}.saga_mail WHERE taken AND at < to_timestamp($1::float8 / 1000)
        ORDER BY at LIMIT $2::int FOR UPDATE SKIP LOCKED)`,

    load: `SELECT ${columns}, ${records} FROM ${at}.saga s WHERE s.id = $1::text::uuid`,

    list: `
      SELECT ${columns}, NULL AS records FROM ${at}.saga s
      WHERE ($1::text IS NULL OR s.status = $1::text)
        AND ($2::text IS NULL OR s.name = $2::text)
        AND ($3::text IS NULL OR s.tags @> $3::text::jsonb)
        AND ($4::float8 IS NULL OR s.created_at > to_timestamp($4::float8 / 1000))
        AND ($5::float8 IS NULL OR s.created_at < to_timestamp($5::float8 / 1000))
        AND ($6::text IS NULL OR s.id < $6::text::uuid)
      ORDER BY s.id DESC LIMIT $7::int`,

    describe: `
      INSERT INTO ${at}.saga_definition AS d (name, version, outline)
      SELECT name, version, outline::json FROM json_to_recordset($1::text::json) AS x(name text, version int, outline text)
      ORDER BY name, version
      ON CONFLICT (name, version) DO UPDATE SET outline = EXCLUDED.outline WHERE d.outline::text <> EXCLUDED.outline::text`,

    outline: `SELECT outline::text AS outline FROM ${at}.saga_definition WHERE name = $1 AND version = $2::int`,

    enlist: `INSERT INTO ${at}.saga_worker (id, expires_at) VALUES ($1::text::uuid, ${now} + $2::float8 * interval '1 ms')`,

    beat: `UPDATE ${at}.saga_worker SET expires_at = ${now} + $2::float8 * interval '1 ms' WHERE id = $1::text::uuid RETURNING 1`,

    // Whatever no living worker owns is freed, so nothing is stranded by a worker that started a saga while it was buried.
    sweep: `
      WITH buried AS (
        DELETE FROM ${at}.saga_worker WHERE id IN (
          SELECT id FROM ${at}.saga_worker WHERE expires_at <= (SELECT ${now}) FOR UPDATE SKIP LOCKED)
      ), lost AS (
        SELECT s.id FROM ${at}.saga s WHERE s.worker IS NOT NULL AND NOT EXISTS (
          SELECT 1 FROM ${at}.saga_worker w WHERE w.id = s.worker AND w.expires_at > (SELECT ${now}))
        FOR UPDATE SKIP LOCKED
      )
      UPDATE ${at}.saga u SET worker = NULL, fence = u.fence + 1, wake_at = ${now} FROM lost WHERE u.id = lost.id RETURNING 1`,

    leave: `
      UPDATE ${at}.saga SET worker = NULL, fence = fence + 1, wake_at = ${now} WHERE id IN (
        SELECT id FROM ${at}.saga WHERE worker = $1::text::uuid FOR UPDATE SKIP LOCKED)`,

    quit: `DELETE FROM ${at}.saga_worker WHERE id = $1::text::uuid`,

    advance: `UPDATE ${at}.saga_test_clock SET ahead = ahead + $1::float8 * interval '1 ms'`,
  }
}
