import { readFile } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { documentedCodes, runFirstExample } from '../../../tooling/readme.js'
import * as entry from './index.js'

const readme = new URL('../README.md', import.meta.url)
const text = await readFile(readme, 'utf8')

type ErrorClass = new (...args: string[]) => Error & { readonly code: string }

const errors = Object.values(entry)
  .filter(
    (value): value is ErrorClass & typeof value => typeof value === 'function' && value.prototype instanceof Error,
  )
  .map((make) => new make('x', 'y', 'z'))

test('the first example prints what the README says', { timeout: 30_000 }, async () => {
  expect(await runFirstExample(readme)).toBe(/```\n(reserve order-visa[\s\S]*?)```/.exec(text)?.[1])
})

test('the table of errors has the codes of the error classes', () => {
  expect(errors.length).toBeGreaterThan(0)
  expect(documentedCodes(text)).toEqual(errors.map(({ code }) => code).sort())
})

test('the guard of each error knows it, and no other', () => {
  const guards = Object.entries(entry).filter(([name]) => /^is.+Error$/.test(name))
  expect(guards).toHaveLength(errors.length)

  for (const error of errors) {
    const knowing = guards.filter(([, guard]) => (guard as (error: unknown) => boolean)(error)).map(([name]) => name)
    expect(knowing).toEqual([`is${error.name}`])
  }
})
