import { type FSWatcher, statSync, watch } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { dirname, resolve } from 'node:path'
import { accessLine } from '../access-line.js'
import { isGatewayConfigError } from '../errors.js'
import { createGateway, type Gateway } from '../gateway.js'
import type { AccessLog, LineStream } from '../request-log.js'
import type { Telemetry } from '../telemetry.js'
import type { Finder } from '../upstream.js'
import { changesBetween } from './changes.js'
import { type Loaded, type Loading, loadFile, type Settings, servicesOf } from './config-file.js'
import { importTracing } from './libraries.js'
import { createMetrics } from './metrics-page.js'

/** What the command needs of its process. */
export interface Io {
  readonly env: Readonly<Record<string, string | undefined>>
  out(text: string): void
  err(text: string): void
  /** Where the access log goes that is not for eyes. */
  readonly lines: LineStream
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
  const loaded = await loadFile(file, { env: io.env, connect: false, warn: io.err })
  try {
    await createGateway(loaded.config, loaded.deps).close()
  } finally {
    await loaded.parts.close()
  }

  const { length } = loaded.config.routes
  io.out(`${file} is valid: ${length} ${length === 1 ? 'route' : 'routes'}`)
  return 0
}

async function start(file: string, io: Io): Promise<number> {
  // From the first to the very end: unheard, a SIGHUP would end the process at once, and cut what is under way. One that
  // comes before there is a gateway is kept for it, since the file may have been read by then, and was meant to be read
  // again; so many as come are one.
  let reload: ((asked: boolean) => void) | undefined
  let askedEarly = false
  const stopHearing = io.onSignal('SIGHUP', () => {
    if (reload === undefined) askedEarly = true
    else reload(true)
  })
  const closing: (() => unknown)[] = [stopHearing]
  try {
    // A call of gRPC that began before a reload finds its service where it is found by then.
    const finder: Finder = { service: (name) => loaded.deps.discovery!.service(name) }
    const loading = { env: io.env, connect: true, warn: io.err, finder }
    const stateRead = stateOf(file)
    let loaded = await loadFile(file, loading)
    closing.push(() => loaded.parts.close())
    const started = loaded
    const { settings } = started
    const metrics = settings.metrics === undefined ? undefined : await createMetrics(settings.metrics)
    metrics?.watch(loaded.deps.discovery)
    if (metrics !== undefined) {
      io.out(`metrics are at ${await metrics.listen()}`)
      closing.push(() => metrics.close())
    }
    const gateway = createGateway(loaded.config, {
      ...loaded.deps,
      log: logOf(settings.log, io),
      metrics: metrics?.deps,
      telemetry: settings.opentelemetry ? await tracing(io) : undefined,
    })
    closing.push(() => gateway.close(loaded.settings.shutdown))
    const { address, port } = (await gateway.listen()).address() as AddressInfo
    // Whoever waits for the next line may answer it with a signal.
    const stop = stopped(io)
    io.out(
      `msx-gateway listens on ${loaded.config.listen?.tls === undefined ? 'http' : 'https'}://${address.includes(':') ? `[${address}]` : address}:${port}`,
    )

    // One after the other: two at once could end in the older of two files.
    let reloading = Promise.resolve()
    let ending = false
    reload = (asked) => {
      if (ending) return

      reloading = reloading.then(async () => {
        const before = loaded
        loaded = await reloadFile(file, io, gateway, { ...loading, before, started }, asked)
        metrics?.watch(loaded.deps.discovery)
        if (loaded === before) return

        await before.parts.close(loaded.parts)
        const needed = servicesOf(loaded)
        for (const name of servicesOf(before)) if (!needed.has(name)) loaded.deps.discovery?.forget(name)
      })
    }
    const stopWatching = watchFile(file, stateRead, () => reload?.(false), io)
    if (askedEarly) reload(true)
    await stop

    ending = true
    stopWatching()
    await reloading
  } finally {
    // What is under way may still need what was made before it, and whoever measures sees it to its end.
    for (const close of closing.reverse()) await close()
  }
  return 0
}

/** Resolves at the first signal that asks for the end; a second one ends the process at once, as it would any other. */
function stopped(io: Io): Promise<void> {
  return new Promise((resolve) => {
    const stop = (): void => {
      for (const off of offs) off()
      resolve()
    }
    const offs = [io.onSignal('SIGINT', stop), io.onSignal('SIGTERM', stop)]
  })
}

function logOf(format: Settings['log'], io: Io): AccessLog | undefined {
  if (format === false) return undefined

  return (format ?? (io.isTerminal ? 'text' : 'json')) === 'json' ? io.lines : (entry) => io.out(accessLine(entry))
}

async function tracing(io: Io): Promise<Telemetry> {
  const { openTelemetry, hasSdk } = await importTracing()
  if (!hasSdk())
    io.err(
      "opentelemetry is true, but nothing takes the spans: register an SDK before, such as by NODE_OPTIONS='--import …'",
    )

  return openTelemetry()
}

/** What is in force afterwards: the new file, or, when something is wrong with it, the old one. */
async function reloadFile(
  file: string,
  io: Io,
  gateway: Gateway,
  loading: Loading & { readonly before: Loaded; readonly started: Loaded },
  asked: boolean,
): Promise<Loaded> {
  const { before, started } = loading
  let after: Loaded | undefined
  try {
    after = await loadFile(file, loading)
    const changes = changesBetween(before, after)
    // Asked for by name, it also reads certificates again that lie under the same name.
    if (changes.length > 0 || asked) {
      gateway.reload(after.config, after.deps)
      io.out(
        [`${file} is in force${changes.length === 0 ? ', unchanged' : ':'}`, ...changes.map((one) => `  ${one}`)].join(
          '\n',
        ),
      )
    }
    for (const [name, read] of Object.entries(readOnce)) {
      const [now, last, first] = [after, before, started].map((loaded) => JSON.stringify(read(loaded)))
      if (now !== last && now !== first) io.err(`${name} has changed: that needs a restart`)
    }
  } catch (error) {
    if (after !== undefined) await after.parts.close(before.parts)
    io.err(`${explain(file, error)}\nthe config before it stays in force`)
    return before
  }

  return after
}

/** What a gateway that runs already cannot change. */
const readOnce: Readonly<Record<string, (loaded: Loaded) => unknown>> = {
  listen: ({ config: { listen } }) => [listen?.port, listen?.host, listen?.http2, listen?.tls !== undefined],
  limits({ config: { limits } }) {
    return [limits?.headerBytes, limits?.headerTimeout, limits?.keepAliveTimeout, limits?.connections]
  },
  metrics: ({ settings }) => settings.metrics,
  opentelemetry: ({ settings }) => settings.opentelemetry,
  log: ({ settings }) => settings.log,
}

/**
 * Editors write another file and move it, and mounted config maps swap a link: so the folder is watched. What happens in
 * other folders, behind a link or above this one, does not show there: so the file is looked at now and then, too.
 * `read` is its state before it was read for the first time.
 */
function watchFile(file: string, read: string, changed: () => void, io: Io): () => void {
  let timer: NodeJS.Timeout | undefined
  let last = read
  // Others may write in the folder all the time, such as a log.
  const look = (): void => {
    const state = stateOf(file)
    if (state === last) return

    last = state
    clearTimeout(timer)
    timer = setTimeout(changed, SETTLES)
  }
  const looking = setInterval(look, LOOKS)
  const tell = (error: Error): void =>
    io.err(`${dirname(file)} cannot be watched: ${error.message}; ${file} is looked at every ${LOOKS / 1_000} s`)
  let watcher: FSWatcher | undefined
  try {
    watcher = watch(dirname(resolve(file)), look).on('error', tell)
  } catch (error) {
    tell(error as Error)
  }

  return () => {
    clearTimeout(timer)
    clearInterval(looking)
    watcher?.close()
  }
}

/** What is another one after every change of the file that a path leads to. */
function stateOf(file: string): string {
  try {
    const { dev, ino, size, mtimeNs, ctimeNs } = statSync(file, { bigint: true })
    return [dev, ino, size, mtimeNs, ctimeNs].join(' ')
  } catch (error) {
    return String((error as NodeJS.ErrnoException).code)
  }
}

/** A file is written in several steps; milliseconds after the last of them. */
const SETTLES = 100

/** Milliseconds. */
const LOOKS = 2_000
