import { randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { createDiscovery, type Discovery, fixed } from '@msx/discovery'
import { memory } from '@msx/messaging'
import { createAnalyticsService } from '@shop/analytics-service'
import { createApiGateway, localLink } from '@shop/api-gateway'
import { createNotificationService } from '@shop/notification-service'
import { createOrderService } from '@shop/order-service'
import { createPaymentService } from '@shop/payment-service'
import {
  createInstruments,
  createLog,
  followSpans,
  type Instruments,
  type Log,
  messagingSchema,
  type Service,
  type ServiceDeps,
} from '@shop/platform'
import { embeddedPostgres } from '@shop/platform/embedded'
import { createProductService } from '@shop/product-service'
import { createUserService } from '@shop/user-service'
import { openData } from './data.js'
import { lockFolder } from './lock.js'
import { freePort } from './port.js'
import type { Settings } from './settings.js'

export interface Shop {
  readonly url: string
  /** Lets one browser into the operations, once; undefined when they are for whoever has the token, or for nobody. */
  readonly link: string | undefined
  /** Stops the services in the reverse order of their start, then closes the data. Safe to call twice. */
  stop(): Promise<void>
}

/** What a service is made from each time it is started, besides what it keeps. */
interface Life {
  readonly discovery: Discovery
  readonly log: Log
  readonly instruments: Instruments
  /** Where it was before it was killed. */
  readonly port: number | undefined
  readonly httpPort: number | undefined
}

/**
 * Requests at once; of orders half as many. A burst of a hundred is taken, and answered late; with far more the services, which
 * share one event loop, get in each other's way until the calls between them run out of time. How busy the loop is says nothing.
 */
const limits = { inFlight: 256 }

/** Between a kill and the next start, in milliseconds, as long as it takes to notice. */
const revival = 250

/**
 * The whole shop in this process: the code of the seven services as it is, each on its own port of loopback, each with
 * its own schema and role in one embedded PostgreSQL, joined by one in-memory broker and a fixed table of addresses.
 */
export async function startShop(settings: Settings, options: { onFirstStart?: () => void } = {}): Promise<Shop> {
  const cleanup: (() => Promise<void>)[] = []
  const runnerLog = createLog('runner')
  let stopping = false
  const undo = async () => {
    stopping = true
    for (const step of cleanup.splice(0).reverse()) {
      await step().catch((error: unknown) => runnerLog.error({ err: error }, 'failed to stop cleanly'))
    }
  }

  try {
    const lock = await lockFolder(settings.dataDir)
    cleanup.push(() => lock.release())
    // Before a database is made, which takes its time.
    await freePort(settings.port)

    const data = await openData(settings.dataDir, options)
    cleanup.push(() => data.close())
    const postgres = embeddedPostgres(data)

    followSpans()
    const transport = memory({ history: 0 })
    const addresses: Record<string, ReturnType<typeof endpointOf>[]> = {}
    const { operations } = settings
    const secret = () => randomBytes(24).toString('base64url')
    const token = operations.by === 'nobody' ? undefined : operations.by === 'token' ? operations.token : secret()
    // Kept here, so that a gateway which is started again knows whether it was used.
    const operationsLink = operations.by === 'link' ? localLink(secret()) : undefined

    /** Starts a service, and starts another in its place whenever it is killed. */
    const start = async (name: string, make: (life: Life) => Service): Promise<string> => {
      let running: (Pick<Life, 'discovery' | 'instruments'> & { readonly service: Service }) | undefined
      let reviving: Promise<void> | undefined

      const live = async (ports: Pick<Life, 'port' | 'httpPort'>) => {
        const discovery = createDiscovery({ source: fixed(addresses) })
        const instruments = createInstruments(name, {
          token,
          traces: settings.traces,
          kill() {
            reviving ??= revive().finally(() => {
              reviving = undefined
            })
          },
        })
        const service = make({ discovery, instruments, log: createLog(name), ...ports })
        const { url, http } = await service.start().catch(async (error: unknown) => {
          await discovery.close()
          throw error
        })
        running = { service, discovery, instruments }
        return endpointOf(url, http)
      }
      const end = async (abruptly: boolean) => {
        if (running === undefined) return
        const { service, discovery, instruments } = running
        running = undefined
        await service.stop({ abruptly })
        await discovery.close()
        await instruments.spans.close()
      }
      const revive = async () => {
        await end(true).catch((error: unknown) => runnerLog.error({ err: error }, `${name} did not die cleanly`))
        const { port, meta } = place
        const httpPort = meta === undefined ? undefined : Number(new URL(meta.http).port)
        while (!stopping) {
          await sleep(revival)
          if (stopping) return
          try {
            await live({ port, httpPort })
            return
          } catch (error) {
            runnerLog.warn({ err: error }, `${name} could not be started again yet`)
          }
        }
      }

      const place = await live({ port: name === 'api-gateway' ? settings.port : undefined, httpPort: undefined })
      addresses[name] = [place]
      cleanup.push(async () => {
        await reviving
        await end(false)
      })
      return `http://${place.host}:${place.port}`
    }
    const owner = async (
      name: string,
      schemas: readonly string[] = [],
    ): Promise<Pick<ServiceDeps, 'database' | 'transport'>> => {
      const role = name.replace('-', '_')
      await postgres.provision(role, [messagingSchema(name), ...schemas])
      return { database: postgres.database(role), transport }
    }

    // In the order of who calls whom, since `fixed` wants to know the addresses.
    const { tokenTtl, undoAttempts, reservationTtl, rateLimit, signInLimit, trust } = settings
    const user = await owner('user-service')
    await start('user-service', (life) => createUserService({ ...user, ...life, tokenTtl, signInLimit }))
    const product = await owner('product-service')
    await start('product-service', (life) => createProductService({ ...product, ...life, reservationTtl }))
    const payment = await owner('payment-service')
    await start('payment-service', (life) => createPaymentService({ ...payment, ...life }))
    const notification = await owner('notification-service')
    await start('notification-service', (life) => createNotificationService({ ...notification, ...life }))
    const analytics = await owner('analytics-service')
    await start('analytics-service', (life) => createAnalyticsService({ ...analytics, ...life }))
    const order = await owner('order-service', ['order_service_saga'])
    await start('order-service', (life) => createOrderService({ ...order, ...life, undoAttempts }))
    const url = await start('api-gateway', (life) =>
      createApiGateway({ ...life, rateLimit, signInLimit, limits, trust, operationsLink }),
    )

    return { url, link: operationsLink && `${url}/ops/session?code=${operationsLink.code}`, stop: undo }
  } catch (error) {
    await undo()
    throw error
  }
}

/** With where it answers over HTTP, for a service that is called in another way. */
function endpointOf(url: string, http: string | undefined) {
  const { hostname: host, port } = new URL(url)
  return { host, port: Number(port), scheme: 'http' as const, ...(http !== undefined && { meta: { http } }) }
}
