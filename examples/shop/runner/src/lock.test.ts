import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { hostname, tmpdir } from 'node:os'
import { join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { FolderInUseError, lockFolder } from './lock.js'

let folder: string

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'shop-lock-'))
})

afterEach(() => rm(folder, { recursive: true }))

test('refuses a second owner, naming the process and the variable', async () => {
  await lockFolder(folder)

  await expect(lockFolder(folder)).rejects.toThrow(
    `the data in ${folder} are in use by process ${process.pid}; stop it, or set DATA_DIR to another folder`,
  )
})

test('lets the next owner in after a release, and leaves nothing behind', async () => {
  await (await lockFolder(folder)).release()
  const second = await lockFolder(folder)
  await second.release()

  expect(await readdir(folder)).toEqual([])
})

test('takes over from a process that was killed', async () => {
  await ownedBy(await deadPid())

  const lock = await lockFolder(folder)

  expect(JSON.parse(await readFile(join(folder, 'lock.json'), 'utf8')).pid).toBe(process.pid)
  await lock.release()
})

test('takes over when the number of the dead owner belongs to another process now', async () => {
  await ownedBy(process.pid, { started: '1' })

  await expect(lockFolder(folder)).resolves.toBeDefined()
})

test('leaves the folder to a process on another machine', async () => {
  await ownedBy(await deadPid(), { host: 'another-machine' })

  await expect(lockFolder(folder)).rejects.toThrow('on another-machine')
})

test('lets exactly one of many starters take over from a dead owner', async () => {
  for (let round = 0; round < 20; round++) {
    await ownedBy(await deadPid())

    const outcomes = await Promise.allSettled(Array.from({ length: 8 }, () => lockFolder(folder)))

    const owners = outcomes.filter((outcome) => outcome.status === 'fulfilled')
    expect(owners).toHaveLength(1)
    for (const outcome of outcomes) {
      if (outcome.status === 'rejected') expect(outcome.reason).toBeInstanceOf(FolderInUseError)
    }
    await owners[0]?.value.release()
  }
})

test('takes over where the one that was taking over was killed before it had finished', async () => {
  await ownedBy(await deadPid())
  await ownedBy(await deadPid(), { token: 'second' }, 'lock.after-other.json')

  const lock = await lockFolder(folder)

  await expect(lockFolder(folder)).rejects.toBeInstanceOf(FolderInUseError)
  await lock.release()
  expect(await readdir(folder)).toEqual([])
})

test('refuses while the one that is taking over is alive', async () => {
  await ownedBy(await deadPid())
  await ownedBy(process.pid, { token: 'second', started: '' }, 'lock.after-other.json')

  await expect(lockFolder(folder)).rejects.toBeInstanceOf(FolderInUseError)
})

test('takes over a lock that a full disk left without content', async () => {
  await writeFile(join(folder, 'lock.json'), '')

  const lock = await lockFolder(folder)

  expect(JSON.parse(await readFile(join(folder, 'lock.json'), 'utf8')).pid).toBe(process.pid)
  await lock.release()
})

test('never has two owners while many come, go and die at the same moment', async () => {
  let owners = 0
  for (let round = 0; round < 10; round++) {
    await ownedBy(await deadPid())
    await Promise.all(
      Array.from({ length: 8 }, async () => {
        for (let tries = 0; tries < 10; tries++) {
          const lock = await lockFolder(folder).catch(() => undefined)
          if (lock === undefined) continue

          owners += 1
          expect(owners).toBe(1)
          await setImmediate()
          owners -= 1
          await lock.release()
        }
      }),
    )
  }
  expect(await readdir(folder)).toEqual([])
})

test('makes the folder and those above it', async () => {
  const lock = await lockFolder(join(folder, 'a', 'b'))

  expect(await readdir(join(folder, 'a'))).toEqual(['b'])
  await lock.release()
})

test('says that a folder cannot be made where the system denies that it could be there', {
  skip: process.platform !== 'linux',
}, async () => {
  await expect(lockFolder('/proc/nothing/can/be/made/here')).rejects.toThrow('ENOENT')
})

let dead: number | undefined

async function deadPid(): Promise<number> {
  if (dead === undefined) {
    const child = spawn(process.execPath, ['--eval', ''])
    dead = child.pid as number
    await once(child, 'exit')
  }
  return dead
}

function ownedBy(pid: number, more: object = {}, file = 'lock.json'): Promise<void> {
  const owner = { pid, started: '1', host: hostname(), token: 'other', ...more }
  return writeFile(join(folder, file), JSON.stringify(owner))
}
