// What a stranger gets: packs each package, lints the tarball (publint, attw), installs it with plain npm into an empty
// folder without any optional peer, and runs its README's first example there. Prints a table; fails when a row does.

import { execFile } from 'node:child_process'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify, stripVTControlCharacters } from 'node:util'
import { transform } from 'esbuild'
import { outdated } from './api-report.mjs'
import { publicPackages } from './packages.mjs'

const root = fileURLToPath(new URL('..', import.meta.url))
const run = promisify(execFile)
const env = { ...process.env, PATH: join(root, 'node_modules/.bin') + delimiter + process.env.PATH, NO_COLOR: '1' }

const packages = publicPackages()
const box = await mkdtemp(join(tmpdir(), 'msx-packages-'))
const failures = []

try {
  const tarballs = new Map()
  for (const { folder, manifest } of packages) {
    const { stdout } = await run('pnpm', ['pack', '--pack-destination', box], { cwd: join(root, folder), env })
    tarballs.set(manifest.name, stdout.trim().split('\n').at(-1))
  }

  const changed = new Set(outdated().map(({ manifest }) => manifest.name))
  const rows = []
  for (const { name, folder, manifest } of packages) {
    const tarball = tarballs.get(manifest.name)
    rows.push({
      package: manifest.name,
      publint: await check(manifest, 'publint', () => run('publint', ['--strict', tarball], { cwd: root, env })),
      types: await check(manifest, 'types', () => run('attw', [tarball, '--profile', 'esm-only'], { cwd: root, env })),
      'api report': await check(manifest, 'api report', async () => {
        if (changed.has(manifest.name))
          throw new Error('the public API is not what api-report.md says; `pnpm api:update` writes it')
      }),
      'plain npm install, first example': await check(manifest, 'first example', () =>
        firstExample(name, folder, manifest, tarballs),
      ),
    })
    process.stderr.write(`${manifest.name} checked\n`)
  }
  console.table(Object.fromEntries(rows.map(({ package: key, ...row }) => [key, row])))
} finally {
  await rm(box, { recursive: true, force: true })
}

for (const failure of failures) console.error(`\n${failure}`)
process.exitCode = failures.length > 0 ? 1 : 0

async function check(manifest, what, run) {
  try {
    await run()
    return 'ok'
  } catch (error) {
    const output = [error.stdout, error.stderr, error.stdout === undefined ? error.message : '']
      .filter(Boolean)
      .join('\n')
    failures.push(`${manifest.name}: ${what}\n${stripVTControlCharacters(output)}`)
    return 'FAILED'
  }
}

/** As a reader would: an empty folder, `npm install` of what the README's install line names, the example as a file. */
async function firstExample(name, folder, manifest, tarballs) {
  const readme = await readFile(join(root, folder, 'README.md'), 'utf8')
  const [, install] = /^npm install ([^#\n]+)/m.exec(readme) ?? []
  const [, source] = /```ts\n([\s\S]*?)```/.exec(readme) ?? []
  if (install === undefined || source === undefined)
    throw new Error('the README has no `npm install` line or no ```ts block')

  const place = join(box, `use-${name}`)
  await mkdir(place)
  await writeFile(join(place, 'package.json'), '{ "private": true, "type": "module" }')
  // A package of ours that is not published yet comes from its tarball, whether asked for or depended on.
  const named = install
    .trim()
    .split(/\s+/)
    .filter((wanted) => manifest.peerDependenciesMeta?.[wanted]?.optional !== true)
    .map((wanted) => tarballs.get(wanted) ?? wanted)
  const inner = Object.keys(manifest.dependencies ?? {}).flatMap((dependency) => tarballs.get(dependency) ?? [])
  const deep = packages
    .filter((other) => manifest.dependencies?.[other.manifest.name] !== undefined)
    .flatMap((other) => Object.keys(other.manifest.dependencies ?? {}))
    .flatMap((dependency) => tarballs.get(dependency) ?? [])
  await run('npm', ['install', '--no-audit', '--no-fund', ...new Set([...named, ...inner, ...deep])], {
    cwd: place,
    env,
  })

  const { code } = await transform(source, { loader: 'ts', format: 'esm', target: 'node20' })
  await writeFile(join(place, 'example.js'), code)
  const { stdout } = await run(process.execPath, ['example.js'], { cwd: place, timeout: 20_000 })
  if (stdout.trim() === '') throw new Error('the first example prints nothing')
}
