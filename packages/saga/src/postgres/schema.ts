import type { Queryable } from '../shapes.js'

/*
 * saga         one row per saga: where it is. A checkpoint changes no indexed column, so its update stays within the page.
 * saga_step    what happened, appended only; `seq` is the rev that the line made.
 * saga_worker  one row per living worker: its lease.
 *
 * saga_mail    events, those that nobody waited for and those that were delivered; kept for as long as duplicates may come.
 * saga_wait    which step of which saga is down for the next event of a mailbox.
 * saga_lock    which saga holds a resource.
 * saga_definition  the steps of each definition that some engine had, for operators who have none.
 *
 * A mailbox is an event's name and key. Whoever reads or changes what is in it holds its advisory lock, so that no event
 * comes between the look of a saga and its decision to wait. Locks are taken in the order: saga, mailbox, or mailbox, saga
 * for the saga that is owned by the one who asks; deliveries lock no saga at all.
 *
 * `worker` says who owns a saga, `wake_at` when an unowned one is due; both empty: at rest (finished or stuck).
 * Payloads are `json`: text that is kept as it came, with no second opinion about numbers or characters.
 */
const VERSIONS: readonly (readonly string[])[] = [
  [
    `CREATE TABLE $schema.saga (
      id uuid PRIMARY KEY,
      name text NOT NULL,
      version int NOT NULL,
      shape text NOT NULL,
      status text NOT NULL,
      backward boolean NOT NULL DEFAULT false,
      cursor int NOT NULL DEFAULT 0,
      committed boolean NOT NULL DEFAULT false,
      attempt int NOT NULL DEFAULT 0,
      delay float8 NOT NULL DEFAULT 0,
      intent boolean NOT NULL DEFAULT false,
      cause json,
      problem json,
      cancel text,
      rev bigint NOT NULL DEFAULT 1,
      fence bigint NOT NULL DEFAULT 1,
      worker uuid,
      claims int NOT NULL DEFAULT 0,
      token uuid,
      wake_at timestamptz,
      deadline timestamptz,
      key text,
      input json,
      output json,
      tags jsonb NOT NULL DEFAULT '{}',
      created_at timestamptz NOT NULL,
      finished_at timestamptz
    ) WITH (fillfactor = 80)`,
    'CREATE UNIQUE INDEX saga_key ON $schema.saga (name, key) WHERE key IS NOT NULL',
    'CREATE INDEX saga_due ON $schema.saga (wake_at) WHERE wake_at IS NOT NULL',
    'CREATE INDEX saga_owned ON $schema.saga (worker) WHERE worker IS NOT NULL',
    `CREATE TABLE $schema.saga_step (
      saga_id uuid NOT NULL REFERENCES $schema.saga (id) ON DELETE CASCADE,
      seq bigint NOT NULL,
      name text NOT NULL,
      kind text NOT NULL,
      outcome text NOT NULL,
      attempt int NOT NULL,
      output json,
      error json,
      note json,
      took float8 NOT NULL,
      at timestamptz NOT NULL,
      PRIMARY KEY (saga_id, seq)
    )`,
    'CREATE TABLE $schema.saga_worker (id uuid PRIMARY KEY, expires_at timestamptz NOT NULL)',
  ],
  [
    `ALTER TABLE $schema.saga
      ADD COLUMN lanes json, ADD COLUMN parent uuid, ADD COLUMN lock text, ADD COLUMN trace text,
      ADD COLUMN nudges int NOT NULL DEFAULT 0`,
    'ALTER TABLE $schema.saga_step ADD COLUMN due float8, ADD COLUMN child uuid',
    'CREATE INDEX saga_finished ON $schema.saga (finished_at) WHERE finished_at IS NOT NULL',
    `CREATE TABLE $schema.saga_mail (
      id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
      event text NOT NULL,
      key text NOT NULL,
      message_id text,
      payload json,
      saga_id uuid,
      step text,
      taken boolean NOT NULL DEFAULT false,
      at timestamptz NOT NULL
    )`,
    'CREATE UNIQUE INDEX saga_mail_once ON $schema.saga_mail (event, key, message_id) WHERE message_id IS NOT NULL',
    'CREATE INDEX saga_mail_buffered ON $schema.saga_mail (event, key, id) WHERE saga_id IS NULL',
    'CREATE INDEX saga_mail_pending ON $schema.saga_mail (saga_id) WHERE saga_id IS NOT NULL AND NOT taken',
    'CREATE INDEX saga_mail_taken ON $schema.saga_mail (at) WHERE taken',
    `CREATE TABLE $schema.saga_wait (
      saga_id uuid NOT NULL REFERENCES $schema.saga (id) ON DELETE CASCADE,
      step text NOT NULL,
      event text NOT NULL,
      key text NOT NULL,
      at timestamptz NOT NULL,
      PRIMARY KEY (saga_id, step)
    )`,
    'CREATE INDEX saga_wait_box ON $schema.saga_wait (event, key, at)',
    'CREATE TABLE $schema.saga_lock (resource text PRIMARY KEY, saga_id uuid NOT NULL)',
  ],
  [
    `CREATE TABLE $schema.saga_definition (
      name text NOT NULL,
      version int NOT NULL,
      outline json NOT NULL,
      PRIMARY KEY (name, version)
    )`,
  ],
  [
    // A line is written by the statement that changes its saga, and goes with it when it is pruned: nothing is left to check,
    // and the check cost as much as the line.
    'ALTER TABLE $schema.saga_step DROP CONSTRAINT IF EXISTS saga_step_saga_id_fkey',
    // Many sagas of a page are written by one statement: there has to be room for all of them once more, or they move to other
    // pages, with entries in all indexes. And as many dead rows as a saga has steps have to be cleared away in time.
    `ALTER TABLE $schema.saga SET (fillfactor = 45, autovacuum_vacuum_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.02)`,
  ],
]

/** Creates what is missing, up to a version. Any number of processes may call it at the same time. */
export async function migrateSchema(tx: Queryable, schema: string, upTo: number = VERSIONS.length): Promise<void> {
  const quoted = `"${schema}"`
  await tx.query('SELECT pg_advisory_xact_lock(hashtext($1))', [`msx_saga/${schema}`])

  // CREATE SCHEMA IF NOT EXISTS asks for the right to create one even when it exists.
  const existing = await tx.query('SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = $1', [schema])
  if (existing.rows.length === 0) await tx.query(`CREATE SCHEMA ${quoted}`)

  const known = await tx.query(
    `SELECT 1 FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
     WHERE n.nspname = $1 AND c.relname = 'migration_done'`,
    [schema],
  )
  if (known.rows.length === 0) {
    await tx.query(`CREATE TABLE ${quoted}.migration_done (version int PRIMARY KEY, at timestamptz NOT NULL)`)
    await tx.query(
      `CREATE FUNCTION ${quoted}.now() RETURNS timestamptz LANGUAGE sql VOLATILE AS 'SELECT clock_timestamp()'`,
    )
  }

  const done = new Set((await tx.query(`SELECT version FROM ${quoted}.migration_done`)).rows.map((row) => row.version))
  for (const [index, statements] of VERSIONS.entries()) {
    if (done.has(index + 1) || index >= upTo) continue
    for (const statement of statements) await tx.query(statement.replaceAll('$schema', quoted))
    await tx.query(`INSERT INTO ${quoted}.migration_done VALUES ($1, ${quoted}.now())`, [index + 1])
  }
}

/** A clock that tests move: the real one, and what it is ahead of it. Any number of processes may call it at the same time. */
export async function installTestClock(tx: Queryable, schema: string): Promise<void> {
  const quoted = `"${schema}"`
  const known = await tx.query(
    `SELECT 1 FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
     WHERE n.nspname = $1 AND c.relname = 'saga_test_clock'`,
    [schema],
  )
  if (known.rows.length > 0) return

  await tx.query(`CREATE TABLE ${quoted}.saga_test_clock (ahead interval NOT NULL)`)
  await tx.query(`INSERT INTO ${quoted}.saga_test_clock VALUES (interval '0')`)
  await tx.query(
    `CREATE OR REPLACE FUNCTION ${quoted}.now() RETURNS timestamptz LANGUAGE sql VOLATILE
     AS 'SELECT clock_timestamp() + (SELECT ahead FROM ${quoted}.saga_test_clock)'`,
  )
}
