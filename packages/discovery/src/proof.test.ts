import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer, type RequestOptions, request } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { setTimeout as wait } from 'node:timers/promises'
import { afterAll, describe, expect, it, onTestFinished, vi } from 'vitest'
import { consulProgram, OwnConsul } from './consul/test-consul.js'
import { consul } from './consul.js'
import { createDiscovery, type Discovery } from './discovery.js'
import type { Source } from './source.js'
import { dnsSrv } from './sources/dns-srv.js'
import { serviceFetch } from './undici/service-fetch.js'

/*
 * What a fleet goes through, on a real Consul and real processes, under load: instances are killed, stopped, drained and
 * added; the agent goes away, comes back knowing nobody, and says for a while that there is nobody.
 */

const NAME = 'proof'
const CALLERS = 64
const DIST = new URL('../dist/', import.meta.url).href

/** An instance in a process of its own: it registers itself, and drains itself when it is told to. */
const INSTANCE = `
  import { createServer } from 'node:http'
  import { consul } from '${DIST}consul.js'
  import { gracefulServer } from '${DIST}node.js'

  let last = 0
  let deregistered = 0
  const server = createServer((_, response) => {
    last = Date.now()
    setTimeout(() => response.end(String(process.pid)), 2)
  })
  server.listen(0, '127.0.0.1', async () => {
    const { port } = server.address()
    const registry = consul({ url: process.argv[1] })
    const registered = await registry.register({ name: '${NAME}', host: '127.0.0.1', port, check: { ttl: 2_000 } })
    const deregister = () => registered.deregister().finally(() => { deregistered = Date.now() })
    const graceful = gracefulServer(server, { registered: { deregister }, drainDelay: 2_000 })
    process.once('message', async () => {
      const { cut } = await graceful.drain()
      process.send({ cut, lag: last - deregistered }, () => process.exit())
    })
    process.send({ port })
  })
  process.once('disconnect', () => process.exit())
`

class Instance {
  readonly child: ChildProcess
  readonly port: number

  private constructor(child: ChildProcess, port: number) {
    this.child = child
    this.port = port
  }

  static async start(registry: string): Promise<Instance> {
    const stdio = ['ignore', 'inherit', 'inherit', 'ipc'] as const
    const child = spawn(process.execPath, ['--input-type=module', '-e', INSTANCE, registry], { stdio: [...stdio] })
    onTestFinished(() => void child.kill('SIGKILL'))
    const [{ port }] = (await once(child, 'message')) as [{ port: number }]
    return new Instance(child, port)
  }

  /** Resolves when it has gone: how many connections it cut, and how long after its deregistration the last request came. */
  async drain(): Promise<{ cut: number; lag: number }> {
    this.child.send('drain')
    const [drained] = (await once(this.child, 'message')) as [{ cut: number; lag: number }]
    return drained
  }
}

/** A way to Consul on which it can be made to say that there is nobody. */
async function lineTo(target: string) {
  const sockets = new Set<Socket>()
  let index = 1_000_000
  let empty = false
  const server = createServer((asked, reply) => {
    if (empty && asked.url?.startsWith('/v1/health/service/')) {
      setTimeout(() => reply.writeHead(200, { 'x-consul-index': ++index }).end('[]'), 200)
      return
    }
    const options: RequestOptions = { method: asked.method, headers: asked.headers }
    const onward = request(`${target}${asked.url}`, options, (answer) => {
      reply.writeHead(answer.statusCode ?? 502, answer.headers)
      answer.pipe(reply)
    })
    onward.on('error', () => reply.destroy())
    reply.on('close', () => onward.destroy())
    asked.pipe(onward)
  })
  server.on('connection', (socket: Socket) => {
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => {
    server.close()
    server.closeAllConnections()
  })

  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    sayNobody(value: boolean) {
      empty = value
      for (const socket of sockets) socket.destroy()
    },
  }
}

/** Steady load: each caller asks, and pauses for a moment. */
function load(discovery: Discovery) {
  // A stopped process accepts connections and says nothing: only a limit on waiting finds out, and another attempt helps.
  const fetch = serviceFetch(discovery, { retries: 1, pool: { headersTimeout: 750 } })
  const failures: unknown[] = []
  let answers = 0
  let over = false

  const callers = Array.from({ length: CALLERS }, async (_, caller) => {
    await wait(caller)
    while (!over) {
      try {
        const response = await fetch(`http://${NAME}/`)
        await response.text()
        if (response.status === 200) answers++
        else failures.push(response.status)
      } catch (error) {
        failures.push(error)
      }
      await wait(60)
    }
  })
  return {
    failures,
    get answers() {
      return answers
    },
    async end() {
      over = true
      await Promise.all(callers)
    },
  }
}

const program = consulProgram()
const agents: OwnConsul[] = []
afterAll(() => Promise.all(agents.map((agent) => agent.close())))

describe.skipIf(program === undefined)('a fleet under steady load', () => {
  it.each<[string, (agent: OwnConsul, url: string) => Source]>([
    ['Consul', (_, url) => consul({ url })],
    [
      'DNS',
      ({ dns }) =>
        dnsSrv({ servers: [dns], name: (name) => `${name}.service.consul`, minInterval: 200, maxInterval: 400 }),
    ],
  ])(
    'has no failed request, whatever happens to instances and to %s',
    async (kind, sourceOf) => {
      const agent = await OwnConsul.start(program ?? '')
      agents.push(agent)
      const line = await lineTo(agent.url)
      const [first, second, third] = await Promise.all([1, 2, 3].map(() => Instance.start(agent.url)))
      const discovery = createDiscovery({ source: sourceOf(agent, line.url) })
      onTestFinished(() => discovery.close())
      const service = discovery.service(NAME)
      const ports = () => service.snapshot.endpoints.map(({ port }) => port).sort((a, b) => a - b)
      const become = (...instances: (Instance | undefined)[]) => {
        const wanted = instances.map((instance) => instance?.port ?? 0).sort((a, b) => a - b)
        return vi.waitFor(() => expect(ports()).toEqual(wanted), { timeout: 15_000, interval: 20 })
      }
      await service.ready()
      await become(first, second, third)
      const callers = load(discovery)
      await wait(300)

      // One is killed.
      first?.child.kill('SIGKILL')
      await become(second, third)
      expect(callers.failures).toEqual([])

      // One is added.
      const fourth = await Instance.start(agent.url)
      await become(second, third, fourth)

      // One is stopped: it accepts connections and never answers. Later it goes on.
      second?.child.kill('SIGSTOP')
      await become(third, fourth)
      second?.child.kill('SIGCONT')
      await become(second, third, fourth)
      expect(callers.failures).toEqual([])

      // One is drained: requests end at once, and none is lost.
      const drained = await third?.drain()
      await become(second, fourth)
      expect(drained?.cut).toBe(0)
      expect(drained?.lag).toBeLessThan(1_000)
      expect(callers.failures).toEqual([])

      // The agent is killed: nothing changes. It comes back and knows nobody until they have registered again, which they
      // do one after the other: for a moment it may list only one of them, which is what it knows.
      const before = callers.answers
      await agent.stop()
      await wait(1_500)
      expect(ports()).toHaveLength(2)
      expect(callers.answers).toBeGreaterThan(before)
      await agent.start()
      await vi.waitFor(() => expect(service.snapshot.stale).toBe(false), { timeout: 15_000 })
      expect(ports()).not.toHaveLength(0)
      await become(second, fourth)
      expect(callers.failures).toEqual([])

      // It says for five seconds that there is nobody.
      if (kind === 'Consul') {
        line.sayNobody(true)
        await wait(5_000)
        expect(ports()).toHaveLength(2)
        line.sayNobody(false)
      }
      await become(second, fourth)

      await callers.end()
      expect(callers.failures).toEqual([])
      expect(callers.answers).toBeGreaterThan(1_000)
    },
    60_000,
  )
})
