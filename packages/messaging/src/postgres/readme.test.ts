import { readFile } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { runExample } from '../../../../tooling/readme.js'

const README = new URL('../../README.md', import.meta.url)

test('the example of outbox and inbox prints what the README says', async () => {
  const markdown = await readFile(README, 'utf8')
  const blocks = [...markdown.matchAll(/```ts\n([\s\S]*?)```/g)]
  const index = blocks.findIndex(([, source]) => source?.includes("from '@msx/messaging/postgres'"))
  const after = markdown.slice((blocks[index]?.index ?? 0) + (blocks[index]?.[0].length ?? 0))

  const printed = await runExample(README, index)

  expect(printed).toBe(/prints\n\n```\n([\s\S]*?)```/.exec(after)?.[1])
}, 60_000)
