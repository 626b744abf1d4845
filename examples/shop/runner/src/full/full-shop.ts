import { type ChildProcess, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { serviceProgram } from '../places.js'
import { freePort } from '../port.js'
import { StartError } from '../start-error.js'
import { databaseUrl } from './addresses.js'
import { claimShop } from './admin.js'
import { checkBrokerage } from './brokerage.js'
import type { DiscoverySettings } from './discovery-settings.js'
import type { FullSettings } from './full-settings.js'
import { databaseOf, instanceId } from './names.js'
import { readPasswords } from './passwords.js'
import { provisionDatabases } from './provision.js'
import { readable } from './readable.js'
import { untilReady } from './ready.js'
import { deregister, dnsServerOf } from './registrations.js'
import { bringUpServers, takeDownServers } from './servers.js'
import { databaseOwners, type ServiceName, serviceNames } from './service-names.js'
import { serviceVariables } from './service-settings.js'
import { type Supervised, supervise } from './supervise.js'
import { undoStack } from './undo-stack.js'

export interface FullShop {
  readonly url: string
  /** Lets one browser into the operations, once; undefined when they are for whoever has the token, or for nobody. */
  readonly link: string | undefined
  /** Stops the processes in the reverse order of their callers, then the servers that were started for them. */
  stop(): Promise<void>
}

export interface FullShopOptions {
  /** Told what goes on, a line at a time. */
  say(line: string): void
  /** Told what the services log. */
  log(line: string): void
  /** Aborted: the start is given up, and what there is by then is stopped. */
  readonly signal: AbortSignal
  /** Aborted: what has not stopped by then is killed. */
  readonly hurry: AbortSignal
}

/** How long the services have to become ready, in milliseconds: seven programs that start at once on a slow machine. */
const patience = 60_000

/** How long one service has to stop, in milliseconds. A little more than it gives itself. */
const stopDeadline = 8_000

/** The shop as seven processes on RabbitMQ, PostgreSQL, Consul and Redis. */
export async function startFullShop(settings: FullSettings, options: FullShopOptions): Promise<FullShop> {
  const { addresses, shop } = settings
  const { say, signal } = options
  const undo = undoStack((error) => say(`failed to stop cleanly: ${error}`))

  try {
    const port = await freePort(settings.port)
    const ours = await bringUpServers(addresses, signal)
    undo.add(() => takeDownServers(ours))
    signal.throwIfAborted()

    await checkBrokerage(addresses.rabbitmq)
    const admin = await claimShop(addresses.postgres, shop)
    undo.add(() => admin.end())

    say('Databases, one for each service that keeps something')
    const roles = databaseOwners.map((service) => databaseOf(shop, service))
    const passwords = await readPasswords(join(settings.dataDir, 'full', 'passwords.json'), roles)
    await provisionDatabases(admin, roles, passwords).catch(explainRefusal)
    signal.throwIfAborted()

    const discovery = await located(settings)
    if (discovery.by === 'dns') say(`Discovery by SRV records, asked of ${discovery.servers.join(', ')}`)

    say('Services, each a process of its own')
    const secret = () => randomBytes(24).toString('base64url')
    const operationsCode = settings.operations.by === 'link' ? secret() : undefined
    const operations =
      settings.operations.by === 'link' ? ({ by: 'token', token: secret() } as const) : settings.operations
    const processes = new Map<ServiceName, Supervised>()
    for (const service of serviceNames) {
      const role = databaseOf(shop, service)
      const password = passwords[role]
      const postgres = password === undefined ? '' : databaseUrl(addresses.postgres, role, password)
      const variables = serviceVariables({
        ...settings,
        addresses: { ...addresses, postgres },
        discovery,
        port: service === 'api-gateway' ? port : 0,
        operations,
        operationsCode: service === 'api-gateway' ? operationsCode : undefined,
        host: '127.0.0.1',
      })
      const supervised = runProcess(service, variables, settings, options)
      processes.set(service, supervised)
      undo.add(() => stopProcess(service, supervised, settings, options.hurry))
    }
    await allReady(processes, options)

    const url = `http://127.0.0.1:${port}`
    const link = operationsCode && `${url}/ops/session?code=${operationsCode}`
    return { url, link, stop: undo.run }
  } catch (error) {
    await undo.run()
    throw error
  }
}

/** Whose DNS is asked is Consul's own, unless somebody else was named. */
async function located({ addresses, discovery }: FullSettings): Promise<DiscoverySettings> {
  if (discovery.by === 'consul' || discovery.servers.length > 0) return discovery

  return { ...discovery, servers: [await dnsServerOf(addresses.consul)] }
}

/** PostgreSQL's `insufficient_privilege`. */
function explainRefusal(error: unknown): never {
  if ((error as { code?: unknown }).code !== '42501') throw error

  throw new StartError(
    `the user of DATABASE_URL may not make databases and roles (${(error as Error).message}); name one who may there`,
  )
}

function runProcess(
  service: ServiceName,
  variables: Record<string, string>,
  { addresses, shop }: FullSettings,
  { say, log }: FullShopOptions,
): Supervised {
  let crashed = false

  return supervise({
    spawn: () => spawnService(service, variables),
    onLine: (line) => log(`${label(service)} ${readable(line)}`),
    onAnnouncement({ http }) {
      if (crashed) say(`${label(service)} is back on ${http}`)
    },
    onCrash({ pid, code, signal, delay }) {
      crashed = true
      say(`${label(service)} ended with ${signal ?? `code ${code}`}; it starts again in ${delay} ms`)
      if (pid === undefined) return
      deregister(addresses.consul, instanceId(shop, service, pid)).catch((error: unknown) =>
        log(`${label(service)} could not be taken out of Consul: ${error}`),
      )
    },
  })
}

/** In a process group of its own, so that the Ctrl-C of a terminal reaches the parent alone, which knows the order. */
function spawnService(service: ServiceName, variables: Record<string, string>): ChildProcess {
  return spawn(process.execPath, [serviceProgram, service], {
    env: { ...process.env, ...variables },
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    detached: true,
  })
}

async function stopProcess(
  service: ServiceName,
  supervised: Supervised,
  { addresses, shop }: FullSettings,
  hurry: AbortSignal,
): Promise<void> {
  const { pid } = supervised
  await supervised.stop(stopDeadline, hurry)
  // It has done so itself, unless it had to be killed.
  if (pid !== undefined) await deregister(addresses.consul, instanceId(shop, service, pid))
}

async function allReady(processes: ReadonlyMap<ServiceName, Supervised>, { say, signal }: FullShopOptions) {
  const began = performance.now()
  const waiting = new Set(processes.keys())
  const late = new AbortController()
  const timer = setTimeout(() => {
    late.abort(new StartError(`not ready within ${patience / 1_000} s: ${[...waiting].join(', ')}`))
  }, patience)
  const giveUp = () => late.abort(signal.reason)
  signal.addEventListener('abort', giveUp, { once: true })

  try {
    await Promise.all(
      [...processes].map(async ([service, supervised]) => {
        const started = supervised.started.catch((error: Error) => {
          throw new StartError(`${service} did not start: ${error.message}; its own words are above`)
        })
        await orAborted(started, late.signal)
        await untilReady(() => supervised.announcement?.http, late.signal)
        waiting.delete(service)
        const seconds = ((performance.now() - began) / 1_000).toFixed(1)
        say(`${label(service)} ready after ${seconds} s on ${supervised.announcement?.http}`)
      }),
    )
  } finally {
    clearTimeout(timer)
    signal.removeEventListener('abort', giveUp)
    late.abort()
  }
}

function orAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    signal.throwIfAborted()
    signal.addEventListener('abort', () => reject(signal.reason), { once: true })
    work.then(resolve, reject)
  })
}

/** All as wide as the widest, so that what follows lines up. */
function label(service: ServiceName): string {
  return `  ${service.padEnd(Math.max(...serviceNames.map((name) => name.length)))} `
}
