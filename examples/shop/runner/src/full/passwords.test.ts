import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { readPasswords } from './passwords.js'

let folder: string
let file: string

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'shop-passwords-'))
  file = join(folder, 'full', 'passwords.json')
})

afterEach(() => rm(folder, { recursive: true }))

test('makes a password for each role, and finds it again', async () => {
  const first = await readPasswords(file, ['a', 'b'])

  expect(first['a']).toMatch(/^[\w-]{32}$/)
  expect(first['a']).not.toBe(first['b'])
  expect(await readPasswords(file, ['a', 'b'])).toEqual(first)
})

test('keeps those it has when another role comes', async () => {
  const first = await readPasswords(file, ['a'])

  expect(await readPasswords(file, ['a', 'b'])).toMatchObject(first)
})

test('lets only the owner read them', async () => {
  await readPasswords(file, ['a'])

  expect((await stat(file)).mode & 0o777).toBe(0o600)
})

test('says what to do about a file that holds something else', async () => {
  await readPasswords(file, ['a'])
  await writeFile(file, 'not json')

  await expect(readPasswords(file, ['a'])).rejects.toThrow(`${file} does not hold the passwords of the shop; delete it`)
})

test('names the file and the variable when it cannot be kept', async () => {
  await writeFile(join(folder, 'full'), '')

  await expect(readPasswords(file, ['a'])).rejects.toThrow(
    /passwords\.json cannot be (read|written) \(ENOTDIR\); set DATA_DIR/,
  )
})
