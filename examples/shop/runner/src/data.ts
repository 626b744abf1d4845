import { execFile } from 'node:child_process'
import { access, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { PGlite } from '@electric-sql/pglite'

const run = promisify(execFile)

/**
 * Opens the shop's one embedded PostgreSQL. The very first start makes its files, which takes much memory for a moment:
 * that happens in a process of its own, and under another name until it is whole, so that a start cut short leaves
 * nothing half-made behind.
 */
export async function openData(folder: string, options: { onFirstStart?: () => void } = {}): Promise<PGlite> {
  const path = join(folder, 'postgres')
  if (!(await exists(join(path, 'PG_VERSION')))) {
    options.onFirstStart?.()
    const draft = `${path}.draft`
    await rm(draft, { recursive: true, force: true })
    await run(process.execPath, [fileURLToPath(new URL('./initialise.js', import.meta.url)), draft])
    await rename(draft, path)
  }

  return PGlite.create({ dataDir: path })
}

function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  )
}
