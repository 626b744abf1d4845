import { execFile, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { rm } from 'node:fs/promises'
import { connect } from 'node:net'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { temporaryFolder } from './shop-process.js'

const program = (name: string) => fileURLToPath(new URL(`../../runner/dist/${name}.js`, import.meta.url))
const consul = addressOf('CONSUL_HTTP_ADDR', 'http://127.0.0.1:8500')

/** What the full shop runs on, by the variables and defaults of `scripts/services`. */
const servers = {
  RabbitMQ: addressOf('AMQP_URL', 'amqp://127.0.0.1:5672'),
  PostgreSQL: addressOf('DATABASE_URL', 'postgres://127.0.0.1:5432'),
  Redis: addressOf('REDIS_URL', 'redis://127.0.0.1:6379'),
  Consul: consul,
}

/** False when a server is away, unless MSX_REQUIRE_SERVICES says that it must be there. */
export async function serversAnswer(): Promise<boolean> {
  const answers = await Promise.all(Object.values(servers).map(answersAt))
  const missing = Object.entries(servers).filter((_, index) => answers[index] !== true)
  if (missing.length === 0) return true

  const why = `no ${missing.map(([name, address]) => `${name} answers at ${new URL(address).host}`).join(', no ')}`
  if (process.env['MSX_REQUIRE_SERVICES'] === '1') throw new Error(why)
  console.warn(`\n  SKIPPED: the shop as seven processes: ${why}\n  Start it with \`scripts/services up\`.\n`)
  return false
}

/** A name and a folder for one shop on servers that it may share; `drop` leaves nothing of it there. */
export interface Premises {
  readonly shop: string
  readonly dataDir: string
  /** Where its servers are, if they are not the usual ones. */
  readonly servers: Readonly<Record<string, string>>
  drop(): Promise<void>
}

export async function newPremises(servers: Premises['servers'] = {}): Promise<Premises> {
  const shop = `e2e_${randomBytes(4).toString('hex')}`
  const { path } = await temporaryFolder()
  return {
    shop,
    dataDir: path,
    servers,
    async drop() {
      const env = { ...process.env, ...servers, SHOP_NAME: shop }
      await promisify(execFile)(process.execPath, [program('reset-full')], { env })
      await rm(path, { recursive: true })
    },
  }
}

/** The shop of seven processes, as `pnpm --filter shop dev:full` runs it once everything is built. */
export interface FullShopProcess {
  readonly url: string
  readonly pid: number
  output(): string
  /** Resolves with the exit code. */
  end(signal: NodeJS.Signals): Promise<number | null>
}

export async function startFullShop(
  { shop, dataDir, servers }: Premises,
  environment: Readonly<Record<string, string>> = {},
): Promise<FullShopProcess> {
  const child = spawn(process.execPath, [program('full')], {
    env: {
      ...process.env,
      RATE_LIMIT: '10000',
      SIGN_IN_LIMIT: '10000',
      ...environment,
      ...servers,
      SHOP_NAME: shop,
      DATA_DIR: dataDir,
      PORT: '0',
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let output = ''
  const exit = once(child, 'exit') as Promise<[number | null]>
  const url = await new Promise<string>((resolve, reject) => {
    const hear = (chunk: string) => {
      output += chunk
      const ready = /shop ready on (\S+)/.exec(output)?.[1]
      if (ready !== undefined) resolve(ready)
    }
    child.stdout.setEncoding('utf8').on('data', hear)
    child.stderr.setEncoding('utf8').on('data', hear)
    exit.then(([code]) => reject(new Error(`the shop ended with ${code} before it was ready:\n${output}`)), reject)
  })

  return {
    url,
    pid: child.pid as number,
    output: () => output,
    async end(signal) {
      child.kill(signal)
      return (await exit)[0]
    },
  }
}

/** One process of a service, as Consul knows it. */
export interface Registration {
  readonly service: string
  readonly pid: number
  /** Where it answers what is asked inside. */
  readonly http: string
}

export async function registrations(shop: string): Promise<Registration[]> {
  const answer = await fetch(new URL('/v1/agent/services', consul))
  const services = Object.values((await answer.json()) as Record<string, AgentService>)
  return services
    .filter((service) => service.Tags.includes(shop))
    .map(({ Service, Meta }) => ({ service: Service, pid: Number(Meta['pid']), http: Meta['http'] ?? '' }))
}

/** Where Consul answers DNS. */
export async function consulDns(): Promise<string> {
  const answer = await fetch(new URL('/v1/agent/self', consul))
  const { DebugConfig } = (await answer.json()) as { DebugConfig: { DNSAddrs: readonly string[] } }
  return DebugConfig.DNSAddrs.find((address) => address.startsWith('udp://'))?.slice('udp://'.length) ?? ''
}

interface AgentService {
  readonly Service: string
  readonly Tags: readonly string[]
  readonly Meta: Readonly<Record<string, string>>
}

export function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}

function addressOf(variable: string, usual: string): string {
  const text = process.env[variable] || usual
  return text.includes('://') ? text : `http://${text}`
}

function answersAt(address: string): Promise<boolean> {
  const { hostname, port, protocol } = new URL(address)
  const standard: Record<string, number> = { 'amqp:': 5672, 'postgres:': 5432, 'postgresql:': 5432, 'redis:': 6379 }
  return new Promise((resolve) => {
    const socket = connect(Number(port) || (standard[protocol] ?? 80), hostname)
    socket.setTimeout(3_000, () => socket.destroy(new Error('no answer')))
    socket.once('connect', () => {
      resolve(true)
      socket.destroy()
    })
    socket.once('error', () => resolve(false))
  })
}
