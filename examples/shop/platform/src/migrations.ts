import { readdir, readFile } from 'node:fs/promises'
import type { Database } from './database.js'

/**
 * Brings a service's schema up to date: runs the numbered `*.sql` files of `folder` that have not run yet, in order,
 * all in one transaction.
 */
export async function applyMigrations(database: Database, folder: URL): Promise<void> {
  const files = (await readdir(folder)).filter((name) => name.endsWith('.sql')).sort()

  await database.transaction(async (tx) => {
    await tx.execute(
      'CREATE TABLE IF NOT EXISTS migration (name text PRIMARY KEY, at timestamptz NOT NULL DEFAULT now())',
    )
    await tx.execute('LOCK TABLE migration IN EXCLUSIVE MODE')
    const done = new Set((await tx.query<{ name: string }>('SELECT name FROM migration')).rows.map((row) => row.name))

    for (const name of files) {
      if (done.has(name)) continue
      await tx.execute(await readFile(new URL(name, folder), 'utf8'))
      await tx.query('INSERT INTO migration (name) VALUES ($1)', [name])
    }
  })
}
