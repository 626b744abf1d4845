import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { transform } from 'esbuild'

const run = promisify(execFile)

/**
 * Runs the first ```ts block of a README as a reader would: a file in the package's folder that imports the package by
 * its name (so the built files and the `exports` map are what is tested). Returns what it prints.
 */
export function runFirstExample(readme: URL): Promise<string> {
  return runExample(readme, 0)
}

/** The same for a later block; the first one is 0. */
export async function runExample(readme: URL, index: number): Promise<string> {
  const path = fileURLToPath(readme)
  const source = example(await readFile(path, 'utf8'), index, path)
  const { code } = await transform(source, { loader: 'ts', format: 'esm', target: 'node20' })

  const folder = await mkdtemp(join(dirname(path), '.cache-readme-'))
  try {
    const file = join(folder, 'example.mjs')
    await writeFile(file, code)
    const { stdout } = await run(process.execPath, [file], { timeout: 20_000 })
    return stdout
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

function example(markdown: string, index: number, path: string): string {
  const source = [...markdown.matchAll(/```ts\n([\s\S]*?)```/g)][index]?.[1]
  if (source === undefined) throw new Error(`${path} has no \`\`\`ts block number ${index + 1}`)

  return source
}

/** The codes in the first column of the README's table of errors: `| \`MSX_…\` | … |`. */
export function documentedCodes(markdown: string): string[] {
  return [...markdown.matchAll(/^\| `(MSX_[A-Z_]+)`/gm)].map((match) => match[1] as string).sort()
}
