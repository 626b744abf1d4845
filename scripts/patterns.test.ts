import { execFile } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { promisify } from 'node:util'
import { describe, expect, it } from 'vitest'
import { runFirstExample } from '../tooling/readme.js'

const root = join(import.meta.dirname, '..')
const folder = join(root, 'docs/patterns')
const pages = readdirSync(folder).filter((name) => name.endsWith('.md'))
const patterns = pages.filter((name) => name !== 'README.md')
const read = (page: string) => readFileSync(join(folder, page), 'utf8')

describe.each(patterns)('the page %s', (page) => {
  const text = read(page)

  it('has a first example that prints what the page says', async () => {
    const printed = /It prints\n\n```text\n([\s\S]*?)```/.exec(text)?.[1]

    expect(await runFirstExample(pathToFileURL(join(folder, page)))).toBe(printed)
  })

  it('has a picture, numbers, what to watch, anti-patterns and sources', () => {
    expect(text).toContain('```mermaid\n')
    const headings = [...text.matchAll(/^## (.+)$/gm)].map(([, heading]) => heading)

    expect(headings).toEqual(expect.arrayContaining(['What happens', 'What to watch', 'Anti-patterns', 'Sources']))
    expect(headings.some((heading) => heading?.startsWith('Choosing'))).toBe(true)
  })

  it('says for each anti-pattern what to do instead', () => {
    const section = text.slice(text.indexOf('## Anti-patterns'), text.indexOf('## Sources'))
    const entries = section.split(/\n\n(?=\*\*)/).slice(1)

    expect(entries.length).toBeGreaterThanOrEqual(4)
    for (const entry of entries) expect(entry).toMatch(/_Instead_/)
  })

  it('names only metrics that the packages have', () => {
    const readmes = ['retry', 'circuit-breaker'].map((name) =>
      readFileSync(join(root, 'packages', name, 'README.md'), 'utf8'),
    )
    const named = [...text.matchAll(/`((?:retry|hedge|circuit_breaker|bulkhead|throttle)_\w+)/g)].map(
      ([, name]) => name,
    )

    for (const name of named) expect(readmes.join()).toContain(`| \`${name}\``)
  })
})

it.each(pages)('%s links to what exists', (page) => {
  const links = [...read(page).matchAll(/\]\((?!https?:|#)([^)#]+)/g)].map(([, link]) => link as string)

  for (const link of links) expect(existsSync(join(folder, link)), link).toBe(true)
})

it('the index lists every page', () => {
  for (const page of patterns) expect(read('README.md')).toContain(`(${page})`)
})

it('every example of every page compiles', { timeout: 60_000 }, async () => {
  const place = await mkdtemp(join(folder, '.cache-types-'))
  try {
    const files: string[] = []
    for (const page of pages) {
      for (const [, source = ''] of read(page).matchAll(/^ *```ts\n([\s\S]*?)^ *```/gm)) {
        // Each block is a module of its own, as for a reader.
        const file = join(place, `${files.length}-${page.replace('.md', '.mts')}`)
        await writeFile(file, `${source}\nexport {}\n`)
        files.push(file)
      }
    }
    const compilerOptions = { noUnusedLocals: false }
    const config = { extends: join(root, 'tsconfig.base.json'), compilerOptions, files }
    await writeFile(join(place, 'tsconfig.json'), JSON.stringify(config))

    const tsc = join(root, 'node_modules/typescript/bin/tsc')
    const result = await promisify(execFile)(process.execPath, [tsc, '-p', place]).catch((error) => error)

    expect(result.stdout).toBe('')
  } finally {
    await rm(place, { recursive: true, force: true })
  }
})
