import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { chownSync, existsSync, readdirSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { promisify } from 'node:util'
import { freePort } from './free-port.js'
import { kill } from './kill.js'

/** A PostgreSQL server that nobody else uses, so that it may be killed. */
export interface OwnPostgres {
  readonly url: string
  /** Kills every process of it, as a power cut would, and starts it again. */
  crash(): Promise<void>
  /** The same, and it is away until `up`. */
  down(): Promise<void>
  up(): Promise<void>
  stop(): Promise<void>
}

/** Where Debian has the programs, which are not on the PATH. */
const DEBIAN = '/usr/lib/postgresql'

/** How long the server may take to start on a busy machine, in ms. */
const PATIENCE = 60_000

/** A server refuses to run as root; of all users this one is everywhere. */
const NOBODY = 65_534

/** Why no server can be started here; undefined when one can. */
export function missingPostgres(): string | undefined {
  return program('initdb') === undefined ? 'no initdb on this machine: apt-get install postgresql' : undefined
}

/** `ask` rejects as long as the server at this URL does not answer a question. */
export async function startOwnPostgres(ask: (url: string) => Promise<unknown>): Promise<OwnPostgres> {
  const folder = await mkdtemp(join(tmpdir(), 'msx-own-postgres-'))
  const isRoot = process.getuid?.() === 0
  const user = isRoot ? { uid: NOBODY, gid: NOBODY } : {}
  if (isRoot) chownSync(folder, NOBODY, NOBODY)
  const data = join(folder, 'data')
  const settings = { ...user, cwd: folder, env: { PATH: process.env['PATH'], LC_ALL: 'C' } }
  const initial = ['-D', data, '-U', 'postgres', '--auth', 'trust', '--no-sync', '-E', 'UTF8']
  await promisify(execFile)(program('initdb') as string, initial, { ...settings, timeout: PATIENCE })
  const port = await freePort()
  const url = `postgres://postgres@127.0.0.1:${port}/postgres`

  const launch = (): ChildProcess =>
    spawn(
      program('postgres') as string,
      ['-D', data, '-p', String(port), '-k', folder, '-c', 'listen_addresses=127.0.0.1', '-c', 'max_connections=150'],
      { ...settings, stdio: 'ignore' },
    )
  let server = launch()
  const own: OwnPostgres = {
    url,
    async crash() {
      await own.down()
      await own.up()
    },
    // SIGQUIT: every process ends at once and writes nothing down; SIGKILL would leave them behind.
    down: () => kill(server, 'SIGQUIT'),
    async up() {
      server = launch()
      await answering(url, server, ask)
    },
    async stop() {
      await kill(server, 'SIGQUIT')
      await rm(folder, { recursive: true, force: true })
    },
  }
  try {
    await answering(url, server, ask)
  } catch (error) {
    await own.stop()
    throw error
  }
  return own
}

async function answering(url: string, server: ChildProcess, ask: (url: string) => Promise<unknown>): Promise<void> {
  const deadline = performance.now() + PATIENCE
  for (;;) {
    if (server.exitCode !== null) throw new Error(`the own PostgreSQL ended with code ${server.exitCode}`)
    try {
      await ask(url)
      return
    } catch (cause) {
      if (performance.now() > deadline) throw new Error(`the own PostgreSQL does not answer at ${url}`, { cause })
      await wait(50)
    }
  }
}

function program(name: string): string | undefined {
  const versions = existsSync(DEBIAN) ? readdirSync(DEBIAN).sort((a, b) => Number(b) - Number(a)) : []
  const folders = [
    ...(process.env['PATH'] ?? '').split(delimiter),
    ...versions.map((version) => join(DEBIAN, version, 'bin')),
  ]

  return folders.map((folder) => join(folder, name)).find(existsSync)
}
