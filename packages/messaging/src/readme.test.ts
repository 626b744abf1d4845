import { readFile } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { documentedCodes, runFirstExample } from '../../../tooling/readme.js'

const README = new URL('../README.md', import.meta.url)

test('the first example prints what the README says', async () => {
  const printed = await runFirstExample(README)

  const [, said] = /prints\n\n```\n([\s\S]*?)```/.exec(await readFile(README, 'utf8')) ?? []
  expect(printed).toBe(said)
})

test('the table of errors has every code, and no other', async () => {
  const source = await readFile(new URL('./errors.ts', import.meta.url), 'utf8')
  const codes = [...new Set([...source.matchAll(/'(MSX_[A-Z_]+)'/g)].map(([, code]) => code))].sort()

  expect(documentedCodes(await readFile(README, 'utf8'))).toEqual(codes)
})
