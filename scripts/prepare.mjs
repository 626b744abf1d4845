// What `npm start` and `npm test` need before anything else can run: the right Node, the dependencies, the built files.
// Plain JavaScript on purpose, because nothing is installed yet when it runs.

import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { fileURLToPath } from 'node:url'

export const root = fileURLToPath(new URL('..', import.meta.url))
const bin = join(root, 'node_modules', '.bin')
const stamp = join(root, 'node_modules', '.msx', 'built')

endWithNpm()

/** Stops with one clear paragraph: what failed, and what to do about it. */
export function fail(what, advice) {
  console.error(`\n${what}\n${advice}`)
  process.exit(1)
}

export function checkNode() {
  const [major, minor] = process.versions.node.split('.').map(Number)
  if (major > 20 || (major === 20 && minor >= 19)) return

  fail(
    `Node ${process.versions.node} is too old: @msx needs 20.19 or newer.`,
    'Install a newer Node (https://nodejs.org) and start again.',
  )
}

/** Installs unless what is installed is what the lockfile says. */
export async function install() {
  if (read('node_modules/.pnpm/lock.yaml') === read('pnpm-lock.yaml') && existsSync(bin)) return

  const { packageManager } = JSON.parse(read('package.json'))
  console.log(`Installing dependencies with ${packageManager} (once; about half a minute)`)
  await step('npx', ['--yes', packageManager, 'install', '--frozen-lockfile'], {
    failed: 'The dependencies could not be installed.',
    advice:
      'See the error above. Is the npm registry reachable (`npm ping`), and is there room on the disk? Then start again.',
  })
}

/** Builds unless nothing has changed since the last build that succeeded. */
export async function build() {
  const sources = fingerprint()
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === sources && everythingIsBuilt()) return

  console.log('Building (unchanged packages come from the cache)')
  // A build that is cut short or fails leaves half of what the last one made, whatever the sources are afterwards.
  rmSync(stamp, { force: true })
  await step('turbo', ['run', 'build', '--output-logs=errors-only', '--log-order=grouped'], {
    failed: 'The build failed.',
    advice: 'The error is above. In an untouched checkout, `git status` should be clean; if it is, please report this.',
  })
  mkdirSync(join(stamp, '..'), { recursive: true })
  writeFileSync(stamp, sources)
}

/** Runs a command with the workspace's own tools first on the PATH; stops everything when it fails. */
export async function step(command, args, { failed, advice }) {
  const code = await run(command, args)
  if (code !== 0) fail(`${failed} (\`${command} ${args.join(' ')}\` ended with ${code})`, advice)
}

export function run(command, args) {
  return new Promise((resolve) => {
    const child = spawn(command, args, {
      cwd: root,
      stdio: 'inherit',
      shell: process.platform === 'win32',
      env: { ...process.env, PATH: bin + delimiter + process.env.PATH, TURBO_TELEMETRY_DISABLED: '1' },
    })
    const letGo = endAfter(child)
    child.on('error', (error) => {
      letGo()
      console.error(error.message)
      resolve(127)
    })
    child.on('exit', (code, signal) => {
      letGo()
      resolve(code ?? signal)
    })
  })
}

/**
 * While the child runs, a signal ends us only after it, and without a word about a failure that is none. A Ctrl-C has
 * reached the child from the terminal; what was sent to us alone is sent on.
 */
function endAfter(child) {
  const exitCodes = { SIGINT: 130, SIGTERM: 143, SIGHUP: 129 }
  const listeners = Object.entries(exitCodes).map(([signal, code]) => {
    const listener = () => {
      child.removeAllListeners('exit')
      child.once('exit', () => process.exit(code))
      if (signal !== 'SIGINT') child.kill('SIGTERM')
    }
    process.once(signal, listener)
    return [signal, listener]
  })

  return () => {
    for (const [signal, listener] of listeners) process.off(signal, listener)
  }
}

/**
 * npm hands a signal that was sent to it to its shell and to nobody else: the shell ends, npm ends, and the shop would
 * run on. So whoever was started by npm ends when its parent has.
 */
function endWithNpm() {
  if (process.env.npm_lifecycle_event === undefined) return

  const parent = process.ppid
  const watch = setInterval(() => {
    if (process.ppid === parent) return
    clearInterval(watch)
    process.kill(process.pid, 'SIGTERM')
  }, 250)
  watch.unref()
}

function read(path) {
  try {
    return readFileSync(join(root, path), 'utf8')
  } catch {
    return undefined
  }
}

/** A hash over every file that a build can depend on. */
function fingerprint() {
  const hash = createHash('sha256').update(process.versions.modules)
  for (const path of sourceFiles()) hash.update(path).update(readFileSync(join(root, path)))
  for (const path of ['pnpm-lock.yaml', 'tsconfig.base.json', 'turbo.json']) hash.update(readFileSync(join(root, path)))
  return hash.digest('hex')
}

function* sourceFiles(folders = ['packages', 'examples', 'tooling']) {
  for (const folder of folders) {
    const entries = readdirSync(join(root, folder), { withFileTypes: true })
    for (const entry of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
      const path = `${folder}/${entry.name}`
      if (entry.isDirectory()) {
        if (!['node_modules', 'dist'].includes(entry.name) && !entry.name.startsWith('.')) yield* sourceFiles([path])
      } else if (/\.(ts|tsx|json|proto)$/.test(entry.name) && !/\.test(-d)?\.ts$/.test(entry.name)) {
        yield path
      }
    }
  }
}

function everythingIsBuilt() {
  for (const path of sourceFiles()) {
    if (path.endsWith('/tsup.config.ts') && !existsSync(join(root, path, '..', 'dist'))) return false
  }
  return true
}
