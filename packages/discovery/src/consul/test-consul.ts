import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { accessSync, constants } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { missingServer } from '../../../../tooling/missing-server.js'

/** The Consul that tests share; undefined when none answers, unless MSX_REQUIRE_SERVICES says that one must. */
export async function sharedConsul(): Promise<string | undefined> {
  const value = process.env['CONSUL_HTTP_ADDR'] || 'http://127.0.0.1:8500'
  const url = value.includes('://') ? value : `http://${value}`
  try {
    await leaderOf(url)
    return url
  } catch (cause) {
    return missingServer('consul', url, cause)
  }
}

/** Not a failure even where every server must answer: the one that does may run in a container, or be somebody else's. */
const noProgram = `
  SKIPPED: the tests that restart Consul: its program is neither unpacked nor on the PATH
  Stop the Consul that answers and let \`scripts/services up consul\` start one, or install it.
`

/** The program of a Consul that a test may stop: where `scripts/services` unpacks it, or on the PATH. */
export function consulProgram(): string | undefined {
  const unpacked = fileURLToPath(new URL('../../../../.data/services/consul/usr/bin/consul', import.meta.url))
  const onPath = (process.env['PATH'] ?? '').split(delimiter).map((folder) => join(folder, 'consul'))
  const found = [unpacked, ...onPath].find((file) => {
    try {
      accessSync(file, constants.X_OK)
      return true
    } catch {
      return false
    }
  })
  if (found === undefined) console.warn(noProgram)
  return found
}

/** Consul answers before it has a leader, but refuses everything until then. */
async function leaderOf(url: string): Promise<void> {
  const response = await fetch(`${url}/v1/status/leader`, { signal: AbortSignal.timeout(3_000) })
  const leader = await response.text()
  if (!response.ok || leader === '""') throw new Error(`It has no leader: ${response.status} ${leader}`)
}

/** Talks to Consul behind the back of what is tested. */
export class ConsulHand {
  readonly url: string

  constructor(url: string) {
    this.url = url
  }

  async register(service: { Name: string; ID: string; Address: string; Port: number } & object): Promise<void> {
    await this.#put('/v1/agent/service/register', service)
  }

  async deregister(id: string): Promise<void> {
    await this.#put(`/v1/agent/service/deregister/${id}`)
  }

  /** The ids of a service's instances in the agent. */
  async ids(service: string): Promise<string[]> {
    return Object.entries(await this.#get<Record<string, { Service: string }>>('/v1/agent/services'))
      .filter(([, entry]) => entry.Service === service)
      .map(([id]) => id)
  }

  service(id: string): Promise<Record<string, unknown>> {
    return this.#get(`/v1/agent/service/${id}`)
  }

  async check(id: string): Promise<Record<string, unknown> | undefined> {
    return (await this.#get<Record<string, Record<string, unknown>>>('/v1/agent/checks'))[id]
  }

  /** Makes the instances of a service exactly these. */
  async set(service: string, places: readonly { host: string; port: number }[]): Promise<void> {
    const wanted = new Map(places.map(({ host, port }) => [`${service}-${host}-${port}`, { host, port }]))
    for (const [ID, { host, port }] of wanted) await this.register({ ID, Name: service, Address: host, Port: port })
    for (const id of await this.ids(service)) if (!wanted.has(id)) await this.deregister(id)
  }

  /** Where the agent answers to DNS. */
  async dnsAddress(): Promise<string> {
    const { DebugConfig } = await this.#get<{ DebugConfig: { DNSPort: number } }>('/v1/agent/self')
    return `${new URL(this.url).hostname.replace('localhost', '127.0.0.1')}:${DebugConfig.DNSPort}`
  }

  async #get<T>(path: string): Promise<T> {
    const response = await fetch(`${this.url}${path}`)
    if (!response.ok) throw new Error(`${path}: ${response.status} ${await response.text()}`)
    return (await response.json()) as T
  }

  async #put(path: string, body?: object): Promise<void> {
    const response = await fetch(`${this.url}${path}`, { method: 'PUT', ...(body && { body: JSON.stringify(body) }) })
    if (!response.ok) throw new Error(`${path}: ${response.status} ${await response.text()}`)
  }
}

/** A way to Consul that can be cut, so that it is away for one test only. */
export class CuttableLine {
  readonly #target: URL
  readonly #sockets = new Set<Socket>()
  #cut = false
  readonly #server = createServer((near) => {
    if (this.#cut) return near.destroy()

    const far = connect(Number(this.#target.port), this.#target.hostname)
    for (const socket of [near, far]) {
      this.#sockets.add(socket)
      socket.on('error', () => {})
      socket.once('close', () => {
        this.#sockets.delete(socket)
        near.destroy()
        far.destroy()
      })
    }
    near.pipe(far).pipe(near)
    return undefined
  })

  private constructor(target: string) {
    this.#target = new URL(target)
  }

  static async to(target: string): Promise<CuttableLine> {
    const line = new CuttableLine(target)
    line.#server.listen(0, '127.0.0.1')
    await once(line.#server, 'listening')
    return line
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`
  }

  /** How many connections there are. */
  get open(): number {
    return this.#sockets.size / 2
  }

  cut(): void {
    this.#cut = true
    for (const socket of this.#sockets) socket.destroy()
  }

  mend(): void {
    this.#cut = false
  }

  async close(): Promise<void> {
    this.cut()
    this.#server.close()
    await once(this.#server, 'close')
  }
}

/** A Consul of a test's own, in memory: it forgets everything when it stops. */
export class OwnConsul {
  readonly #program: string
  readonly #folder: string
  readonly #aclToken: string | undefined
  readonly #ports: { readonly http: number; readonly dns: number; readonly lan: number; readonly rpc: number }
  #process: ChildProcess | undefined

  private constructor(program: string, folder: string, ports: readonly number[], aclToken?: string) {
    const [http = 0, dns = 0, lan = 0, rpc = 0] = ports
    this.#program = program
    this.#folder = folder
    this.#aclToken = aclToken
    this.#ports = { http, dns, lan, rpc }
  }

  /** @param aclToken With it nothing is allowed but to who has this token. */
  static async start(program: string, aclToken?: string): Promise<OwnConsul> {
    const folder = await mkdtemp(join(tmpdir(), 'msx-discovery-consul-'))
    const own = new OwnConsul(program, folder, await freePorts(4), aclToken)
    await own.start()
    return own
  }

  get url(): string {
    return `http://127.0.0.1:${this.#ports.http}`
  }

  get dns(): string {
    return `127.0.0.1:${this.#ports.dns}`
  }

  async start(): Promise<void> {
    const { http, dns, lan, rpc } = this.#ports
    const config = {
      ports: { http, dns, serf_lan: lan, serf_wan: -1, server: rpc, grpc: -1 },
      disable_update_check: true,
      ...(this.#aclToken && { acl: { enabled: true, default_policy: 'deny', tokens: { master: this.#aclToken } } }),
    }
    const args = ['agent', '-dev', '-bind=127.0.0.1', '-log-level=err', '-node=own', `-hcl=${JSON.stringify(config)}`]
    this.#process = spawn(this.#program, args, { cwd: this.#folder, stdio: 'ignore' })

    const deadline = performance.now() + 30_000
    while (true) {
      try {
        return await leaderOf(this.url)
      } catch (error) {
        if (performance.now() > deadline || this.#process.exitCode !== null) throw error
        await wait(50)
      }
    }
  }

  async stop(): Promise<void> {
    const child = this.#process
    this.#process = undefined
    if (child === undefined || child.exitCode !== null) return

    child.kill('SIGKILL')
    await once(child, 'exit')
  }

  async close(): Promise<void> {
    await this.stop()
    await rm(this.#folder, { recursive: true, force: true })
  }
}

async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer().listen(0, '127.0.0.1'))
  await Promise.all(servers.map((server) => once(server, 'listening')))
  const ports = servers.map((server) => (server.address() as AddressInfo).port)
  await Promise.all(
    servers.map((server) => {
      server.close()
      return once(server, 'close')
    }),
  )
  return ports
}
