import { SettingError, whole } from '../settings.js'
import { type Addresses, addressVariables, readAddresses } from './addresses.js'
import { readShopName } from './full-settings.js'
import { isServiceName, type ServiceName, serviceNames } from './service-names.js'

/** What one service's process is told: its name as an argument, the rest by its environment. */
export interface ServiceSettings {
  readonly service: ServiceName
  readonly shop: string
  /** With the service's own database in `postgres`. */
  readonly addresses: Addresses
  /** `PORT`: where it answers. Default 0: any free port. */
  readonly port: number
  readonly rateLimit: number
  readonly signInLimit: number
  readonly tokenTtl: number
}

export function readServiceSettings(service: string | undefined, env: NodeJS.ProcessEnv): ServiceSettings {
  if (!isServiceName(service)) {
    throw new SettingError(`the service is '${service ?? ''}'; it must be one of ${serviceNames.join(', ')}`)
  }

  return {
    service,
    shop: readShopName(env),
    addresses: readAddresses(env),
    port: whole(env, 'PORT', 0, 0, 65_535),
    rateLimit: whole(env, 'RATE_LIMIT', 100, 1, 1_000_000),
    signInLimit: whole(env, 'SIGN_IN_LIMIT', 10, 1, 1_000_000),
    tokenTtl: whole(env, 'TOKEN_TTL', 3_600_000, 1, 2 ** 31 - 1),
  }
}

/** The environment that `readServiceSettings` reads the same settings from. */
export function serviceVariables(settings: Omit<ServiceSettings, 'service'>): Record<string, string> {
  return {
    ...addressVariables(settings.addresses),
    SHOP_NAME: settings.shop,
    PORT: String(settings.port),
    RATE_LIMIT: String(settings.rateLimit),
    SIGN_IN_LIMIT: String(settings.signInLimit),
    TOKEN_TTL: String(settings.tokenTtl),
  }
}
