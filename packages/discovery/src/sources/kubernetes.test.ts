import { afterEach, describe, expect, it } from 'vitest'
import { createDiscovery } from '../discovery.js'
import { TestDnsServer, type Zone } from '../dns/test-dns-server.js'
import { type KubernetesOptions, kubernetes } from './kubernetes.js'

const opened: { close(): Promise<void> }[] = []

afterEach(async () => {
  for (const thing of opened.splice(0).reverse()) await thing.close()
})

async function find(service: string, zones: Record<string, Zone>, options: KubernetesOptions) {
  const server = await TestDnsServer.start(zones)
  opened.push(server)
  const source = kubernetes({ timeout: 250, tries: 1, servers: [server.address], ...options })
  const discovery = createDiscovery({ source, emptyGrace: 0 })
  opened.push(discovery)
  const { endpoints } = await discovery.service(service).ready()
  return { urls: endpoints.map(({ url }) => url).sort(), server }
}

const pod = (index: number) => `10-0-0-${index}.users.shop.svc.cluster.local`
const pods = (count: number): Record<string, Zone> =>
  Object.fromEntries(
    Array.from({ length: count }, (_, i) => [pod(i + 1), [{ type: 'A' as const, address: `10.0.0.${i + 1}` }]]),
  )

describe('kubernetes', () => {
  it('finds the ready pods of a headless service and the number of a named port', async () => {
    const { urls, server } = await find(
      'users',
      {
        '_http._tcp.users.shop.svc.cluster.local': [
          { type: 'SRV', target: pod(1), port: 3_001 },
          { type: 'SRV', target: pod(2), port: 3_002 },
        ],
        ...pods(2),
      },
      { port: 'http', namespace: 'shop' },
    )

    expect(urls).toEqual(['http://10.0.0.1:3001', 'http://10.0.0.2:3002'])
    expect(server.questions[0]).toBe('SRV _http._tcp.users.shop.svc.cluster.local')
  })

  it('finds the plain name of a service, on a port by number', async () => {
    const { urls } = await find(
      'users',
      { 'users.shop.svc.cluster.local': [{ type: 'A', address: '10.96.0.7' }] },
      { port: 80, namespace: 'shop' },
    )

    expect(urls).toEqual(['http://10.96.0.7:80'])
  })

  it('finds a service of another namespace, cluster domain and protocol', async () => {
    const { server } = await find(
      'users.billing',
      {},
      { port: 'http', namespace: 'shop', domain: 'east.example', protocol: 'udp' },
    )

    expect(server.questions).toEqual(['SRV _http._udp.users.billing.svc.east.example'])
  })

  it('looks in the namespace "default" outside a pod', async () => {
    const { server } = await find('users', {}, { port: 'http' })

    expect(server.questions).toEqual(['SRV _http._tcp.users.default.svc.cluster.local'])
  })

  it.each(['Users', 'users.shop.svc', '', 'users..', '-users', 'users_1', `${'u'.repeat(64)}`])(
    'says that "%s" is no service, and asks nothing',
    async (service) => {
      const server = await TestDnsServer.start({})
      opened.push(server)
      const failures: Error[] = []
      const source = kubernetes({ port: 'http', servers: [server.address] })
      const watch = () =>
        source.watch(service, { update: () => {}, fail: (error) => failures.push(error) }, new AbortController().signal)

      expect(watch).toThrow(/is no Kubernetes service: expected a name such as users, or users.shop/)
      expect(server.questions).toEqual([])
    },
  )

  it.each([
    [{ port: 'HTTP' }, /port must be the name of a port/],
    [{ port: '80' }, /port must be the name of a port/],
    [{ port: 0 }, /port must be between 1 and 65535, got 0/],
    [{ port: undefined }, /port must be the name of a port/],
    [{ port: 'http', namespace: 'a.b' }, /namespace must be the name of a namespace, got 'a.b'/],
    [{ port: 'http', protocol: 'http' }, /protocol must be 'tcp', 'udp' or 'sctp', got 'http'/],
    [{ port: 'http', domain: 'cluster.local.' }, /domain must be a domain/],
    [{ port: 'http', timeout: -1 }, /timeout must be/],
  ])('refuses %o', (options, message) => {
    expect(() => kubernetes(options as KubernetesOptions)).toThrow(message)
  })
})
