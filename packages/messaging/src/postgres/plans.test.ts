import type pg from 'pg'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { openPool, POSTGRES_OF_TESTS, postgresDatabase } from '../testing/databases.js'
import { events } from './fixture.js'
import { forgetStatement, inbox } from './inbox.js'
import { createOutbox } from './outbox.js'
import { SETTINGS } from './session.js'
import { BUCKETS, FIRST_HEAD, statementsFor } from './statements.js'

/** Rows of the outbox, and of the inbox. `MSX_SOAK=1` makes it a million. */
const ROWS = process.env['MSX_SOAK'] === '1' ? 1_000_000 : 100_000

const BATCH = 500

/** What a statement may look at besides what it is for: a few rows per bucket, or per key on a page. */
const ASIDE = 3_000

/** How many pages of tables and indexes each of them may take: finding a row in an index, and changing it in several. */
const PAGES = 12

const ALL = JSON.stringify(Array.from({ length: BUCKETS }, (_, bucket) => bucket))
const COLD = JSON.stringify([5])

interface Plan {
  readonly 'Node Type': string
  readonly 'Relation Name'?: string
  readonly 'Actual Rows': number
  readonly 'Actual Loops': number
  readonly 'Rows Removed by Filter'?: number
  readonly 'Rows Removed by Index Recheck'?: number
  readonly Plans?: readonly Plan[]
}

const database = await postgresDatabase()

describe.skipIf(database === undefined)(`with ${ROWS} rows of each kind of trouble`, { timeout: 600_000 }, () => {
  let pool: ReturnType<typeof openPool>
  let schema: string
  let relay: pg.PoolClient

  beforeAll(async () => {
    pool = openPool(POSTGRES_OF_TESTS, 4)
    schema = (database as NonNullable<typeof database>).schema()
    const outbox = createOutbox({ events, pool, schema })
    await outbox.migrate()
    await pool.query(`ALTER TABLE ${schema}.outbox SET (autovacuum_enabled = false)`)
    await pool.query(`ALTER TABLE ${schema}.inbox SET (autovacuum_enabled = false)`)
    // As it is when statistics are taken: empty. What comes then, the planner knows nothing of.
    await pool.query(
      `INSERT INTO ${schema}.outbox (bucket, message_id, type, body, headers) VALUES (0, 'x', 'x', 'x', '{}')`,
    )
    await pool.query(`DELETE FROM ${schema}.outbox`)
    await pool.query(`VACUUM ANALYZE ${schema}.outbox`)
    // 4 in 10 of one key that is hot, 2 behind one that is parked, 2 delayed, 1 parked, a few refused, the rest of many keys.
    await pool.query(
      `INSERT INTO ${schema}.outbox (bucket, message_id, type, key, body, headers, state, due, attempts, code, reason, failed_at)
       SELECT CASE WHEN key = 'hot' THEN 3 WHEN key = 'stuck' THEN 4 WHEN key IS NULL THEN n % 16 ELSE abs(hashtext(key)) % 16 END,
         'm-' || n, 'order.created', key, '{"orderId":"o","n":1}', '{}', state,
         CASE WHEN state IN (1, 2) THEN clock_timestamp() + interval '1 day' END,
         CASE WHEN failed THEN 1 ELSE 0 END, CASE WHEN failed THEN 'x' END, CASE WHEN failed THEN 'x' END,
         CASE WHEN failed THEN clock_timestamp() END
       FROM (SELECT n, CASE WHEN n % 10 < 4 THEN 'hot' WHEN n % 10 < 6 THEN 'stuck' WHEN n % 10 < 8 THEN NULL ELSE 'k-' || n END AS key,
           CASE WHEN n = 4 THEN 3 WHEN n % 10 IN (4, 5) THEN 4 WHEN n % 10 IN (6, 7) THEN 1 WHEN n % 10 = 8 THEN 3
             WHEN n % 1000 = 9 THEN 2 ELSE 0 END AS state,
           n = 4 OR n % 10 = 8 OR n % 1000 = 9 AS failed
         FROM generate_series(0, ${ROWS - 1}) AS n ORDER BY n) AS made`,
    )
    await pool.query(
      `INSERT INTO ${schema}.inbox SELECT 'g-' || n % 3, 'm-' || n, clock_timestamp() - interval '30 days' + n * interval '1 ms'
       FROM generate_series(0, ${ROWS - 1}) AS n`,
    )
    await pool.query(`ANALYZE ${schema}.inbox`)
    relay = await pool.connect()
    for (const setting of SETTINGS) await relay.query(setting)
  }, 600_000)
  afterAll(async () => {
    relay?.release(true)
    await pool?.end()
    await database?.close()
  }, 120_000)

  /** Runs a statement and undoes it. How many rows of tables it looked at, and how it came to them. */
  async function examined(client: pg.PoolClient, sql: string, values: unknown[]) {
    await client.query('BEGIN')
    try {
      const { rows } = await client.query(`EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) ${sql}`, values)
      const [{ Plan: root, 'Execution Time': time }] = rows[0]['QUERY PLAN']
      const scans = nodesOf(root).filter(
        (node) => node['Relation Name'] !== undefined && node['Node Type'] !== 'ModifyTable',
      )
      const looked = scans.map(
        (node) =>
          (node['Actual Rows'] + (node['Rows Removed by Filter'] ?? 0) + (node['Rows Removed by Index Recheck'] ?? 0)) *
          node['Actual Loops'],
      )
      const pages = root['Shared Hit Blocks'] + root['Shared Read Blocks']
      return {
        kinds: [...new Set(scans.map((node) => node['Node Type']))],
        looked: Math.max(0, ...looked),
        pages,
        time,
        root,
      }
    } finally {
      await client.query('ROLLBACK')
    }
  }

  const sql = () => statementsFor(schema, false)
  const ids = async (where: string, limit: number): Promise<string> =>
    JSON.stringify(
      (await pool.query(`SELECT id::text FROM ${schema}.outbox WHERE ${where} ORDER BY id LIMIT ${limit}`)).rows.map(
        ({ id }) => id,
      ),
    )

  const cases: [string, number, () => Promise<[string, unknown[]]>][] = [
    ['reads a batch', BATCH, async () => [sql().fetch, [ALL, '[]', BATCH]]],
    ['reads a batch of buckets that are not the hot one', BATCH, async () => [sql().fetch, [COLD, '[]', BATCH]]],
    [
      'reads past what is in hand',
      3 * BATCH,
      async () => [sql().fetch, [JSON.stringify([3]), await ids(`state = 0 AND bucket = 3`, 2 * BATCH), BATCH]],
    ],
    ['puts rows aside', BATCH, async () => [sql().hold, [await ids('state = 0', BATCH)]]],
    ['looks for what nothing holds back', 0, async () => [sql().release, [ALL, FIRST_HEAD, 1_000]]],
    ['deletes what was confirmed', BATCH, async () => [sql().remove, [await ids('state = 0', BATCH)]]],
    ['looks for what is due, when nothing is', 0, async () => [sql().promote, [ALL, 1_000]]],
    [
      'writes down what was refused',
      BATCH,
      async () => {
        const refused = (JSON.parse(await ids('state = 0', BATCH)) as string[]).map((id) => ({
          id,
          code: 'x',
          reason: 'y',
          delay: 1,
        }))
        return [sql().fail, [JSON.stringify(refused)]]
      },
    ],
    ['counts, as far as it is worth it', 10_000, async () => [sql().survey, [ALL]]],
    ['counts for one bucket', 10_000, async () => [sql().survey, [COLD]]],
  ]

  test.each(cases)('a relay %s without looking at anything else', async (what, rows, make) => {
    const [statement, values] = await make()

    const { kinds, looked, pages, time, root } = await examined(relay, statement, values)

    if (process.env['MSX_SOAK'] === '1') console.log(`  ${what}: ${time} ms, ${looked} rows, ${pages} pages`)
    expect(pages, JSON.stringify(root, null, 1)).toBeLessThanOrEqual(PAGES * (rows + ASIDE))
    expect(kinds, JSON.stringify(root, null, 1)).not.toContain('Seq Scan')
    expect(looked, JSON.stringify(root, null, 1)).toBeLessThanOrEqual(rows + ASIDE)
  })

  test('what is due is made ready bit by bit', async () => {
    await pool.query(`UPDATE ${schema}.outbox SET due = clock_timestamp() - interval '1 s' WHERE state = 1`)
    await pool.query(`VACUUM ${schema}.outbox`)
    try {
      const { looked, kinds, pages } = await examined(relay, sql().promote, [ALL, 1_000])
      expect(pages).toBeLessThanOrEqual(PAGES * (1_000 + ASIDE))
      expect(kinds).not.toContain('Seq Scan')
      expect(looked).toBeLessThanOrEqual(1_000 + ASIDE)
    } finally {
      await pool.query(`UPDATE ${schema}.outbox SET due = clock_timestamp() + interval '1 day' WHERE state = 1`)
    }
  })

  test('what was held back is made ready bit by bit', async () => {
    await relay.query('BEGIN')
    await relay.query(`DELETE FROM ${schema}.outbox WHERE key = 'stuck' AND state = 3`)
    await relay.query('SAVEPOINT free')
    const { rows } = await relay.query(`EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) ${sql().release}`, [
      ALL,
      FIRST_HEAD,
      1_000,
    ])
    const moved = await relay.query(`SELECT count(*)::int AS n FROM ${schema}.outbox WHERE state = 0 AND key = 'stuck'`)
    await relay.query('ROLLBACK')

    const root = rows[0]['QUERY PLAN'][0].Plan
    const looked = nodesOf(root).map((node) => node['Actual Rows'] * node['Actual Loops'])
    expect(moved.rows).toEqual([{ n: 1_000 }])
    expect(Math.max(...looked)).toBeLessThanOrEqual(1_000 + ASIDE)
    expect(root['Shared Hit Blocks'] + root['Shared Read Blocks']).toBeLessThanOrEqual(PAGES * (1_000 + ASIDE))
  })

  test.each<[string, number, () => Promise<[string, unknown[]]>]>([
    ['lists what is parked', BATCH, async () => [sql().parked, [BATCH, '0']]],
    ['retries what is parked', BATCH, async () => [sql().retry, [await ids('state = 3', BATCH)]]],
    ['forgets what is old', 10_000, async () => [forgetStatement(schema), [86_400_000, 10_000]]],
    [
      'writes down what is handled',
      1,
      async () => [
        `INSERT INTO ${schema}.inbox (group_name, message_id) VALUES ($1, $2) ON CONFLICT DO NOTHING RETURNING 1`,
        ['g-0', 'm-3'],
      ],
    ],
  ])('on a connection like any other, it %s without looking at anything else', async (what, rows, make) => {
    await pool.query(`ANALYZE ${schema}.outbox`)
    const client = await pool.connect()
    try {
      const [statement, values] = await make()
      const { looked, pages, time, root } = await examined(client, statement, values)

      if (process.env['MSX_SOAK'] === '1') console.log(`  ${what}: ${time} ms, ${looked} rows, ${pages} pages`)
      expect(pages, JSON.stringify(root, null, 1)).toBeLessThanOrEqual(PAGES * (rows + ASIDE))
      expect(looked, JSON.stringify(root, null, 1)).toBeLessThanOrEqual(rows + ASIDE)
    } finally {
      client.release()
    }
  })

  test('prune ends as soon as nothing is old any more, and forgets nothing that is not', async () => {
    await pool.query(
      `INSERT INTO ${schema}.inbox (group_name, message_id) SELECT 'new', n::text FROM generate_series(1, 1000) AS n`,
    )

    const pruned = await inbox({ pool, schema }).prune({ olderThan: 86_400_000 })

    expect(pruned).toBe(ROWS)
    expect((await pool.query(`SELECT count(*)::int AS n FROM ${schema}.inbox`)).rows).toEqual([{ n: 1_000 }])
  })
})

function nodesOf(plan: Plan): Plan[] {
  return [plan, ...(plan.Plans ?? []).flatMap(nodesOf)]
}
