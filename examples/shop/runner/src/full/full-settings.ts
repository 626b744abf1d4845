import { readSettings, SettingError, type Settings } from '../settings.js'
import { type Addresses, readAddresses } from './addresses.js'
import { type DiscoverySettings, readDiscovery } from './discovery-settings.js'

/** What the environment may change about the shop of seven processes. */
export interface FullSettings extends Settings {
  /** `SHOP_NAME`: what its databases, queues and registrations begin with. Default `shop`. */
  readonly shop: string
  readonly addresses: Addresses
  /** `DISCOVERY`: how the seven find each other. Default `consul`. */
  readonly discovery: DiscoverySettings
}

export function readFullSettings(env: NodeJS.ProcessEnv): FullSettings {
  const discovery = readDiscovery(env, 'srv')
  if (discovery.by === 'dns' && discovery.records === 'a') {
    throw new SettingError("DNS_RECORDS is 'a'; seven processes on one machine need srv, which tells their ports")
  }
  return { ...readSettings(env), shop: readShopName(env), addresses: readAddresses(env), discovery }
}

/** Short and plain, since it becomes part of the names of databases, roles, queues and tags. */
export function readShopName(env: NodeJS.ProcessEnv): string {
  const name = env['SHOP_NAME'] || 'shop'
  if (/^[a-z][a-z0-9_]{0,30}$/.test(name)) return name

  throw new SettingError(`SHOP_NAME is '${name}'; it must be a-z, 0-9 and _, begin with a letter, and have at most 31`)
}
