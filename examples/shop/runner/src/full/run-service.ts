import { createDiscovery, type Discovery } from '@msx/discovery'
import { rabbitmq } from '@msx/messaging/rabbitmq'
import {
  createInstruments,
  createLog,
  followSpans,
  type Instruments,
  type Log,
  pooledDatabase,
  type Service,
  type ServiceDeps,
} from '@shop/platform'
import { Redis } from 'ioredis'
import pg from 'pg'
import { directoryOf } from './discovery.js'
import { exchangeOf, httpNameOf, instanceId, queuePrefixOf } from './names.js'
import { prefixed } from './prefixed.js'
import type { ServiceName } from './service-names.js'
import type { ServiceSettings } from './service-settings.js'
import { undoStack } from './undo-stack.js'

export interface RunningService {
  /** Where others call it, and where its health is asked. */
  readonly url: string
  readonly http: string
  /** Lets nobody new come, finishes what is running, closes what it opened. */
  stop(): Promise<void>
}

/** Six services keep within the hundred connections that a PostgreSQL allows unless told otherwise. */
const connections = 8

/** Requests at once for each gateway, and how busy it may be itself: what is behind it has processes of its own. */
const limits = { inFlight: 256, utilisation: 0.98 }

/** Between two attempts to reach the broker again, in milliseconds: six processes do not wear it out. */
const reconnectDelay = 1_000

/** Between leaving Consul and closing the door, in milliseconds: callers hear of it by their watches. */
const drainDelay = 100

/** One service as a process: the code of the embedded shop on the real servers. */
export async function runService(settings: ServiceSettings): Promise<RunningService> {
  const { service: name, shop } = settings
  const log = createLog(name)
  const undo = undoStack((error) => log.error({ err: error }, 'failed to stop cleanly'))

  try {
    const { source, registry } = directoryOf(settings)
    const discovery = createDiscovery({ source })
    undo.add(() => discovery.close())
    discovery.on('error', ({ error }) => log.warn({ err: error }, 'discovery'))

    followSpans()
    const { operations, traces } = settings
    const instruments = createInstruments(name, {
      // Where each process would make up a link of its own, nobody would know it.
      token: operations.by === 'token' ? operations.token : undefined,
      traces,
      kill: () => process.kill(process.pid, 'SIGKILL'),
    })
    undo.add(() => instruments.spans.close())
    const service = await create(name, { settings, discovery, log, instruments, undo: undo.add })
    const { url, http = url } = await service.start()
    undo.add(() => service.stop())

    if (registry === undefined) return { url, http, stop: undo.run }

    const id = instanceId(shop, name, process.pid)
    const enter = async (as: string, at: string) => {
      const { hostname: host, port } = new URL(at)
      const registration = await registry.register({
        name: as,
        id: as === name ? id : httpNameOf(id),
        host,
        port: Number(port),
        tags: [shop],
        // Where health, metrics and internal questions are answered, for a service that is called in another way.
        meta: { pid: String(process.pid), http },
        check: { http: `${http}/health/ready`, interval: 1_000 },
        removeAfter: 60_000,
      })
      undo.add(() => registration.deregister())
    }
    undo.add(() => new Promise((resolve) => setTimeout(resolve, drainDelay)))
    await enter(name, url)
    // What Consul tells of it besides is not told by its DNS.
    if (settings.discovery.by === 'dns' && http !== url) await enter(httpNameOf(name), http)

    return { url, http, stop: undo.run }
  } catch (error) {
    await undo.run()
    throw error
  }
}

interface Surroundings {
  readonly settings: ServiceSettings
  readonly discovery: Discovery
  readonly log: Log
  readonly instruments: Instruments
  undo(step: () => Promise<unknown>): void
}

/** Loads the one service that this process is, and nothing of the others. */
async function create(name: ServiceName, surroundings: Surroundings): Promise<Service> {
  const { settings, discovery, log, instruments } = surroundings
  const { host, operationsCode, port, rateLimit, signInLimit, tokenTtl, undoAttempts } = settings

  switch (name) {
    case 'user-service':
      return (await import('@shop/user-service')).createUserService({
        ...deps(surroundings),
        tokenTtl,
        signInLimit,
      })
    case 'product-service':
      return (await import('@shop/product-service')).createProductService({
        ...deps(surroundings),
        reservationTtl: settings.reservationTtl,
      })
    case 'payment-service':
      return (await import('@shop/payment-service')).createPaymentService({
        ...deps(surroundings),
        httpPort: settings.httpPort,
      })
    case 'notification-service':
      return (await import('@shop/notification-service')).createNotificationService(deps(surroundings))
    case 'analytics-service':
      return (await import('@shop/analytics-service')).createAnalyticsService(deps(surroundings))
    case 'order-service':
      return (await import('@shop/order-service')).createOrderService({ ...deps(surroundings), undoAttempts })
    case 'api-gateway': {
      const { createApiGateway, redisLimiters, redisLink } = await import('@shop/api-gateway')
      const redis = openRedis(surroundings)
      const limiters = redisLimiters(redis, settings.shop)
      return createApiGateway({
        discovery,
        log,
        instruments,
        operationsLink: operationsCode === undefined ? undefined : redisLink(redis, settings.shop, operationsCode),
        host,
        port,
        rateLimit,
        signInLimit,
        limiters,
        limits,
        trust: settings.trust,
      })
    }
  }
}

function deps({ settings, discovery, log, instruments, undo }: Surroundings): ServiceDeps {
  const { addresses, host, port, service, shop } = settings
  const pool = new pg.Pool({
    connectionString: addresses.postgres,
    application_name: service,
    max: connections,
    connectionTimeoutMillis: 5_000,
  })
  pool.on('error', (error) => log.warn({ err: error }, 'an idle connection to PostgreSQL was lost'))
  undo(() => pool.end())

  const broker = rabbitmq({ url: addresses.rabbitmq, exchange: exchangeOf(shop), reconnect: () => reconnectDelay })
  const transport = prefixed(broker, queuePrefixOf(shop))
  return { database: pooledDatabase(pool), transport, discovery, log, instruments, host, port }
}

function openRedis({ settings, log, undo }: Surroundings): Redis {
  const redis = new Redis(settings.addresses.redis, { enableOfflineQueue: false })
  redis.on('error', (error) => log.warn({ err: error }, 'Redis'))
  undo(async () => redis.disconnect())
  return redis
}
