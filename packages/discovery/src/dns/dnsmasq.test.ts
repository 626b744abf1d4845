import { type ChildProcess, spawn } from 'node:child_process'
import { accessSync, constants, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { createDiscovery } from '../discovery.js'
import { dnsA } from '../sources/dns-a.js'
import { serviceFetch } from '../undici/service-fetch.js'

const program = (process.env['PATH'] ?? '')
  .split(delimiter)
  .map((folder) => join(folder, 'dnsmasq'))
  .find((file) => {
    try {
      accessSync(file, constants.X_OK)
      return true
    } catch {
      return false
    }
  })
if (program === undefined) console.warn('\n  SKIPPED: the moves of a fleet in dnsmasq: it is not on the PATH\n')

const NAME = 'users.internal'
const CALLERS = 64

/** A dnsmasq of this test's own, that knows the addresses it is told. */
class OwnDnsmasq {
  readonly #folder = mkdtempSync(join(tmpdir(), 'msx-dnsmasq-'))
  readonly #port: number
  #child: ChildProcess | undefined

  constructor(port: number) {
    this.#port = port
  }

  get server(): string {
    return `127.0.0.1:${this.#port}`
  }

  start(): void {
    const only = [
      '--no-daemon',
      '--no-resolv',
      '--no-hosts',
      '--user=',
      '--listen-address=127.0.0.1',
      '--bind-interfaces',
    ]
    const hosts = ['--local=/internal/', '--local-ttl=1', `--addn-hosts=${join(this.#folder, 'hosts')}`]
    const files = ['--conf-file=/dev/null', '--pid-file=', `--port=${this.#port}`]
    this.#child = spawn(program ?? '', [...only, ...hosts, ...files], { stdio: 'ignore' })
  }

  stop(): void {
    this.#child?.kill('SIGKILL')
  }

  /** The name has these addresses from now on. */
  tell(...addresses: string[]): void {
    writeFileSync(join(this.#folder, 'hosts'), addresses.map((address) => `${address} ${NAME}\n`).join(''))
    this.#child?.kill('SIGHUP')
  }

  close(): void {
    this.stop()
    rmSync(this.#folder, { recursive: true, force: true })
  }
}

/** An instance: every one of 127.0.0.x is this machine's. */
async function instance(address: string, port = 0): Promise<Server> {
  const server = createServer((_, response) => void setTimeout(() => response.end(address), 2))
  await new Promise<void>((resolve) => server.listen(port, address, resolve))
  onTestFinished(() => kill(server))
  return server
}

function kill(server: Server): void {
  server.close()
  server.closeAllConnections()
}

async function freePort(): Promise<number> {
  const server = await instance('127.0.0.1')
  const { port } = server.address() as AddressInfo
  kill(server)
  return port
}

describe.skipIf(program === undefined)('a fleet in dnsmasq, under the load of 64 callers', () => {
  it('has no failed request, whatever happens to instances and to the server', { timeout: 60_000 }, async () => {
    const dnsmasq = new OwnDnsmasq(await freePort())
    onTestFinished(() => dnsmasq.close())
    const first = await instance('127.0.0.2')
    const { port } = first.address() as AddressInfo
    await instance('127.0.0.3', port)
    const third = await instance('127.0.0.4', port)
    dnsmasq.tell('127.0.0.2', '127.0.0.3', '127.0.0.4')
    dnsmasq.start()

    const source = dnsA({
      port,
      name: () => NAME,
      servers: [dnsmasq.server],
      minInterval: 200,
      maxInterval: 400,
      timeout: 300,
    })
    const discovery = createDiscovery({ source, emptyGrace: 3_000 })
    onTestFinished(() => discovery.close())
    const service = discovery.service('users')
    const become = (...hosts: string[]) =>
      vi.waitFor(() => expect(service.snapshot.endpoints.map(({ host }) => host).sort()).toEqual(hosts), {
        timeout: 5_000,
      })
    await become('127.0.0.2', '127.0.0.3', '127.0.0.4')

    const fetch = serviceFetch(discovery, { retries: 1 })
    const failures: unknown[] = []
    let answers = 0
    let over = false
    const callers = Array.from({ length: CALLERS }, async () => {
      while (!over) {
        try {
          await (await fetch('http://users/')).text()
          answers++
        } catch (error) {
          failures.push(error)
        }
        await wait(30)
      }
    })

    // One is killed, and one is added.
    kill(first)
    dnsmasq.tell('127.0.0.3', '127.0.0.4')
    await become('127.0.0.3', '127.0.0.4')
    await instance('127.0.0.5', port)
    dnsmasq.tell('127.0.0.3', '127.0.0.4', '127.0.0.5')
    await become('127.0.0.3', '127.0.0.4', '127.0.0.5')

    // One is drained: listed no more while it still serves, so that nobody notices.
    dnsmasq.tell('127.0.0.3', '127.0.0.5')
    await become('127.0.0.3', '127.0.0.5')
    await wait(200)
    kill(third)

    // The server is killed, and comes back: nothing changes.
    dnsmasq.stop()
    await vi.waitFor(() => expect(service.snapshot.stale).toBe(true), { timeout: 5_000 })
    const before = answers
    await wait(300)
    expect(answers).toBeGreaterThan(before)
    dnsmasq.start()
    await vi.waitFor(() => expect(service.snapshot.stale).toBe(false), { timeout: 5_000 })
    await become('127.0.0.3', '127.0.0.5')

    // For a while it knows nobody of that name.
    dnsmasq.tell()
    await wait(1_500)
    await become('127.0.0.3', '127.0.0.5')
    dnsmasq.tell('127.0.0.3', '127.0.0.5')

    over = true
    await Promise.all(callers)
    expect(failures).toEqual([])
    expect(answers).toBeGreaterThan(500)
  })
})
