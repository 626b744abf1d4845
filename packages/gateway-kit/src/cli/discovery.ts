import {
  type BalancerFactory,
  createDiscovery,
  type Discovery,
  type DiscoveryOptions,
  dnsA,
  dnsSrv,
  type FixedAddress,
  fixed,
  kubernetes,
  leastRequest,
  peakEwma,
  randomChoice,
  roundRobin,
  type Source,
} from '@msx/discovery'
import { show } from '../internal/checks.js'
import { type Issues, refuseOthers } from './issues.js'

type Said = Readonly<Record<string, unknown>>

/** What a file says of the services that its routes name. */
export interface Services {
  /** Those whose addresses the file has. */
  readonly names: ReadonlySet<string>
  /** Whether a registry may know others. */
  readonly open: boolean
  /** Watches a service from the moment that somebody asks for it. */
  create(): Discovery
  /** One that asks nobody, for whoever only wants to know whether all fits together. */
  createIdle(): Discovery
}

const registries: Readonly<Record<string, (options: Said) => Source | Promise<Source>>> = {
  async consul(options) {
    refuseOthers(options, ['url', 'token', 'tls', 'stale', 'passing', 'tags', 'dc', 'wait'])
    return (await import('@msx/discovery/consul')).consul(options)
  },

  dns({ name, port, ...options }) {
    refuseOthers(options, ['servers', 'timeout', 'tries', 'minInterval', 'maxInterval'])
    const settings = { ...options, ...(name !== undefined && { name: fromTemplate(name) }) }
    return port === undefined ? dnsSrv(settings) : dnsA({ ...settings, port: port as number })
  },

  kubernetes(options) {
    refuseOthers(options, [
      'port',
      'namespace',
      'protocol',
      'domain',
      'servers',
      'timeout',
      'tries',
      'minInterval',
      'maxInterval',
    ])
    return kubernetes(options as never)
  },
}

const balancers: Readonly<Record<string, () => BalancerFactory>> = {
  'peak-ewma': peakEwma,
  'least-request': leastRequest,
  'round-robin': roundRobin,
  random: randomChoice,
}

const idle: Source = { watch: () => {} }

/** The section `discovery`, checked: nobody is asked for anything yet. */
export async function readDiscovery(said: unknown, issues: Issues): Promise<Services | undefined> {
  if (said === undefined) return undefined

  const { static: addresses, balancer, consul, dns, kubernetes: cluster, ...options } = issues.object('discovery', said)
  const asked = Object.entries({ consul, dns, kubernetes: cluster }).filter(([, value]) => value !== undefined)
  if (asked.length > 1) {
    const [first, second] = asked.map(([name]) => name)
    issues.add(
      `discovery.${second}`,
      `is not possible beside ${first}: there can be one registry, and static beside it`,
    )
  }

  const [kind, registrySaid] = asked[0] ?? []
  const registry =
    kind === undefined
      ? undefined
      : await issues.attempt(`discovery.${kind}`, () =>
          registries[kind]!(issues.object(`discovery.${kind}`, registrySaid)),
        )
  const names = new Set(Object.keys(issues.object('discovery.static', addresses)))
  const known = await issues.attempt('discovery.static', () =>
    fixed(issues.object('discovery.static', addresses) as Record<string, FixedAddress[]>),
  )
  const settings = {
    ...options,
    source: idle,
    ...(balancer !== undefined && { balancer: readBalancer(balancer, issues) }),
  } as DiscoveryOptions
  await issues.attempt('discovery', async () => {
    refuseOthers(options, ['emptyGrace', 'maxStale', 'slowStart', 'outlier'])
    await createDiscovery(settings).close()
  })

  return {
    names,
    open: kind !== undefined,
    createIdle: () => createDiscovery({ source: idle }),
    create: () => createDiscovery({ ...settings, source: bothOf(names, known!, registry) }),
  }
}

/** The names that the file has addresses for are found there, all others in the registry. */
function bothOf(names: ReadonlySet<string>, known: Source, registry: Source | undefined): Source {
  if (registry === undefined) return known

  return {
    watch(service, sink, signal) {
      return names.has(service) ? known.watch(service, sink, signal) : registry.watch(service, sink, signal)
    },
    refresh(service) {
      if (!names.has(service)) registry.refresh?.(service)
    },
  }
}

function readBalancer(name: unknown, issues: Issues): BalancerFactory | undefined {
  if (typeof name === 'string' && Object.hasOwn(balancers, name)) return balancers[name]!()

  issues.add('discovery.balancer', `must be one of ${Object.keys(balancers).join(', ')}, got ${show(name)}`)
  return undefined
}

/** A service's DNS name, with `{service}` for its own: `{service}.service.consul`. */
function fromTemplate(template: unknown): (service: string) => string {
  if (typeof template !== 'string' || !template.includes('{service}')) {
    throw new TypeError(`name must be a text with {service} in it, got ${show(template)}`)
  }

  return (service) => template.replaceAll('{service}', service)
}
