import { randomUUID } from 'node:crypto'
import { link, mkdir, readFile, rename, rm, stat, unlink, writeFile } from 'node:fs/promises'
import { hostname } from 'node:os'
import { dirname, join } from 'node:path'

/**
 * One process per data folder. Two PGlite processes on one folder lose committed rows without a word, so the second is
 * refused. The lock is a file that names its owner; the owner of a lock left behind by `kill -9` is seen to be dead,
 * also when its number has been given to another process since.
 *
 * Whoever takes over from a dead owner appends to a chain: to `lock.json` with the token T belongs at most one file
 * `lock.after-T.json`, which exactly one process can make, and the last of the chain has the folder. So nothing is ever
 * removed that somebody faster may have made, and a taker that is killed on its way is a dead owner like any other.
 * The new owner then makes itself the first of the chain and drops what came before it.
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
  await makeFolder(folder)
  const path = join(folder, 'lock.json')
  const self: Owner = {
    pid: process.pid,
    started: (await startOf(process.pid)) ?? '',
    host: hostname(),
    token: randomUUID(),
  }

  while (!(await create(path, self)) && !(await takeOver(folder, path, self))) {
    // The owner has let go, or somebody else has taken over since we looked: look again.
  }

  return {
    async release() {
      if ((await ownerOf(path))?.token === self.token) await rm(path, { force: true })
    },
  }
}

/** The names of the files that locks are made of. */
export function isLockFile(name: string): boolean {
  return /^lock\.(?:after-[\w-]+\.)?json(?:\.[\w-]+)?$/.test(name)
}

/** True when the folder is ours, false when the chain has changed meanwhile; rejects when its last owner lives. */
async function takeOver(folder: string, path: string, self: Owner): Promise<boolean> {
  const first = await ownerOf(path)
  if (first === undefined) return false

  let last = first
  const chain: string[] = []
  for (;;) {
    await refuseIfAlive(folder, last)
    const next = join(folder, `lock.after-${last.token}.json`)
    chain.push(next)
    if (await create(next, self)) break

    const owner = await ownerOf(next)
    if (owner === undefined) return false
    last = owner
  }

  // Who took over before us may have dropped the rest of the chain while we walked along it: then ours hangs in the air.
  if ((await ownerOf(path))?.token !== first.token) {
    await rm(join(folder, `lock.after-${last.token}.json`), { force: true })
    return false
  }
  const draft = `${path}.${self.token}`
  await writeFile(draft, JSON.stringify(self))
  await rename(draft, path)
  for (const file of chain) await rm(file, { force: true })
  return true
}

/**
 * `mkdir -p`, one level after the other: Node's own never returns where the system says ENOENT of a folder whose parent
 * is there, as it does below /proc.
 */
async function makeFolder(folder: string): Promise<void> {
  try {
    await mkdir(folder)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'EEXIST' && (await stat(folder)).isDirectory()) return
    if (code !== 'ENOENT' || dirname(folder) === folder || (await isFolder(dirname(folder)))) throw error

    await makeFolder(dirname(folder))
    await makeFolder(folder)
  }
}

function isFolder(path: string): Promise<boolean> {
  return stat(path).then(
    (found) => found.isDirectory(),
    () => false,
  )
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

/** Who made the file; undefined when it is not there. One that cannot be read, after a disk was full, is nobody's. */
async function ownerOf(path: string): Promise<Owner | undefined> {
  try {
    const owner = JSON.parse(await readFile(path, 'utf8')) as Owner
    return typeof owner?.token === 'string' ? owner : nobody
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ENOENT' ? undefined : nobody
  }
}

const nobody: Owner = { pid: 0, started: '', host: '', token: 'nobody' }

async function refuseIfAlive(folder: string, owner: Owner): Promise<void> {
  if (owner === nobody || !(await isAlive(owner))) return

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
