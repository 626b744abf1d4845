import { execFile } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { promisify } from 'node:util'
import { expect, inject, test } from 'vitest'

const run = promisify(execFile)
const readme = new URL('../../../../README.md', import.meta.url)

test("the README's commands place an order that ends CONFIRMED and one that ends CANCELLED", async (context) => {
  const curl = await run('curl', ['--version']).catch(() => undefined)
  if (curl === undefined) context.skip('there is no curl on this machine; install it to try the commands of the README')

  const script = /```sh\n(shop=[\s\S]*?)```/.exec(await readFile(readme, 'utf8'))?.[1]
  if (script === undefined) throw new Error('the README has no block of commands that begins with shop=')
  const url = inject('sharedShop')

  const before = await stock(url)
  const { stdout } = await run('sh', ['-c', script.replace('http://127.0.0.1:8080', url)])

  expect(stdout).toContain('"status":"CONFIRMED"')
  expect(stdout).toContain('"status":"CANCELLED"')
  expect(await stock(url)).toBe(before - 2)
})

async function stock(url: string): Promise<number> {
  const answer = await fetch(`${url}/api/products/espresso-cup`)
  return ((await answer.json()) as { stock: number }).stock
}
