import { afterEach, describe, expect, it, vi } from 'vitest'
import { ConsulHand, sharedConsul } from '../consul/test-consul.js'
import { createDiscovery, type Discovery } from '../discovery.js'
import type { DnsOptions } from '../dns/options.js'
import { TestDnsServer, type Zone } from '../dns/test-dns-server.js'
import type { Source } from '../source.js'
import { dnsA } from './dns-a.js'
import { dnsSrv } from './dns-srv.js'

const consulUrl = await sharedConsul()
const FAST = { minInterval: 20, maxInterval: 40, timeout: 250, tries: 1 }
const WAIT = { interval: 10, timeout: 5_000 }

const opened: { close(): Promise<void> }[] = []

afterEach(async () => {
  for (const thing of opened.splice(0).reverse()) await thing.close()
})

async function serve(zones: Record<string, Zone>): Promise<TestDnsServer> {
  const server = await TestDnsServer.start(zones)
  opened.push(server)
  return server
}

function discover(source: Source): Discovery {
  const discovery = createDiscovery({ source, emptyGrace: 0 })
  opened.push(discovery)
  return discovery
}

/** The endpoints a source finds for `users.test` in these zones. */
async function find(zones: Record<string, Zone>, create: (options: DnsOptions) => Source) {
  const server = await serve(zones)
  const { endpoints } = await discover(create({ ...FAST, servers: [server.address] }))
    .service('users.test')
    .ready()
  return { endpoints, server }
}

const a = (address: string, ttl = 0) => ({ type: 'A' as const, address, ttl })
const aaaa = (address: string) => ({ type: 'AAAA' as const, address })
const srv = (target: string, port: number, fields = {}) => ({ type: 'SRV' as const, target, port, ...fields })

describe('dnsA', () => {
  const port3000 = (options: DnsOptions) => dnsA({ ...options, port: 3_000 })

  it('makes an endpoint of each address', async () => {
    const { endpoints } = await find({ 'users.test': [a('10.0.0.1'), a('10.0.0.2'), a('10.0.0.1')] }, port3000)

    expect(endpoints.map(({ url }) => url).sort()).toEqual(['http://10.0.0.1:3000', 'http://10.0.0.2:3000'])
  })

  it('takes IPv6 addresses where there are no others', async () => {
    const { endpoints } = await find({ 'users.test': [aaaa('fd00::7')] }, port3000)

    expect(endpoints.map(({ url }) => url)).toEqual(['http://[fd00::7]:3000'])
  })

  it('has each instance once where it has both kinds of address', async () => {
    const { endpoints, server } = await find({ 'users.test': [a('10.0.0.1'), aaaa('fd00::7')] }, port3000)

    expect(endpoints.map(({ host }) => host)).toEqual(['10.0.0.1'])
    expect(server.questions).not.toContain('AAAA users.test')
  })

  it('asks the servers it was given by the name it was told', async () => {
    const server = await serve({ 'users.service.test': [a('10.0.0.1')] })
    const source = dnsA({ ...FAST, servers: [server.address], port: 80, name: (service) => `${service}.service.test` })

    expect((await discover(source).service('users').ready()).endpoints).toHaveLength(1)
  })

  it('believes that a name does not exist, whatever the kind of address', async () => {
    const { endpoints, server } = await find({}, port3000)

    expect(endpoints).toEqual([])
    expect(server.questions).not.toContain('AAAA users.test')
  })

  it('asks again by the TTL', async () => {
    const server = await serve({ 'users.test': [a('10.0.0.1', 1)] })
    const source = dnsA({ ...FAST, maxInterval: 5_000, servers: [server.address], port: 80 })
    const began = performance.now()
    await discover(source).service('users.test').ready()
    await vi.waitFor(() => expect(server.questions).toHaveLength(2), WAIT)

    expect(performance.now() - began).toBeGreaterThan(700) // 80 % of a second, less a tenth
  })
})

describe('dnsSrv', () => {
  const targets = { 'one.test': [a('10.0.0.1')], 'two.test': [a('10.0.0.2')] } satisfies Record<string, Zone>

  it('takes over port, priority and weight, and resolves the targets', async () => {
    const records = [
      srv('one.test', 3001, { priority: 10, weight: 60 }),
      srv('two.test', 3002, { priority: 20, weight: 5 }),
    ]
    const { endpoints } = await find({ 'users.test': records, ...targets }, dnsSrv)

    expect([...endpoints].sort((x, y) => x.port - y.port)).toMatchObject([
      { id: '10.0.0.1:3001', host: '10.0.0.1', port: 3001, priority: 10, weight: 60 },
      { id: '10.0.0.2:3002', host: '10.0.0.2', port: 3002, priority: 20, weight: 5 },
    ])
  })

  it('tells instances on one host apart', async () => {
    const { endpoints, server } = await find(
      { 'users.test': [srv('one.test', 3001), srv('one.test', 3002)], ...targets },
      dnsSrv,
    )

    expect(endpoints.map(({ id }) => id).sort()).toEqual(['10.0.0.1:3001', '10.0.0.1:3002'])
    expect(server.questions.filter((question) => question === 'A one.test')).toHaveLength(1)
  })

  it('shares the weight of a target among its addresses', async () => {
    const zones = {
      'users.test': [srv('many.test', 80, { weight: 9 })],
      'many.test': ['1', '2', '3'].map((n) => a(`10.0.0.${n}`)),
    }
    const { endpoints } = await find(zones, dnsSrv)

    expect(endpoints.map(({ weight }) => weight)).toEqual([3, 3, 3])
  })

  it('leaves out records that cannot be used, one by one', async () => {
    const records = [srv('one.test', 3001), srv('two.test', 0), srv('.', 3003), srv('gone.test', 3004)]
    const server = await serve({ 'users.test': records, ...targets })
    const discovery = discover(dnsSrv({ ...FAST, servers: [server.address] }))
    const errors: Error[] = []
    discovery.on('error', ({ error }) => errors.push(error))
    const { endpoints } = await discovery.service('users.test').ready()

    expect(endpoints.map(({ port }) => port)).toEqual([3001])
    expect(errors).toEqual([])
  })

  it('takes a single "." for a service that is decidedly not available', async () => {
    const { endpoints } = await find({ 'users.test': [srv('.', 0)] }, dnsSrv)

    expect(endpoints).toEqual([])
  })

  it('keeps the addresses of a target that cannot be asked for, and hears of the others', async () => {
    const server = await serve({ 'users.test': [srv('one.test', 1), srv('two.test', 2)], ...targets })
    const service = discover(dnsSrv({ ...FAST, servers: [server.address] })).service('users.test')
    await service.ready()
    server.zones.set('one.test', 'SERVFAIL')
    server.zones.set('users.test', [srv('one.test', 1), srv('two.test', 3)])

    await vi.waitFor(() => expect(service.snapshot.endpoints.map(({ port }) => port).sort()).toEqual([1, 3]), WAIT)
  })

  it('is stale when no target can be asked for', async () => {
    const server = await serve({ 'users.test': [srv('one.test', 1), srv('two.test', 2)], ...targets })
    const service = discover(dnsSrv({ ...FAST, servers: [server.address] })).service('users.test')
    await service.ready()
    server.zones.set('one.test', 'SERVFAIL').set('two.test', 'SERVFAIL')

    await vi.waitFor(() => expect(service.snapshot.stale).toBe(true), WAIT)
    expect(service.snapshot.endpoints).toHaveLength(2)
  })

  it('asks for no further targets when the discovery is closed', async () => {
    const records = Array.from({ length: 25 }, (_, n) => srv(`h${n}.test`, 80))
    const zones = Object.fromEntries(records.map(({ target }) => [target, 'silence' as const]))
    const server = await serve({ 'users.test': records, ...zones })
    const discovery = createDiscovery({ source: dnsSrv({ ...FAST, timeout: 60_000, servers: [server.address] }) })
    discovery.service('users.test')
    await vi.waitFor(() => expect(server.questions).toHaveLength(17), WAIT)
    await discovery.close()
    await new Promise((resolve) => setTimeout(resolve, 50))

    expect(server.questions).toHaveLength(17)
  })

  it('finds more targets than it asks for at a time', async () => {
    const numbers = Array.from({ length: 25 }, (_, n) => n)
    const zones: Record<string, Zone> = { 'users.test': numbers.map((n) => srv(`h${n}.test`, 80)) }
    for (const n of numbers) zones[`h${n}.test`] = [a(`10.0.1.${n}`)]

    expect((await find(zones, dnsSrv)).endpoints).toHaveLength(25)
  })
})

describe.each<[string, (options: DnsOptions) => Source, Zone]>([
  ['dnsA', (options) => dnsA({ ...options, port: 80 }), [a('10.0.0.1')]],
  ['dnsSrv', dnsSrv, [srv('10.0.0.1.test', 80)]],
])('%s', (_, create, zone) => {
  const zones = { 'users.test': zone, '10.0.0.1.test': [a('10.0.0.1')] } satisfies Record<string, Zone>

  it.each<[string, Zone]>([
    ['a name that does not exist', 'NXDOMAIN'],
    ['a name without such records', []],
  ])('takes %s for a service that has nobody', async (_name, answer) => {
    const server = await serve(zones)
    const service = discover(create({ ...FAST, servers: [server.address] })).service('users.test')
    await service.ready()
    server.zones.set('users.test', answer)

    await vi.waitFor(() => expect(service.snapshot.endpoints).toEqual([]), WAIT)
    expect(service.snapshot.stale).toBe(false)
  })

  it.each<['SERVFAIL' | 'silence', string]>([
    ['SERVFAIL', 'ESERVFAIL'],
    ['silence', 'ETIMEOUT'],
  ])('keeps what it knew through %s, and recovers by itself', async (how, code) => {
    const server = await serve(zones)
    const service = discover(create({ ...FAST, servers: [server.address] })).service('users.test')
    await service.ready()
    const end = server.fail(how)
    await vi.waitFor(() => expect(service.snapshot.stale).toBe(true), WAIT)
    expect(service.snapshot.endpoints).toHaveLength(1)
    expect(service.snapshot.error).toMatchObject({ code })

    end()
    await vi.waitFor(() => expect(service.snapshot.stale).toBe(false), WAIT)
  })

  it('says why there is nobody when it never had an answer', async () => {
    const server = await serve({ 'users.test': 'SERVFAIL' })
    const service = discover(create({ ...FAST, servers: [server.address] })).service('users.test')

    await expect(service.ready()).rejects.toMatchObject({ code: 'MSX_NO_ENDPOINTS', cause: { code: 'ESERVFAIL' } })
  })

  it('ends a question at once when the discovery is closed', async () => {
    const server = await serve({ 'users.test': 'silence' })
    const source = create({ servers: [server.address], timeout: 60_000 })
    const end = new AbortController()
    const reports: unknown[] = []
    const report = (what: unknown) => void reports.push(what)
    source.watch('users.test', { update: report, fail: report }, end.signal)
    await vi.waitFor(() => expect(server.questions).toHaveLength(1), WAIT)
    end.abort()
    await new Promise((resolve) => setTimeout(resolve, 50))

    expect(reports).toEqual([])
    expect(process.getActiveResourcesInfo().filter((resource) => /QUERY|GETADDR/i.test(resource))).toEqual([])
  })

  it.each<[string, object]>([
    ['servers must be', { servers: [] }],
    ['servers must be', { servers: '127.0.0.1' }],
    ['servers must be', { servers: ['dns.test'] }],
    ['servers must be', { servers: [7] }],
    ['name must be', { name: 'users.test' }],
    ['timeout must be', { timeout: 0 }],
    ['timeout must be', { timeout: Number.NaN }],
    ['tries must be', { tries: 0 }],
    ['tries must be', { tries: 1.5 }],
    ['minInterval must be', { minInterval: 0 }],
    ['minInterval must be', { minInterval: 2 ** 31 }],
    ['maxInterval must be', { maxInterval: 1_000 }],
    ['maxInterval must be', { maxInterval: Number.POSITIVE_INFINITY }],
    ['clock must be', { clock: {} }],
    ['random must be', { random: 1 }],
  ])('says "%s" of %j', (message, options) => {
    expect(() => create(options as DnsOptions)).toThrow(TypeError)
    expect(() => create(options as DnsOptions)).toThrow(message)
  })
})

describe('options', () => {
  it.each([undefined, 0, 65_536, '80', 1.5])('refuse the port %j', (port) => {
    expect(() => dnsA({ port: port as number })).toThrow(/^port must be/)
  })

  it('refuse nothing at all', () => {
    expect(() => dnsA(undefined as never)).toThrow(TypeError)
    expect(() => dnsSrv(null as never)).toThrow(TypeError)
  })
})

describe.skipIf(consulUrl === undefined)("Consul's DNS", () => {
  it('is followed by SRV records, whose targets only it knows', { timeout: 20_000 }, async () => {
    const hand = new ConsulHand(consulUrl ?? '')
    const name = `msx-test-dns-${process.pid}`
    opened.push({ close: () => hand.set(name, []) })
    await hand.set(name, [
      { host: '127.0.0.1', port: 3001 },
      { host: '127.0.0.2', port: 3002 },
    ])
    const options = { servers: [await hand.dnsAddress()], name: (service: string) => `${service}.service.consul` }
    const service = discover(dnsSrv({ ...options, minInterval: 50, maxInterval: 100 })).service(name)
    const urls = () => service.snapshot.endpoints.map(({ url }) => url).sort()
    await service.ready()
    expect(urls()).toEqual(['http://127.0.0.1:3001', 'http://127.0.0.2:3002'])

    await hand.set(name, [{ host: '127.0.0.2', port: 3002 }])
    await vi.waitFor(() => expect(urls()).toEqual(['http://127.0.0.2:3002']), WAIT)
    await hand.set(name, [])
    await vi.waitFor(() => expect(urls()).toEqual([]), WAIT)
  })
})
