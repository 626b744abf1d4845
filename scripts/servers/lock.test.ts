import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setImmediate as turn } from 'node:timers/promises'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { breakLock, withLock } from './lock.mjs'
import { recordOf } from './processes.mjs'

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'msx-lock-'))
})
afterEach(() => rmSync(folder, { recursive: true }))

/** Many at once: how many were ever inside together, and how many got in. */
async function contend(contenders: number) {
  let [inside, most, entered] = [0, 0, 0]
  const work = async () => {
    inside += 1
    entered += 1
    most = Math.max(most, inside)
    for (let i = 0; i < 5; i += 1) await turn()
    inside -= 1
  }
  await Promise.all(Array.from({ length: contenders }, () => withLock(folder, work)))
  return { most, entered }
}

test('lets one in at a time, and leaves nothing behind', async () => {
  expect(await contend(5)).toEqual({ most: 1, entered: 5 })
  expect(readdirSync(folder)).toEqual([])
})

test('is not held for ever by a process that was killed', async () => {
  const dead = { ...recordOf(process.pid, 'node'), started: 'before', id: 'dead' }
  writeFileSync(join(folder, 'lock'), JSON.stringify(dead))

  expect(await contend(5)).toEqual({ most: 1, entered: 5 })
  expect(readdirSync(folder)).toEqual([])
})

test('is not broken by one who saw it dead too late, when another has it already', () => {
  const lock = join(folder, 'lock')
  writeFileSync(lock, JSON.stringify({ id: 'the next' }))

  breakLock(lock, { id: 'dead' })

  expect(readdirSync(folder)).toEqual(['lock'])
})

test('is not broken by two', () => {
  const lock = join(folder, 'lock')
  writeFileSync(lock, JSON.stringify({ id: 'dead' }))
  mkdirSync(`${lock}.dead.dead`)

  breakLock(lock, { id: 'dead' })

  expect(readdirSync(folder)).toContain('lock')
})

test('is given back when the work fails', async () => {
  await expect(withLock(folder, () => Promise.reject(new Error('no')))).rejects.toThrow('no')

  expect(await withLock(folder, async () => 'in')).toBe('in')
})

test('is waited for only so long, and names who holds it', async () => {
  const waitedFor: number[] = []

  const late = withLock(folder, () =>
    withLock(folder, async () => undefined, { patience: 60, onWait: (pid) => waitedFor.push(pid) }),
  )

  await expect(late).rejects.toThrow(`(pid ${process.pid}) has been at work for too long`)
  expect(waitedFor).toEqual([process.pid])
})

test('is not taken in a folder that cannot be written to, and says what to do', async () => {
  writeFileSync(join(folder, 'file'), '')

  await expect(withLock(join(folder, 'file', 'folder'), async () => undefined)).rejects.toMatchObject({
    message: expect.stringContaining('cannot be remembered'),
    advice: expect.stringContaining('MSX_SERVICES_DIR'),
  })
})
