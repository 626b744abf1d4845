// What npm has: installed once for each version, into a folder that git ignores, beside the workspace and not in it.

import { execFile } from 'node:child_process'
import { chmodSync, existsSync, mkdirSync, renameSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { Failure } from '../../scripts/servers/errors.mjs'

const cache = fileURLToPath(new URL('../../node_modules/.msx/runtimes', import.meta.url))

/** Several runtimes ask for one thing at the same time: it is installed once. */
const underWay = new Map()

/**
 * Installs packages at exact versions and returns the `node_modules` that they are in. Their install scripts do not run:
 * those of the runtimes would load programs from elsewhere.
 *
 * @param {readonly string[]} packages  As `name@version`.
 */
export function installed(packages) {
  const key = packages.join(' ')
  const known = underWay.get(key)
  if (known !== undefined) return known

  const installing = install(packages)
  underWay.set(key, installing)
  return installing
}

async function install(packages) {
  const folder = join(cache, packages[0].replace(/^@/, '').replaceAll(/[/@]/g, '-'))
  if (existsSync(folder)) return join(folder, 'node_modules')

  // Under another name until it is whole: what was interrupted must not look finished.
  const draft = `${folder}.${process.pid}`
  mkdirSync(draft, { recursive: true })
  const quiet = ['--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error']
  const args = ['install', '--no-save', '--no-package-lock', ...quiet, '--prefix', draft, ...packages]
  try {
    await promisify(execFile)('npm', args, { shell: process.platform === 'win32' })
  } catch (cause) {
    rmSync(draft, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 })
    throw new Failure(
      `npm could not install ${packages.join(' ')}:\n${cause.stderr || cause.message}`,
      'Is the npm registry reachable (`npm ping`), and is there room on the disk?',
      { cause },
    )
  }
  if (existsSync(folder)) rmSync(draft, { recursive: true, force: true })
  else renameSync(draft, folder)
  return join(folder, 'node_modules')
}

/**
 * The program of a runtime, or undefined where npm has none for this machine.
 *
 * @param {import('./catalogue.mjs').Runtime} runtime
 */
export async function programOf({ programs, version, path }) {
  const name = programs[`${process.platform}-${process.arch}`]
  if (name === undefined) return undefined

  const program = join(await installed([`${name}@${version}`]), name, path)
  chmodSync(program, 0o755)
  return program
}
