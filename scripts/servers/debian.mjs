// Debian's packages: what is missing is installed, and Consul, which Debian 12 no longer has, is fetched from
// Debian 11 and unpacked without being installed.

import { spawn, spawnSync } from 'node:child_process'
import { closeSync, existsSync, mkdirSync, openSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { Failure } from './errors.mjs'
import { onPath, unpackedConsul } from './programs.mjs'

const packages = { rabbitmq: 'rabbitmq-server', postgres: 'postgresql', redis: 'redis-server' }

/** The Debian whose main archive has Consul, as a static program. */
const suiteWithConsul = 'bullseye'

/**
 * Gets a server's programs onto the machine.
 *
 * @param {import('./addresses.mjs').Server} server
 * @param {string} state
 */
export async function fetchPrograms(server, state) {
  const instead = `start Docker, or set ${server.variable} to a ${server.title} that you have`
  if (onPath('apt-get') === undefined) {
    throw new Failure(
      `${server.title} is not installed, and this machine has neither a Docker engine nor apt-get to get it with.`,
      `Install ${server.title}, ${instead}.`,
    )
  }
  if (server.name === 'consul') return unpackConsul(state, instead)

  const asRoot = becomeRoot()
  const name = packages[server.name]
  if (asRoot === undefined) {
    throw new Failure(
      `${server.title} is not installed, and only root can install it.`,
      `Run \`sudo apt-get install ${name}\` and start again, ${instead}.`,
    )
  }
  await install(asRoot, name, join(state, 'apt.log'), instead)
}

/** What to put before a command so that it runs as root, without anybody being asked for a password. */
function becomeRoot() {
  if (process.getuid?.() === 0) return []
  return spawnSync('sudo', ['-n', 'true']).status === 0 ? ['sudo', '-n'] : undefined
}

/**
 * Debian starts a server that it installs, on the standard port and with its own rules about who may log in.
 * While a policy-rc.d says 101, it does not; one that the machine already has is left as it is.
 */
const installScript = `
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
  trap 'rm -f $policy' EXIT
  printf '#!/bin/sh\\nexit 101\\n' >$policy
  chmod 755 $policy
fi
export DEBIAN_FRONTEND=noninteractive
install() { apt-get -o DPkg::Lock::Timeout=300 install --yes --no-install-recommends "$1"; }
install "$1" || { apt-get update && install "$1"; }
`

async function install(asRoot, name, log, instead) {
  const [command, ...args] = [...asRoot, 'sh', '-c', installScript, 'install', name]
  const code = await run(command, args, { log })
  if (code !== 0) {
    throw new Failure(
      `apt-get could not install ${name}:\n${tail(log)}`,
      `See ${log}. Else install it yourself, ${instead}.`,
    )
  }
}

/** Needs no root: everything apt writes goes into folders of ours. */
async function unpackConsul(state, instead) {
  const apt = join(state, 'apt')
  const log = join(state, 'apt.log')
  const failed = (what) =>
    new Failure(
      `${what}:\n${tail(log)}`,
      `See ${log}. Else install Consul (https://developer.hashicorp.com/consul), ${instead}.`,
    )

  const source = deriveSource(readSources(), suiteWithConsul)
  if (source === undefined) {
    throw new Failure(
      'Consul is not installed, and apt has no source of Debian packages to get it from.',
      `Install Consul, ${instead}.`,
    )
  }

  for (const folder of ['parts', 'lists/partial', 'cache/archives/partial', 'etc']) {
    mkdirSync(join(apt, folder), { recursive: true })
  }
  writeFileSync(join(apt, 'parts', `derived.${source.format}`), source.text)
  const options = [
    'Dir::Etc::SourceList=/dev/null',
    `Dir::Etc::SourceParts=${join(apt, 'parts')}`,
    `Dir::State::Lists=${join(apt, 'lists')}`,
    `Dir::Cache=${join(apt, 'cache')}`,
    // No hooks for a machine's own lists, and no change of user: apt's own may not be able to enter our folders.
    'APT::Update::Post-Invoke-Success::=',
    'APT::Sandbox::User=',
  ].flatMap((option) => ['-o', option])

  if ((await run('apt-get', [...options, 'update'], { log })) !== 0) {
    throw failed(`apt-get could not read the list of Debian's ${suiteWithConsul}, which has Consul`)
  }
  if ((await run('apt-get', [...options, 'download', 'consul'], { log, cwd: apt })) !== 0) {
    throw failed('apt-get could not download Consul')
  }
  const archive = readdirSync(apt).find((file) => file.startsWith('consul_') && file.endsWith('.deb'))
  const target = unpackedConsul(state).replace(/\/usr\/bin\/consul$/, '')
  if (archive === undefined || (await run('dpkg', ['-x', join(apt, archive), target], { log })) !== 0) {
    throw failed("Consul's package could not be unpacked")
  }
  rmSync(apt, { recursive: true })
}

/** The machine's own lists of sources, in the order that apt reads them. */
function readSources(etc = '/etc/apt') {
  const parts = join(etc, 'sources.list.d')
  const files = [
    join(etc, 'sources.list'),
    ...(existsSync(parts) ? readdirSync(parts).sort() : []).map((file) => join(parts, file)),
  ]
  return files
    .filter((file) => /\.(list|sources)$/.test(file) && existsSync(file))
    .map((file) => ({ name: basename(file), text: readFileSync(file, 'utf8') }))
}

/**
 * The first enabled source of binary packages from a component `main`, made to name another suite.
 *
 * @param {readonly { name: string, text: string }[]} files
 * @param {string} suite
 * @returns {{ format: 'list' | 'sources', text: string } | undefined}
 */
export function deriveSource(files, suite) {
  for (const { name, text } of files) {
    const derived = name.endsWith('.sources') ? deriveStanza(text, suite) : deriveLine(text, suite)
    if (derived !== undefined) return { format: name.endsWith('.sources') ? 'sources' : 'list', text: `${derived}\n` }
  }
  return undefined
}

/** deb822: stanzas of fields, set apart by empty lines; a line that begins with a blank goes on with the field above. */
function deriveStanza(text, suite) {
  const stanzas = text
    .replace(/^#.*\n?/gm, '')
    .split(/\n\s*\n/)
    .map((stanza) => stanza.trim().replace(/\n[ \t]+/g, '\n '))

  for (const stanza of stanzas) {
    const field = (name) => new RegExp(`^${name}:((?:.*)(?:\\n .*)*)`, 'im').exec(stanza)?.[1]?.trim() ?? ''
    const words = (name) => field(name).split(/\s+/)
    if (!words('Types').includes('deb') || !words('Components').includes('main')) continue
    if (/^(no|false|0|off|without|disable)$/i.test(field('Enabled'))) continue

    const replaced = { Types: 'deb', Suites: suite, Components: 'main' }
    return Object.entries(replaced).reduce(
      (result, [name, value]) => result.replace(new RegExp(`^${name}:.*(\\n .*)*`, 'im'), `${name}: ${value}`),
      stanza,
    )
  }
  return undefined
}

/** One line: deb [options] address suite components… */
function deriveLine(text, suite) {
  for (const line of text.split('\n')) {
    const source = /^deb\s+(\[[^\]]*\]\s+)?(\S+)\s+\S+\s+([^#]*)/.exec(line.trim())
    if (source === null || !source[3]?.split(/\s+/).includes('main')) continue
    return `deb ${source[1] ?? ''}${source[2]} ${suite} main`
  }
  return undefined
}

/**
 * @param {string} command
 * @param {string[]} args
 * @param {{ log: string, cwd?: string }} options
 * @returns {Promise<number | null>} the exit code
 */
function run(command, args, { log, cwd }) {
  const output = openSync(log, 'a')
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { cwd, stdio: ['ignore', output, output], env: { ...process.env, LC_ALL: 'C' } })
    child.on('error', reject)
    child.on('exit', resolve)
  }).finally(() => closeSync(output))
}

/** The last lines of a log, to be read in a message. */
export function tail(file, lines = 12) {
  const text = existsSync(file) ? readFileSync(file, 'utf8').trimEnd() : ''
  return text
    .split('\n')
    .slice(-lines)
    .map((line) => `  | ${line}`)
    .join('\n')
}
