import { expect, test } from 'vitest'
import { runFirstExample } from '../tooling/readme.js'

test("the README's first example prints what it says", async () => {
  expect(await runFirstExample(new URL('../README.md', import.meta.url))).toBe('42 after 3 calls\n')
})
