import { execFile } from 'node:child_process'
import { access, readdir, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { PGlite } from '@electric-sql/pglite'

const run = promisify(execFile)

/** What lies in the data folder is no database that can be opened, or none could be made there. */
export class UnreadableDataError extends Error {
  override readonly name = 'UnreadableDataError'
}

/** What `openData` makes in the folder. */
export const dataNames: readonly string[] = ['postgres', 'postgres.draft']

/**
 * Opens the shop's one embedded PostgreSQL. The very first start makes its files, which takes much memory for a moment:
 * that happens in a process of its own, and under another name until it is whole, so that a start cut short leaves
 * nothing half-made behind.
 *
 * @throws {UnreadableDataError} when something else is in its place, or its files are damaged.
 */
export async function openData(folder: string, options: { onFirstStart?: () => void } = {}): Promise<PGlite> {
  const path = join(folder, 'postgres')
  if (!(await exists(join(path, 'PG_VERSION')))) {
    if (!(await isEmpty(path))) throw unreadable(path, new Error('there is no PG_VERSION in it'))

    options.onFirstStart?.()
    const draft = `${path}.draft`
    await rm(draft, { recursive: true, force: true })
    await run(process.execPath, [fileURLToPath(new URL('./initialise.js', import.meta.url)), draft]).catch(
      async (error: Error & { stderr?: string }) => {
        await rm(draft, { recursive: true, force: true })
        const because = /^\w*Error\b.*/m.exec(error.stderr ?? '')?.[0] ?? 'its maker ended early'
        throw new UnreadableDataError(
          `no database could be made in ${folder} (${because}); is there room for 100 MB? DATA_DIR names another folder`,
          { cause: error },
        )
      },
    )
    await rename(draft, path)
  }

  try {
    return await PGlite.create({ dataDir: path })
  } catch (error) {
    throw unreadable(path, error)
  }
}

function unreadable(path: string, cause: unknown): UnreadableDataError {
  const because = cause instanceof Error ? cause.message : String(cause)
  return new UnreadableDataError(
    `the data in ${path} cannot be opened (${because}); \`npm run reset\` drops them, or set DATA_DIR to another folder`,
    { cause },
  )
}

/** Nothing there counts as empty; a file in the folder's place is for others to refuse. */
async function isEmpty(path: string): Promise<boolean> {
  const names = await readdir(path).catch(() => [])
  return names.length === 0
}

function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  )
}
