import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))

/** The packages that are published: their folder and their package.json. */
export function publicPackages() {
  return readdirSync(join(root, 'packages'))
    .map((name) => ({ name, folder: `packages/${name}` }))
    .map(({ name, folder }) => ({
      name,
      folder,
      manifest: JSON.parse(readFileSync(join(root, folder, 'package.json'), 'utf8')),
    }))
    .filter(({ manifest }) => manifest.private !== true)
}
