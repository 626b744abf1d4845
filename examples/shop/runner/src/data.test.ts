import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { openData, UnreadableDataError } from './data.js'

let folder: string

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'shop-data-'))
  await mkdir(join(folder, 'postgres'))
})

afterEach(() => rm(folder, { recursive: true }))

test('leaves a folder alone in which there is something else, and says what to do', async () => {
  await writeFile(join(folder, 'postgres', 'notes.txt'), '')

  await expect(openData(folder)).rejects.toThrow(
    /cannot be opened \(there is no PG_VERSION in it\); `npm run reset` drops them, or set DATA_DIR/,
  )
  expect(await readdir(join(folder, 'postgres'))).toEqual(['notes.txt'])
})

test('says of files that are damaged that they cannot be opened, and what to do', async () => {
  await writeFile(join(folder, 'postgres', 'PG_VERSION'), '17\n')

  const error: unknown = await openData(folder).catch((reason: unknown) => reason)

  expect(error).toBeInstanceOf(UnreadableDataError)
  expect((error as Error).message).toContain('`npm run reset` drops them')
})
