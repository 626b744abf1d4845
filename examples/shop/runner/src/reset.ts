import { readdir, rm, rmdir } from 'node:fs/promises'
import { join } from 'node:path'
import { dataNames } from './data.js'
import { isLockFile, lockFolder } from './lock.js'
import { readSettings } from './settings.js'

/**
 * Drops the shop's data, and nothing else that may lie in the folder: `DATA_DIR` may have been set to one that holds
 * more than a shop. Refused while a shop runs on the data.
 */
export async function reset(): Promise<void> {
  try {
    console.log(await dropData(readSettings(process.env).dataDir))
  } catch (error) {
    console.error(error instanceof Error ? error.message : error)
    process.exitCode = 1
  }
}

/** Says what was done. Rejects with a message that says what to do. */
export async function dropData(folder: string): Promise<string> {
  const names = await readdir(folder).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return []
    throw new Error(`the data folder ${folder} cannot be read (${error.code}); set DATA_DIR to that of a shop`)
  })
  const data = names.filter((name) => dataNames.includes(name))
  if (data.length === 0) return `there are no data in ${folder}`

  await lockFolder(folder)
  for (const name of data) await rm(join(folder, name), { recursive: true, force: true })
  // The lock last, so that nobody starts on what is half gone.
  for (const name of await readdir(folder)) if (isLockFile(name)) await rm(join(folder, name), { force: true })
  await rmdir(folder).catch(() => {
    // Something of somebody else's is in it; it stays.
  })
  return `dropped the data in ${folder}`
}
