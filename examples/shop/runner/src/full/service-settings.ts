import { type OperationsSettings, readSettings, SettingError, type TrustedProxies, whole } from '../settings.js'
import { type Addresses, addressVariables, readAddresses } from './addresses.js'
import { type DiscoverySettings, discoveryVariables, readDiscovery } from './discovery-settings.js'
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
  readonly trust: TrustedProxies
  readonly tokenTtl: number
  readonly operations: OperationsSettings
  /** `OPS_CODE`: of the link that lets a browser into the operations, for the gateway. */
  readonly operationsCode: string | undefined
  readonly traces: string | undefined
  readonly undoAttempts: number | undefined
  readonly reservationTtl: number
  /** `DISCOVERY`: how the services find each other. Default `consul`. */
  readonly discovery: DiscoverySettings
  /** `HTTP_PORT`: where payment-service answers over HTTP, since `PORT` is that of gRPC. Default 0: any free port. */
  readonly httpPort: number
  /** `HOST`: what it listens on. Default `127.0.0.1`. */
  readonly host: string
}

export function readServiceSettings(service: string | undefined, env: NodeJS.ProcessEnv): ServiceSettings {
  if (!isServiceName(service)) {
    throw new SettingError(`the service is '${service ?? ''}'; it must be one of ${serviceNames.join(', ')}`)
  }

  const { dataDir: _, ...common } = readSettings(env)
  return {
    ...common,
    service,
    shop: readShopName(env),
    addresses: readAddresses(env),
    port: whole(env, 'PORT', 0, 0, 65_535),
    operationsCode: env['OPS_CODE'] || undefined,
    host: env['HOST'] || '127.0.0.1',
    discovery: readDiscovery(env),
    httpPort: whole(env, 'HTTP_PORT', 0, 0, 65_535),
  }
}

/** The environment that `readServiceSettings` reads the same settings from. */
export function serviceVariables(settings: Omit<ServiceSettings, 'service' | 'httpPort'>): Record<string, string> {
  return {
    ...addressVariables(settings.addresses),
    ...discoveryVariables(settings.discovery),
    SHOP_NAME: settings.shop,
    PORT: String(settings.port),
    RATE_LIMIT: String(settings.rateLimit),
    SIGN_IN_LIMIT: String(settings.signInLimit),
    TRUSTED_PROXIES: trustText(settings.trust),
    TOKEN_TTL: String(settings.tokenTtl),
    OPS_TOKEN: settings.operations.by === 'token' ? settings.operations.token : '',
    OPS_CODE: settings.operationsCode ?? '',
    OTEL_EXPORTER_OTLP_ENDPOINT: settings.traces ?? '',
    UNDO_ATTEMPTS: settings.undoAttempts === undefined ? '' : String(settings.undoAttempts),
    RESERVATION_TTL: String(settings.reservationTtl),
    HOST: settings.host,
  }
}

function trustText(trust: TrustedProxies): string {
  if (trust === false) return ''
  return 'hops' in trust ? String(trust.hops) : trust.join(',')
}
