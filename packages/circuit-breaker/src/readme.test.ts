import { readFile } from 'node:fs/promises'
import { expect, it } from 'vitest'
import { documentedCodes, runFirstExample } from '../../../tooling/readme.js'
import * as entry from './index.js'

const readme = new URL('../README.md', import.meta.url)

it('the first example prints what the README says', async () => {
  const promised = /```\n(call 1[\s\S]*?)```/.exec(await readFile(readme, 'utf8'))?.[1]

  expect(await runFirstExample(readme)).toBe(promised)
})

it('the table of errors has the codes of the error classes', async () => {
  const classes = Object.values(entry).filter(
    (value) => typeof value === 'function' && value.prototype instanceof Error,
  )
  const codes = classes.map((errorClass) => (errorClass as unknown as { readonly code: string }).code)

  expect(documentedCodes(await readFile(readme, 'utf8'))).toEqual(codes.sort())
  expect(codes).not.toHaveLength(0)
})

it('the built entry imports nothing but its own parts', async () => {
  const built = await readFile(new URL('../dist/index.js', import.meta.url), 'utf8')

  expect(built).not.toMatch(/^\s*(import|export)\b.*['"](?!\.\/chunk-)[^'"]*['"];?$/m)
})
