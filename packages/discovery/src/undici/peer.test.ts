import { execFile } from 'node:child_process'
import { cp, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, it } from 'vitest'

const PACKAGE = fileURLToPath(new URL('../..', import.meta.url))

it('says that undici is missing and how to install it; the other entries do without', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'msx-discovery-'))
  try {
    // The built package where nothing but its one dependency is installed.
    await cp(join(PACKAGE, 'dist'), join(folder, 'dist'), { recursive: true })
    await mkdir(join(folder, 'node_modules/@msx'), { recursive: true })
    await symlink(join(PACKAGE, '../retry'), join(folder, 'node_modules/@msx/retry'))
    await writeFile(
      join(folder, 'try.mjs'),
      `for (const entry of ['index', 'consul', 'node', 'testing', 'prometheus', 'undici']) {
         await import('./dist/' + entry + '.js').then(
           () => console.log(entry, 'loaded'),
           ({ code, message }) => console.log(entry, code, message),
         )
       }`,
    )

    // Package managers set NODE_PATH for what they run.
    const env = { ...process.env, NODE_PATH: '' }
    const { stdout } = await promisify(execFile)(process.execPath, [join(folder, 'try.mjs')], { env })

    const lines = stdout.trim().split('\n')
    expect(lines.slice(0, -1)).toEqual(['index', 'consul', 'node', 'testing', 'prometheus'].map((e) => `${e} loaded`))
    expect(lines.at(-1)).toMatch(/^undici MSX_PEER_MISSING .*'undici'.*npm install undici@7$/)
  } finally {
    await rm(folder, { recursive: true })
  }
})
