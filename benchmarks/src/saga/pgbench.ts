import { execFile } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { Place } from './place.js'

const PGBENCH = process.env['PGBENCH'] ?? '/usr/lib/postgresql/15/bin/pgbench'
const CLIENTS = 8
const INSERT = `INSERT INTO bench_row (saga, name, output, at)
  VALUES (gen_random_uuid(), 'step', '{"ok": true, "step": 1}', clock_timestamp());\n`

/** Single-row inserts into a table with one index, by as many clients as can be busy at a time; ns per insert. */
export interface Inserts {
  readonly name: string
  run(ms: number): Promise<number>
  close(): Promise<void>
}

export async function pgbench({ pool, url }: Place): Promise<Inserts> {
  await pool.query(`CREATE TABLE IF NOT EXISTS bench_row (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, saga uuid, name text, output json, at timestamptz)`)
  const folder = await mkdtemp(join(tmpdir(), 'msx-bench-'))
  const script = join(folder, 'insert.sql')
  await writeFile(script, INSERT)

  return {
    name: `pgbench -c ${CLIENTS} -M prepared`,
    async run(ms) {
      const { hostname, port, username, pathname } = new URL(url)
      const seconds = Math.max(1, Math.round(ms / 1_000))
      const { stdout } = await promisify(execFile)(PGBENCH, [
        ...['-n', '-M', 'prepared', '-c', String(CLIENTS), '-j', '2', '-T', String(seconds), '-f', script],
        ...['-h', hostname, '-p', port || '5432', '-U', username, pathname.slice(1)],
      ])
      const rate = Number(/^tps = ([\d.]+)/m.exec(stdout)?.[1])
      if (!(rate > 0)) throw new Error(`pgbench said: ${stdout}`)
      return 1e9 / rate
    },
    close: () => rm(folder, { recursive: true }),
  }
}
