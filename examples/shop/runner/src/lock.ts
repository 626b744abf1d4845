import { randomUUID } from 'node:crypto'
import { link, mkdir, readFile, rename, rm, unlink, writeFile } from 'node:fs/promises'
import { hostname } from 'node:os'
import { join } from 'node:path'

/**
 * One process per data folder. Two PGlite processes on one folder lose committed rows without a word, so the second is
 * refused. The lock is a file that names its owner; the owner of a lock left behind by `kill -9` is seen to be dead,
 * also when its number has been given to another process since.
 *
 * A dead owner's lock is taken over under a second file, which exactly one process can make: without it, two starters
 * who both see the dead owner would both remove the lock, the slower one that of the faster.
 */

interface Owner {
  readonly pid: number
  /** When the process started, as the kernel tells it; tells a process from a later one with the same number. */
  readonly started: string
  readonly host: string
  readonly token: string
}

export interface Lock {
  release(): Promise<void>
}

/** Somebody else has the folder. */
export class FolderInUseError extends Error {
  override readonly name = 'FolderInUseError'
}

export async function lockFolder(folder: string): Promise<Lock> {
  await mkdir(folder, { recursive: true })
  const path = join(folder, 'lock.json')
  const takeover = join(folder, 'lock.takeover')
  const self: Owner = {
    pid: process.pid,
    started: (await startOf(process.pid)) ?? '',
    host: hostname(),
    token: randomUUID(),
  }

  if (!(await create(path, self))) {
    await refuseIfAlive(folder, await ownerOf(path))

    if (!(await create(takeover, self))) {
      await refuseIfAlive(folder, await ownerOf(takeover))
      throw new FolderInUseError(`the takeover of ${folder} was cut short; remove ${takeover} and start again`)
    }
    try {
      // Looked at again now that nobody else may take it over: a faster starter may have done so before us.
      await refuseIfAlive(folder, await ownerOf(path))
      await writeFile(`${path}.${self.token}`, JSON.stringify(self))
      await rename(`${path}.${self.token}`, path)
    } finally {
      await rm(takeover, { force: true })
    }
  }

  return {
    async release() {
      if ((await ownerOf(path))?.token === self.token) await rm(path, { force: true })
    },
  }
}

/** Makes the file with its content in one step, or says that it exists. */
async function create(path: string, owner: Owner): Promise<boolean> {
  const draft = `${path}.${owner.token}`
  await writeFile(draft, JSON.stringify(owner))
  try {
    await link(draft, path)
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false
    throw error
  } finally {
    await unlink(draft)
  }
}

async function ownerOf(path: string): Promise<Owner | undefined> {
  try {
    return JSON.parse(await readFile(path, 'utf8'))
  } catch {
    return undefined
  }
}

async function refuseIfAlive(folder: string, owner: Owner | undefined): Promise<void> {
  if (owner === undefined || !(await isAlive(owner))) return

  const where = owner.host === hostname() ? '' : ` on ${owner.host}`
  throw new FolderInUseError(
    `the data in ${folder} are in use by process ${owner.pid}${where}; stop it, or set DATA_DIR to another folder`,
  )
}

async function isAlive(owner: Owner): Promise<boolean> {
  // The processes of another machine that shares the folder cannot be seen from here.
  if (owner.host !== hostname()) return true

  try {
    process.kill(owner.pid, 0)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false
  }
  const started = await startOf(owner.pid)
  return started === undefined || owner.started === '' || started === owner.started
}

/** The start time of a process in clock ticks since boot, where the system has /proc; else undefined. */
async function startOf(pid: number): Promise<string | undefined> {
  try {
    const stat = await readFile(`/proc/${pid}/stat`, 'utf8')
    // The name, in parentheses, may hold spaces and parentheses; the start time is the 20th field after it.
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]
  } catch {
    return undefined
  }
}
