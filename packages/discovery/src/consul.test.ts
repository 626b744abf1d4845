import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as wait } from 'node:timers/promises'
import { promisify } from 'node:util'
import Consul from 'consul'
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest'
import type { ConsulOptions } from './consul/options.js'
import { ConsulHand, CuttableLine, consulProgram, OwnConsul, sharedConsul } from './consul/test-consul.js'
import { consul } from './consul.js'
import { createDiscovery, type Discovery, type DiscoveryOptions } from './discovery.js'
import type { Registered, Registration } from './registry.js'

const sharedUrl = await sharedConsul()
const program = consulProgram()
const FAST = { interval: 10, timeout: 1_000 }
const PATIENT = { interval: 50, timeout: 15_000 }

const opened: { close(): Promise<void> }[] = []
const registrations: Registered[] = []
let names = 0

afterEach(async () => {
  for (const registered of registrations.splice(0)) await registered.deregister()
  for (const thing of opened.splice(0).reverse()) await thing.close()
})

function open<T extends { close(): Promise<void> }>(thing: T): T {
  opened.push(thing)
  return thing
}

function discover(options: ConsulOptions, more: Partial<DiscoveryOptions> = {}): Discovery {
  return open(createDiscovery({ source: consul(options), ...more }))
}

async function register(options: ConsulOptions, registration: Registration): Promise<Registered> {
  const registered = await consul(options).register(registration)
  registrations.push(registered)
  return registered
}

/** A name that no other test and no other process uses. */
function uniqueName(): string {
  names += 1
  return `msx-test-${process.pid}-${Date.now().toString(36)}-${names}`
}

const portsOf = (discovery: Discovery, name: string) =>
  discovery.service(name).snapshot.endpoints.map(({ port }) => port)

const waysTo: [string, (url: string) => ConsulOptions][] = [
  ['its HTTP API', (url) => ({ url })],
  [
    'a client of the package consul',
    (url) => {
      const { hostname: host, port } = new URL(url)
      return { client: new Consul({ host, port: Number(port) }) }
    },
  ],
]

describe.skipIf(sharedUrl === undefined).each(waysTo)('consul by %s', (_, optionsFor) => {
  // What is skipped is collected all the same: without a server the address must be one, and nobody asks it.
  const url = sharedUrl ?? 'http://127.0.0.1:8500'
  const options = optionsFor(url)
  const hand = new ConsulHand(url)

  it('knows within a second who comes and who goes', async () => {
    const name = uniqueName()
    const discovery = discover(options, { emptyGrace: 0 })
    await discovery.service(name).ready()
    expect(portsOf(discovery, name)).toEqual([])

    const registered = await register(options, { name, host: '127.0.0.1', port: 3001 })
    await vi.waitFor(() => expect(portsOf(discovery, name)).toEqual([3001]), FAST)
    await registered.deregister()
    await vi.waitFor(() => expect(portsOf(discovery, name)).toEqual([]), FAST)
  })

  it('hands everything that was registered to those who look', async () => {
    const name = uniqueName()
    await register(options, { name, id: `${name}/1`, host: '127.0.0.1', port: 3001, tags: ['v2'], meta: { zone: 'a' } })
    const snapshot = await discover(options).service(name).ready()

    expect(snapshot.endpoints).toMatchObject([
      { id: `${name}/1`, url: 'http://127.0.0.1:3001', tags: ['v2'], meta: { zone: 'a' }, zone: 'a', weight: 1 },
    ])
  })

  it('replaces an instance that is registered again under the same id', async () => {
    const name = uniqueName()
    await register(options, { name, id: name, host: '127.0.0.1', port: 3001 })
    await register(options, { name, id: name, host: '127.0.0.1', port: 3002 })

    expect((await discover(options).service(name).ready()).endpoints).toMatchObject([{ port: 3002 }])
  })

  it('lists an instance with a TTL check from the first moment, and for as long as it lives', async () => {
    const name = uniqueName()
    await register(options, { name, host: '127.0.0.1', port: 3001, check: { ttl: 600 } })
    const discovery = discover(options, { emptyGrace: 0 })
    const removed: unknown[] = []
    discovery.on('change', (event) => removed.push(...event.removed))
    await discovery.service(name).ready()
    expect(portsOf(discovery, name)).toEqual([3001])

    await wait(1_500)
    expect(removed).toEqual([])
  })

  it('does not list an instance whose process reports no more', async () => {
    const name = uniqueName()
    const clock = { now: () => performance.now(), after: () => () => {} } // its timers never come
    await register({ ...options, clock } as ConsulOptions, { name, host: '127.0.0.1', port: 3001, check: { ttl: 300 } })
    const discovery = discover(options, { emptyGrace: 0 })
    await discovery.service(name).ready()

    await vi.waitFor(() => expect(portsOf(discovery, name)).toEqual([]), PATIENT)
  })

  it('has Consul ask an instance over HTTP', { timeout: 20_000 }, async () => {
    const name = uniqueName()
    let status = 200
    const server = createServer((_request, response) => {
      response.statusCode = status
      response.end()
    }).listen(0, '127.0.0.1')
    await once(server, 'listening')
    const { port } = server.address() as AddressInfo
    open({ close: async () => void server.close() })

    const check = { http: `http://127.0.0.1:${port}/ready`, interval: 1_000 }
    await register(options, { name, host: '127.0.0.1', port, check })
    const discovery = discover(options, { emptyGrace: 0 })
    const all = discover({ ...options, passing: false } as ConsulOptions)
    discovery.service(name)
    await vi.waitFor(() => expect(portsOf(discovery, name)).toEqual([port]), PATIENT)

    status = 500
    await vi.waitFor(() => expect(portsOf(discovery, name)).toEqual([]), PATIENT)
    const snapshot = await all.service(name).ready()
    expect(snapshot.endpoints).toMatchObject([{ port, weight: 0 }])
  })

  it('lists those with all the tags', async () => {
    const name = uniqueName()
    await register(options, { name, host: '127.0.0.1', port: 3001, tags: ['a', 'b'] })
    await register(options, { name, host: '127.0.0.1', port: 3002, tags: ['a'] })
    await register(options, { name, host: '127.0.0.1', port: 3003, tags: ['b', 'c', 'a'] })
    const discovery = discover({ ...options, tags: ['a', 'b'] } as ConsulOptions)
    await discovery.service(name).ready()

    expect(portsOf(discovery, name).sort()).toEqual([3001, 3003])
  })

  it('fails for a datacenter that is not there', async () => {
    const discovery = discover({ ...options, dc: 'nowhere' } as ConsulOptions)

    await expect(discovery.service('consul').ready()).rejects.toThrow(/No path to datacenter/)
  })

  it('hears that a wait is over, and goes on', async () => {
    const name = uniqueName()
    const discovery = discover({ ...options, wait: 200 } as ConsulOptions, { emptyGrace: 0 })
    const errors: Error[] = []
    discovery.on('error', ({ error }) => errors.push(error))
    await discovery.service(name).ready()
    await wait(1_000)
    await register(options, { name, host: '127.0.0.1', port: 3001 })

    await vi.waitFor(() => expect(portsOf(discovery, name)).toEqual([3001]), FAST)
    expect(errors).toEqual([])
  })

  it('registers again what the agent has forgotten', async () => {
    const name = uniqueName()
    const registered = await register(options, { name, id: name, host: '127.0.0.1', port: 3001 })
    const restored = vi.fn()
    registered.on('restored', restored)
    await hand.deregister(name)

    await vi.waitFor(async () => expect(await hand.ids(name)).toEqual([name]), PATIENT)
    expect(restored).toHaveBeenCalledWith({ id: name })
  })

  it('refuses what Consul refuses', async () => {
    const meta = { 'not a key': 'x' }
    const refused = register(options, { name: uniqueName(), host: '127.0.0.1', port: 3001, meta })

    await expect(refused).rejects.toMatchObject({ code: 'MSX_REGISTRY', message: expect.stringContaining('not a key') })
  })

  it('rejects wrong registrations', async () => {
    await expect(consul(options).register({ name: '', host: '127.0.0.1', port: 1 })).rejects.toThrow(TypeError)
  })

  it('deregisters an instance that Consul does not know any more', async () => {
    const name = uniqueName()
    const registered = await register(options, { name, id: name, host: '127.0.0.1', port: 3001 })
    await hand.deregister(name)

    await expect(registered.deregister()).resolves.toBeUndefined()
    await expect(registered.deregister()).resolves.toBeUndefined()
  })

  it('ends the long poll at once when the discovery is closed', async () => {
    const line = open(await CuttableLine.to(sharedUrl ?? ''))
    const discovery = createDiscovery({ source: consul(optionsFor(line.url)) })
    await discovery.service('consul').ready()
    await vi.waitFor(() => expect(line.open).toBe(1), FAST)
    await wait(200) // in the middle of the question
    await discovery.close()

    await vi.waitFor(() => expect(line.open).toBe(0), FAST)
  })

  it('keeps the last good list while Consul is away, says so, and recovers by itself', {
    timeout: 20_000,
  }, async () => {
    const name = uniqueName()
    const line = open(await CuttableLine.to(sharedUrl ?? ''))
    await hand.set(name, [{ host: '127.0.0.1', port: 3001 }])
    open({ close: () => hand.set(name, []) })
    const discovery = discover(optionsFor(line.url), { emptyGrace: 0 })
    const service = discovery.service(name)
    await service.ready()

    line.cut()
    await vi.waitFor(() => expect(service.snapshot.stale).toBe(true), FAST)
    expect(service.pick().endpoint.port).toBe(3001)
    expect(service.snapshot.error).toMatchObject({ code: 'MSX_REGISTRY' })

    await hand.set(name, [{ host: '127.0.0.1', port: 3002 }])
    line.mend()
    await vi.waitFor(() => expect(portsOf(discovery, name)).toEqual([3002]), PATIENT)
    expect(service.snapshot).toMatchObject({ stale: false })
  })
})

describe.skipIf(program === undefined)('consul and an agent that restarts', () => {
  let own: OwnConsul

  beforeAll(async () => {
    own = await OwnConsul.start(program ?? '')
  }, 40_000)

  afterAll(() => own?.close())

  it('registers again, and is followed although the index began anew', { timeout: 60_000 }, async () => {
    const hand = new ConsulHand(own.url)
    for (let i = 0; i < 30; i++) await hand.set('filler', [{ host: '127.0.0.1', port: 4_000 + i }]) // drives the index up
    const [ttl, plain] = [uniqueName(), uniqueName()]
    await register({ url: own.url }, { name: ttl, host: '127.0.0.1', port: 3001, check: { ttl: 30_000 } })
    await register({ url: own.url }, { name: plain, host: '127.0.0.1', port: 3002 })
    const discovery = discover({ url: own.url })
    await Promise.all([discovery.service(ttl).ready(), discovery.service(plain).ready()])
    const lists: number[][] = []
    discovery.on('change', ({ snapshot }) => lists.push(snapshot.endpoints.map(({ port }) => port)))

    await own.stop()
    await vi.waitFor(() => expect(discovery.service(ttl).snapshot.stale).toBe(true), PATIENT)
    await own.start()

    await vi.waitFor(async () => expect(await hand.ids(ttl)).toHaveLength(1), PATIENT)
    await vi.waitFor(async () => expect(await hand.ids(plain)).toHaveLength(1), PATIENT)
    await vi.waitFor(() => expect(discovery.service(ttl).snapshot.stale).toBe(false), PATIENT)
    await hand.register({ ID: 'second', Name: ttl, Address: '127.0.0.1', Port: 3003 })
    await vi.waitFor(() => expect(portsOf(discovery, ttl).sort()).toEqual([3001, 3003]), PATIENT)
    // The agent's empty memory was never believed.
    expect(lists.filter((ports) => ports.length === 0)).toEqual([])
  })

  it('sends nobody away because it has heard of few instances yet', { timeout: 60_000 }, async () => {
    const hand = new ConsulHand(own.url)
    const name = uniqueName()
    const ports = [5001, 5002, 5003, 5004, 5005]
    for (const Port of ports) await hand.register({ ID: `${name}-${Port}`, Name: name, Address: '127.0.0.1', Port })
    const discovery = discover({ url: own.url })
    await vi.waitFor(() => expect(portsOf(discovery, name).sort()).toEqual(ports), PATIENT)

    await own.stop()
    await vi.waitFor(() => expect(discovery.service(name).snapshot.stale).toBe(true), PATIENT)
    await own.start()
    await hand.register({ ID: `${name}-5006`, Name: name, Address: '127.0.0.1', Port: 5006 })

    await vi.waitFor(() => expect(portsOf(discovery, name)).toContain(5006), PATIENT)
    expect(portsOf(discovery, name).sort()).toEqual([...ports, 5006])
  })
})

describe('a process that watches', () => {
  /** Answers the first question, and no other. */
  async function fakeConsul(delay = 0) {
    const server = createServer((request, response) => {
      if (request.url?.includes('index=')) return
      setTimeout(() => response.setHeader('x-consul-index', '1').end('[]'), delay)
    }).listen(0, '127.0.0.1')
    await once(server, 'listening')
    open({ close: async () => server.closeAllConnections() })
    open({ close: async () => void server.close() })
    return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  }

  const run = (script: string) =>
    promisify(execFile)(process.execPath, ['--input-type=module', '--eval', script], { timeout: 10_000 })

  const packageUrl = (file: string) => new URL(`../dist/${file}.js`, import.meta.url).href
  const begin = (url: string) => `
    import { createDiscovery } from '${packageUrl('index')}'
    import { consul } from '${packageUrl('consul')}'
    const discovery = createDiscovery({ source: consul({ url: '${url}' }) })
    console.log((await discovery.service('users').ready()).version)`

  it('waits for the first answer, and ends although nobody closed the discovery', async () => {
    const url = await fakeConsul(300)

    expect((await run(begin(url))).stdout).toBe('1\n')
  })

  it('lives on for as long as somebody waits for changes', async () => {
    const url = await fakeConsul()
    const running = run(`${begin(url)}
      setTimeout(() => console.log('waiting'), 300).unref()
      setTimeout(() => process.exit(0), 400).unref()
      for await (const _ of discovery.service('users').changes()) {}`)

    expect((await running).stdout).toBe('1\nwaiting\n')
  })
})
