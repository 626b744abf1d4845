import { createBus } from '@msx/messaging'
import { createSagaEngine } from '@msx/saga'
import { postgresStore } from '@msx/saga/postgres'
import { shopEvents } from '@shop/contracts'
import { createService, type Service, type ServiceDeps } from '@shop/platform'
import { checkoutSaga } from './checkout.js'
import { createPayments } from './payments.js'
import { createProducts } from './products.js'
import { orderRoutes } from './routes.js'
import { createUsers } from './users.js'

const name = 'order-service'

/** The schema of the sagas; it is there before the service is, since its role may make none. */
const sagaSchema = 'order_service_saga'

export interface OrderServiceOptions extends ServiceDeps {
  /** After this many milliseconds without a sign of life the checkouts of a dead process are taken over. Default 5 000. */
  readonly leaseTtl?: number | undefined
}

/** Takes orders and sees each of them through its checkout. */
export function createOrderService(options: OrderServiceOptions): Service {
  const { database, discovery, log, transport, leaseTtl = 5_000 } = options
  const bus = createBus({ events: shopEvents, transport, source: name })
  const products = createProducts(discovery)
  const users = createUsers(discovery)
  const payments = createPayments(discovery)
  const checkout = checkoutSaga({ database, bus, products, payments })
  const store = postgresStore({ pool: database, schema: sagaSchema })
  const engine = createSagaEngine({ store, sagas: [checkout], lease: { ttl: leaseTtl } })

  engine.on('sagaStuck', ({ sagaId, error }) => log.error({ err: error, sagaId }, 'a checkout needs an operator'))
  engine.on('leaseLost', ({ error }) => log.warn({ err: error }, 'the lease on the checkouts was lost'))
  engine.on('storeError', ({ during, error }) => log.warn({ err: error, during }, 'the checkouts cannot be stored'))

  return createService({
    name,
    deps: options,
    bus,
    migrations: new URL('../database/', import.meta.url),
    prepare: () => store.migrate(),
    routes: (app) => orderRoutes(app, { database, engine, checkout, users, products, log }),
    background: {
      start: () => engine.run(),
      async stop() {
        await engine.close()
        payments.close()
      },
    },
  })
}
