import { checkCount } from '../internal/check.js'
import type { Queryable } from '../shapes.js'

/**
 * What identifies a key in an index, which has no room for one of any length. No hash: whoever may choose a key would find
 * one with the hash of another's in no time, and with an event that the broker refuses hold up that one.
 */
export const KEY_HEAD: string = '(left(key, 500) COLLATE "C")'

/*
 * outbox  one row per event that is not with the broker yet, in the order of `id`. `state`: 0 ready, 1 delayed until
 *         `due`, 2 failed and tried again at `due`, 3 parked, 4 held. A row that failed once (`failed_at`) holds back later
 *         rows of its key until the broker has it; whoever meets one of those puts it aside as held, so that it is not
 *         met again by each that looks for what is ready.
 * inbox   one row per message that a group has handled.
 *
 * Each statement of a relay has an index that leads to what it is for and nothing else, however much of anything else
 * there is. What is ready is in two of them, the others are of what is in trouble or delayed.
 *
 * The payload is the JSON text as it will travel: kept as it came, with no second opinion about numbers or characters.
 * Rows live for milliseconds, so autovacuum looks early: what is deleted is in the way of the next who reads.
 */
const VERSIONS: readonly (readonly string[])[] = [
  [
    `CREATE TABLE $schema.outbox (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  bucket smallint NOT NULL,
  message_id text NOT NULL,
  type text NOT NULL,
  key text,
  body text NOT NULL,
  headers json NOT NULL,
  correlation_id text,
  ttl float8,
  state smallint NOT NULL DEFAULT 0,
  due timestamptz,
  attempts int NOT NULL DEFAULT 0,
  code text,
  reason text,
  at timestamptz NOT NULL DEFAULT clock_timestamp(),
  failed_at timestamptz
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000, autovacuum_vacuum_cost_delay = 0)`,
    'CREATE INDEX outbox_ready ON $schema.outbox (id) WHERE state = 0',
    'CREATE INDEX outbox_due ON $schema.outbox (due) WHERE state IN (1, 2)',
    'CREATE INDEX outbox_held ON $schema.outbox (key, id) WHERE state >= 2',
    `CREATE TABLE $schema.inbox (
  group_name text NOT NULL,
  message_id text NOT NULL,
  at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (group_name, message_id)
)`,
    'CREATE INDEX inbox_at ON $schema.inbox USING brin (at)',
  ],
  [
    'DROP INDEX $schema.outbox_ready, $schema.outbox_due, $schema.outbox_held',
    'CREATE INDEX outbox_ready ON $schema.outbox (bucket, id) WHERE state = 0',
    'CREATE INDEX outbox_waiting ON $schema.outbox (state, bucket, due) WHERE state > 0',
    'CREATE INDEX outbox_failed ON $schema.outbox (hashtextextended(key, 0), id) WHERE failed_at IS NOT NULL',
    'CREATE INDEX outbox_held ON $schema.outbox (hashtextextended(key, 0), id) WHERE state = 4',
    'CREATE INDEX outbox_parked ON $schema.outbox (id) WHERE state = 3',
  ],
  [
    'DROP INDEX $schema.outbox_failed, $schema.outbox_held',
    `CREATE INDEX outbox_failed ON $schema.outbox (${KEY_HEAD}, id) WHERE failed_at IS NOT NULL`,
    `CREATE INDEX outbox_held ON $schema.outbox (${KEY_HEAD}, id) WHERE state = 4`,
  ],
]

/** What part of the migrations to print. */
export interface MigrationsOptions {
  /** Only what came after this version, which is the highest one in `migration_done`. Default 0: everything. */
  readonly from?: number | undefined
}

/** What `migrate` does, as text for those who let a tool of their own run it. */
export function migrationText(schema: string, { from = 0 }: MigrationsOptions = {}): string {
  checkCount('migrations', 'from', from, 0)
  const quoted = `"${schema}"`
  const before = from === 0 ? [`CREATE SCHEMA IF NOT EXISTS ${quoted}`, doneTable(quoted)] : []
  const steps = VERSIONS.flatMap((statements, index) =>
    index < from
      ? []
      : [
          `-- version ${index + 1}`,
          ...statements.map((statement) => statement.replaceAll('$schema', quoted)),
          doneStatement(quoted, index + 1),
        ],
  )

  return [...before, ...steps].map((line) => (line.startsWith('-- ') ? `${line}\n` : `${line};\n`)).join('')
}

/** Creates what is missing. Any number of processes may call it at the same time. */
export async function migrateSchema(tx: Queryable, schema: string): Promise<void> {
  const quoted = `"${schema}"`
  await tx.query('SELECT pg_advisory_xact_lock(hashtext($1))', [`msx_messaging/${schema}`])

  // CREATE SCHEMA IF NOT EXISTS asks for the right to create one even when it exists.
  const existing = await tx.query('SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = $1', [schema])
  if (existing.rows.length === 0) await tx.query(`CREATE SCHEMA ${quoted}`)

  const known = await tx.query(
    `SELECT 1 FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
     WHERE n.nspname = $1 AND c.relname = 'migration_done'`,
    [schema],
  )
  if (known.rows.length === 0) await tx.query(doneTable(quoted))

  const done = new Set((await tx.query(`SELECT version FROM ${quoted}.migration_done`)).rows.map((row) => row.version))
  for (const [index, statements] of VERSIONS.entries()) {
    if (done.has(index + 1)) continue
    for (const statement of statements) await tx.query(statement.replaceAll('$schema', quoted))
    await tx.query(doneStatement(quoted, index + 1))
  }
}

function doneTable(quoted: string): string {
  return `CREATE TABLE ${quoted}.migration_done (version int PRIMARY KEY, at timestamptz NOT NULL)`
}

function doneStatement(quoted: string, version: number): string {
  return `INSERT INTO ${quoted}.migration_done VALUES (${version}, clock_timestamp())`
}
