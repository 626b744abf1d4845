import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { lockFolder } from './lock.js'
import { dropData } from './reset.js'

let folder: string

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'shop-reset-'))
})

afterEach(() => rm(folder, { recursive: true, force: true }))

test('drops the data, the lock that a killed shop left, and the folder', async () => {
  const dataDir = await dataIn('data')
  await writeFile(join(dataDir, 'lock.json'), '')

  expect(await dropData(dataDir)).toBe(`dropped the data in ${dataDir}`)

  expect(await readdir(folder)).toEqual([])
})

test("leaves alone what is not the shop's, in a folder that holds more", async () => {
  await dataIn('.')
  await writeFile(join(folder, 'thesis.txt'), 'years of work')

  await dropData(folder)

  expect(await readdir(folder)).toEqual(['thesis.txt'])
})

test('refuses while a shop runs on the data', async () => {
  const dataDir = await dataIn('data')
  await lockFolder(dataDir)

  await expect(dropData(dataDir)).rejects.toThrow(`in use by process ${process.pid}`)
  expect(await readdir(dataDir)).toContain('postgres')
})

test('says that there is nothing to drop, and makes no folder for it', async () => {
  expect(await dropData(join(folder, 'none'))).toContain('there are no data in')

  expect(await readdir(folder)).toEqual([])
})

test('says that a file is no data folder', async () => {
  const file = join(folder, 'file')
  await writeFile(file, '')

  await expect(dropData(file)).rejects.toThrow(`the data folder ${file} cannot be read (ENOTDIR)`)
})

async function dataIn(name: string): Promise<string> {
  const dataDir = join(folder, name)
  await mkdir(join(dataDir, 'postgres'), { recursive: true })
  await writeFile(join(dataDir, 'postgres', 'PG_VERSION'), '17')
  return dataDir
}
