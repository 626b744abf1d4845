import { watch } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { dirname, resolve } from 'node:path'
import { accessLine } from '../access-line.js'
import { isGatewayConfigError } from '../errors.js'
import { createGateway, type Gateway } from '../gateway.js'
import type { AccessLogEntry } from '../request-log.js'
import { changesBetween } from './changes.js'
import { dispose, type Loaded, loadFile } from './config-file.js'

/** What the command needs of its process. */
export interface Io {
  readonly env: Readonly<Record<string, string | undefined>>
  out(text: string): void
  err(text: string): void
  /** Calls `run` at each signal; returns what ends that. */
  onSignal(signal: 'SIGHUP' | 'SIGINT' | 'SIGTERM', run: () => void): () => void
  /** Whether somebody reads the log as it comes. */
  readonly isTerminal: boolean
}

const usage = `msx-gateway check <config.json>    says whether the config is valid, and what is wrong with it
msx-gateway start <config.json>    starts the gateway; a change of the file, or SIGHUP, loads it again`

/** Runs the command; resolves with its exit code. */
export async function main(args: readonly string[], io: Io): Promise<number> {
  const [command, file, ...more] = args
  if (command === '--help' || command === '-h') {
    io.out(usage)
    return 0
  }
  if ((command !== 'check' && command !== 'start') || file === undefined || more.length > 0) {
    io.err(usage)
    return 2
  }

  try {
    return command === 'check' ? await check(file, io) : await start(file, io)
  } catch (error) {
    io.err(explain(file, error))
    return 1
  }
}

function explain(file: string, error: unknown): string {
  if (isGatewayConfigError(error)) {
    return [`${file} is not valid:`, ...error.issues.map(({ path, message }) => `  ${path}: ${message}`)].join('\n')
  }

  return `${file}: ${error instanceof Error ? error.message : String(error)}`
}

async function check(file: string, io: Io): Promise<number> {
  const loaded = await loadFile(file, io.env)
  try {
    await createGateway(loaded.config, loaded.deps).close()
  } finally {
    await dispose(loaded, undefined)
  }

  const { length } = loaded.config.routes
  io.out(`${file} is valid: ${length} ${length === 1 ? 'route' : 'routes'}`)
  return 0
}

async function start(file: string, io: Io): Promise<number> {
  let loaded = await loadFile(file, io.env)
  const log = (entry: AccessLogEntry): void => io.out(io.isTerminal ? accessLine(entry) : JSON.stringify(entry))
  const gateway = createGateway(loaded.config, { ...loaded.deps, log })
  const { address, port } = (await gateway.listen()).address() as AddressInfo
  io.out(
    `msx-gateway listens on ${loaded.config.listen?.tls === undefined ? 'http' : 'https'}://${address.includes(':') ? `[${address}]` : address}:${port}`,
  )

  // One after the other: two at once could end in the older of two files.
  let reloading = Promise.resolve()
  const reload = (asked: boolean): void => {
    reloading = reloading.then(async () => {
      loaded = await reloadFile(file, io, gateway, loaded, asked)
    })
  }
  const stopWatching = watchFile(file, () => reload(false), io)
  const stopHearing = io.onSignal('SIGHUP', () => reload(true))
  await new Promise<void>((stop) => {
    io.onSignal('SIGINT', stop)
    io.onSignal('SIGTERM', stop)
  })

  stopWatching()
  stopHearing()
  await reloading
  await gateway.close()
  await dispose(loaded, undefined)
  return 0
}

/** What is in force afterwards: the new file, or, when something is wrong with it, the old one. */
async function reloadFile(file: string, io: Io, gateway: Gateway, before: Loaded, asked: boolean): Promise<Loaded> {
  let after: Loaded | undefined
  try {
    after = await loadFile(file, io.env, before)
    const changes = changesBetween(before, after)
    // Asked for by name, it also reads certificates again that lie under the same name.
    if (changes.length > 0 || asked) gateway.reload(after.config, after.deps)
    if (changes.length > 0 || asked)
      io.out(
        [`${file} is in force${changes.length === 0 ? ', unchanged' : ':'}`, ...changes.map((one) => `  ${one}`)].join(
          '\n',
        ),
      )
    if (movesTo(after) !== movesTo(before)) io.err('listen has changed: restart to listen there')
  } catch (error) {
    if (after !== undefined) await dispose(after, before)
    io.err(`${explain(file, error)}\nthe config before it stays in force`)
    return before
  }

  await dispose(before, after)
  return after
}

/** What a server that listens already cannot change. */
const movesTo = ({ config: { listen } }: Loaded): string => JSON.stringify([listen?.port, listen?.host])

/** Editors write another file and move it, and mounted config maps swap a link: so the folder is watched. */
function watchFile(file: string, changed: () => void, io: Io): () => void {
  let timer: NodeJS.Timeout | undefined
  const watcher = watch(dirname(resolve(file)), () => {
    clearTimeout(timer)
    timer = setTimeout(changed, SETTLES)
  })
  watcher.on('error', (error) => io.err(`${file} cannot be watched any more: ${error.message}`))

  return () => {
    clearTimeout(timer)
    watcher.close()
  }
}

/** A file is written in several steps; milliseconds after the last of them. */
const SETTLES = 100
