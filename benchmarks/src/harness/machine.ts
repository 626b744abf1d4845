import { existsSync, readFileSync } from 'node:fs'
import { cpus } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** Where figures were taken. */
export interface Machine {
  readonly node: string
  readonly cpu: string
  readonly cores: number
  /** What was measured, by package name. */
  readonly versions: Readonly<Record<string, string>>
}

export function machine(packages: readonly string[]): Machine {
  const cores = cpus()
  return {
    node: process.versions.node,
    cpu: cores[0]?.model.trim() ?? 'unknown processor',
    cores: cores.length,
    versions: Object.fromEntries(packages.map((name) => [name, versionOf(name)])),
  }
}

/** Read from the folder: not every package exports its package.json. */
function versionOf(name: string): string {
  for (let folder = dirname(fileURLToPath(import.meta.url)); ; folder = dirname(folder)) {
    const path = join(folder, 'node_modules', name, 'package.json')
    if (existsSync(path)) return (JSON.parse(readFileSync(path, 'utf8')) as { version: string }).version
    if (folder === dirname(folder)) throw new Error(`${name} is not installed`)
  }
}
