import { createDiscovery, type Discovery, fixed } from '@msx/discovery'
import { memory } from '@msx/messaging'
import { createAnalyticsService } from '@shop/analytics-service'
import { createApiGateway } from '@shop/api-gateway'
import { createNotificationService } from '@shop/notification-service'
import { createOrderService } from '@shop/order-service'
import { createPaymentService } from '@shop/payment-service'
import { createLog, embeddedDatabase, provision, type Service, type ServiceDeps } from '@shop/platform'
import { createProductService } from '@shop/product-service'
import { createUserService } from '@shop/user-service'
import { openData } from './data.js'
import { lockFolder } from './lock.js'
import type { Settings } from './settings.js'

export interface Shop {
  readonly url: string
  /** Stops the services in the reverse order of their start, then closes the data. Safe to call twice. */
  stop(): Promise<void>
}

/**
 * The whole shop in this process: the code of the seven services as it is, each on its own port of loopback, each with
 * its own schema and role in one embedded PostgreSQL, joined by one in-memory broker and a fixed table of addresses.
 */
export async function startShop(settings: Settings, options: { onFirstStart?: () => void } = {}): Promise<Shop> {
  const cleanup: (() => Promise<void>)[] = []
  const undo = async () => {
    for (const step of cleanup.splice(0).reverse()) {
      await step().catch((error: unknown) => createLog('runner').error({ err: error }, 'failed to stop cleanly'))
    }
  }

  try {
    const lock = await lockFolder(settings.dataDir)
    cleanup.push(() => lock.release())

    const data = await openData(settings.dataDir, options)
    cleanup.push(() => data.close())

    const transport = memory()
    const addresses: Record<string, string[]> = {}

    const discover = (): Discovery => {
      const discovery = createDiscovery({ source: fixed({ ...addresses }) })
      cleanup.push(() => discovery.close())
      return discovery
    }
    const start = async (service: Service): Promise<string> => {
      const { url } = await service.start()
      cleanup.push(() => service.stop())
      addresses[service.name] = [url]
      return url
    }
    const deps = async (name: string, schemas: readonly string[] = []): Promise<ServiceDeps> => {
      const role = name.replace('-', '_')
      await provision(data, role, schemas)
      return { database: embeddedDatabase(data, role), transport, discovery: discover(), log: createLog(name) }
    }

    // In the order of who calls whom, since `fixed` wants to know the addresses.
    await start(createUserService({ ...(await deps('user-service')), tokenTtl: settings.tokenTtl }))
    await start(createProductService(await deps('product-service')))
    await start(createPaymentService(await deps('payment-service')))
    await start(createNotificationService(await deps('notification-service')))
    await start(createAnalyticsService(await deps('analytics-service')))
    await start(createOrderService(await deps('order-service', ['order_service_saga'])))
    const url = await start(
      createApiGateway({
        discovery: discover(),
        log: createLog('api-gateway'),
        port: settings.port,
        rateLimit: settings.rateLimit,
        signInLimit: settings.signInLimit,
      }),
    )

    return { url, stop: undo }
  } catch (error) {
    await undo()
    throw error
  }
}
