// A Chromium: the machine's own, else Debian's.

import { execFile, spawnSync } from 'node:child_process'
import { promisify } from 'node:util'
import { onPath } from '../../scripts/servers/programs.mjs'

const commands = ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable']

/**
 * @param {(what: string) => void} busy  Told when something begins that takes its time.
 * @returns {Promise<{ path: string, version: string } | { missing: string }>}
 */
export async function findChromium(busy) {
  const path = process.env.CHROMIUM_PATH ?? onMachine() ?? (await fromDebian(busy))
  if (path === undefined) {
    return { missing: 'no Chromium is installed, and apt-get cannot install one here; CHROMIUM_PATH names one' }
  }

  const { stdout } = await promisify(execFile)(path, ['--version']).catch((error) => ({ stdout: error.message }))
  const version = /\b\d+(?:\.\d+)+/.exec(stdout)?.[0]
  return version === undefined ? { missing: `${path} --version says: ${stdout.trim()}` } : { path, version }
}

function onMachine() {
  return commands.map(onPath).find((path) => path !== undefined)
}

const installScript = `
export DEBIAN_FRONTEND=noninteractive
install() { apt-get -o DPkg::Lock::Timeout=300 install --yes --no-install-recommends chromium; }
install || { apt-get update && install; }
`

async function fromDebian(busy) {
  const asRoot = process.getuid?.() === 0 ? [] : ['sudo', '-n']
  if (onPath('apt-get') === undefined) return undefined
  if (asRoot.length > 0 && spawnSync('sudo', ['-n', 'true']).status !== 0) return undefined

  busy("installing Debian's chromium")
  const [command, ...args] = [...asRoot, 'sh', '-c', installScript]
  const log = { maxBuffer: 64 * 1024 * 1024 }
  await promisify(execFile)(command, args, log).catch((error) => console.error(error.stderr || error.message))
  return onMachine()
}
