import { Resolver } from 'node:dns'
import { SettingError } from '../settings.js'

export type DiscoverySettings = { readonly by: 'consul' } | DnsSettings

export interface DnsSettings {
  readonly by: 'dns'
  /**
   * `DNS_RECORDS`. `a`: names that somebody else gives, such as Kubernetes, and the standard ports. `srv`: Consul's own DNS,
   * which tells the ports too; each process enters itself in Consul. Default `a`, and `srv` in dev:full.
   */
  readonly records: 'a' | 'srv'
  /** `DNS_SUFFIX`: what follows a service's name, such as `shop.svc.cluster.local`. Default: nothing; with `srv`, `service.consul`. */
  readonly suffix: string
  /** `DNS_SERVERS`: whom to ask, with commas. Default: whom this machine asks. */
  readonly servers: readonly string[]
}

export function readDiscovery(env: NodeJS.ProcessEnv, usual: DnsSettings['records'] = 'a'): DiscoverySettings {
  const by = env['DISCOVERY'] || 'consul'
  if (by === 'consul') return { by }
  if (by !== 'dns') throw new SettingError(`DISCOVERY is '${by}'; it must be consul or dns`)

  const records = env['DNS_RECORDS'] || usual
  if (records !== 'a' && records !== 'srv') throw new SettingError(`DNS_RECORDS is '${records}'; it must be a or srv`)

  const suffix = env['DNS_SUFFIX'] || (records === 'srv' ? 'service.consul' : '')
  return { by, records, suffix, servers: readServers(env['DNS_SERVERS'] ?? '') }
}

function readServers(text: string): readonly string[] {
  const servers = text.split(',').filter((server) => server !== '')
  try {
    new Resolver().setServers(servers)
  } catch {
    throw new SettingError(`DNS_SERVERS is '${text}'; it must be IP addresses with commas, each with a port or without`)
  }
  return servers
}

/** The environment that `readDiscovery` reads the same from. */
export function discoveryVariables(discovery: DiscoverySettings): Record<string, string> {
  if (discovery.by === 'consul') return { DISCOVERY: 'consul' }

  const { by, records, suffix, servers } = discovery
  return { DISCOVERY: by, DNS_RECORDS: records, DNS_SUFFIX: suffix, DNS_SERVERS: servers.join(',') }
}
