// The programs that check the deployment files offline, from Debian's packages, unpacked without being installed:
// `node scripts/deployment/tools.mjs` fetches those that are not there.
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, rmSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'

const folder = fileURLToPath(new URL('../../.cache/deployment/', import.meta.url))

/** Which package has which programs. */
const packages = { 'kubernetes-client': ['kubectl'], prometheus: ['promtool', 'prometheus'] }

/**
 * Where a program is, on the PATH or unpacked; undefined when it is nowhere.
 *
 * @param {string} name
 */
export function findTool(name) {
  const onPath = (process.env.PATH ?? '').split(delimiter).map((directory) => join(directory, name))
  return [join(folder, 'usr/bin', name), ...onPath].find((path) => existsSync(path))
}

/** Says what could not be fetched; nothing of it is a reason to stop. */
export function fetchTools() {
  for (const [name, programs] of Object.entries(packages)) {
    if (programs.every((program) => findTool(program) !== undefined)) continue

    const downloads = join(folder, 'downloads')
    mkdirSync(downloads, { recursive: true })
    const run = (command, args) => spawnSync(command, args, { cwd: downloads, encoding: 'utf8' })
    if (run('apt-get', ['download', name]).status !== 0) {
      run('apt-get', ['update'])
      run('apt-get', ['download', name])
    }
    const archive = readdirSync(downloads).find((file) => file.startsWith(`${name}_`) && file.endsWith('.deb'))
    const done = archive !== undefined && run('dpkg', ['-x', join(downloads, archive), folder]).status === 0
    rmSync(downloads, { recursive: true })
    console.log(done ? `${programs.join(' and ')} from Debian's ${name}` : `no ${name}: apt-get could not get it`)
  }
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) fetchTools()
