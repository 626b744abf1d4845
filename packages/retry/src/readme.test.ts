import { readFile } from 'node:fs/promises'
import { expect, it } from 'vitest'
import { documentedCodes, runFirstExample } from '../../../tooling/readme.js'
import * as entry from './index.js'

const README = new URL('../README.md', import.meta.url)

it('prints what its first example says', async () => {
  const text = await readFile(README, 'utf8')
  const printed = /It prints\n\n```text\n([\s\S]*?)```/.exec(text)?.[1]

  expect(await runFirstExample(README)).toBe(printed)
})

it('has a row for each code of an error, and no other', async () => {
  const errors = [new entry.TimeoutError(1), new entry.HttpStatusError(new Response())]
  const classes = Object.keys(entry).filter((name) => /^[A-Z]\w*Error$/.test(name))

  expect(errors.map((error) => error.name).sort()).toEqual(classes.sort())
  expect(documentedCodes(await readFile(README, 'utf8'))).toEqual(errors.map((error) => error.code).sort())
})
