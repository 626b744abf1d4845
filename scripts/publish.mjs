// Publishes each package whose version is not on the registry yet. Packed by pnpm, which writes the real versions of
// `workspace:^` into the tarball; published by npm, whose trusted publishing a package manager around it would break
// (changesets/changesets#1914). `--dry-run` packs and says what would be published.

import { execFile } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { publicPackages } from './packages.mjs'

const root = fileURLToPath(new URL('..', import.meta.url))
const run = promisify(execFile)
const dryRun = process.argv.includes('--dry-run')
const box = await mkdtemp(join(tmpdir(), 'msx-publish-'))

try {
  for (const { folder, manifest } of publicPackages()) {
    const release = `${manifest.name}@${manifest.version}`
    if (await isPublished(release)) {
      console.log(`${release} is on the registry`)
      continue
    }

    const { stdout } = await run('pnpm', ['pack', '--pack-destination', box], { cwd: join(root, folder) })
    const tarball = stdout.trim().split('\n').at(-1)
    const more = dryRun ? ['--dry-run'] : ['--provenance']
    await run('npm', ['publish', tarball, '--access', 'public', ...more])
    console.log(`${release} ${dryRun ? 'would be published' : 'published'}`)
  }
} finally {
  await rm(box, { recursive: true, force: true })
}

async function isPublished(release) {
  try {
    const { stdout } = await run('npm', ['view', release, 'version'])
    return stdout.trim() !== ''
  } catch (error) {
    if (/E404/.test(`${error.stdout}${error.stderr}`)) return false
    throw error
  }
}
