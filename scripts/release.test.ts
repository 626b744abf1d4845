import { execFile } from 'node:child_process'
import { cp, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'

const run = promisify(execFile)
const root = fileURLToPath(new URL('..', import.meta.url))
const cli = join(root, 'node_modules/@changesets/cli/bin.js')

interface Manifest {
  readonly name: string
  readonly version?: string
  readonly private?: boolean
  readonly dependencies?: Readonly<Record<string, string>>
}

let scratch: string

/** A copy of what a release looks at: the manifests, the workspace, the changesets' config, a git history. */
beforeAll(async () => {
  scratch = await mkdtemp(join(tmpdir(), 'msx-release-'))
  for (const path of ['package.json', 'pnpm-workspace.yaml', '.changeset/config.json', ...(await manifests(root))]) {
    await mkdir(dirname(join(scratch, path)), { recursive: true })
    await cp(join(root, path), join(scratch, path))
  }

  // The real changelog asks GitHub who wrote what; the dry run has nobody to ask.
  const config = JSON.parse(await readFile(join(scratch, '.changeset/config.json'), 'utf8'))
  await writeFile(
    join(scratch, '.changeset/config.json'),
    JSON.stringify({ ...config, changelog: '@changesets/cli/changelog' }),
  )
  await mkdir(join(scratch, 'node_modules/@changesets'), { recursive: true })
  await cp(join(root, 'node_modules/@changesets/cli'), join(scratch, 'node_modules/@changesets/cli'))
  const git = (...args: string[]) => run('git', args, { cwd: scratch })
  await git('init', '--quiet', '--initial-branch=main')
  await git('add', '.')
  await git('-c', 'user.name=t', '-c', 'user.email=t@example.test', 'commit', '--quiet', '--message', 'start')
})

afterAll(() => rm(scratch, { recursive: true }))

async function manifests(folder: string): Promise<string[]> {
  const found = []
  for (const parent of ['packages', 'examples', 'examples/shop', 'examples/shop/services']) {
    for (const entry of await readdir(join(folder, parent), { withFileTypes: true })) {
      const path = `${parent}/${entry.name}/package.json`
      if (entry.isDirectory() && (await readFile(join(folder, path)).catch(() => undefined)) !== undefined)
        found.push(path)
    }
  }
  return found
}

async function readAll(folder: string): Promise<Map<string, Manifest>> {
  const all = await Promise.all(
    (await manifests(folder)).map(async (path) => JSON.parse(await readFile(join(folder, path), 'utf8')) as Manifest),
  )
  return new Map(all.map((manifest) => [manifest.name, manifest]))
}

describe('a release', () => {
  test('with a minor of one package gives its dependents a patch at most, and leaves private packages alone', async () => {
    const before = await readAll(scratch)
    await writeFile(
      join(scratch, '.changeset/a-minor.md'),
      "---\n'@msx/retry': minor\n---\n\nRetries learn a new trick.\n",
    )

    await run(process.execPath, [cli, 'version'], { cwd: scratch })

    const after = await readAll(scratch)
    const steps = new Map([...after].map(([name, { version }]) => [name, step(before.get(name)?.version, version)]))
    expect(steps.get('@msx/retry')).toBe('minor')
    for (const [name, manifest] of after) {
      if (name === '@msx/retry') continue
      const dependsOnIt = manifest.dependencies?.['@msx/retry'] !== undefined && manifest.private !== true
      expect([name, steps.get(name)]).toEqual([name, dependsOnIt ? expect.stringMatching(/^(none|patch)$/) : 'none'])
    }
  })

  test('publishes the six packages and nothing else', async () => {
    const published = [...(await readAll(root)).values()].filter((manifest) => manifest.private !== true)

    expect(published.map((manifest) => manifest.name).sort()).toEqual([
      '@msx/circuit-breaker',
      '@msx/discovery',
      '@msx/gateway-kit',
      '@msx/messaging',
      '@msx/retry',
      '@msx/saga',
    ])
  })
})

function step(before: string | undefined, after: string | undefined): string {
  if (before === after) return 'none'

  const [a, b] = [before, after].map((version) => (version ?? '').split('.'))
  if (a?.[0] !== b?.[0]) return 'major'
  return a?.[1] === b?.[1] ? 'patch' : 'minor'
}
