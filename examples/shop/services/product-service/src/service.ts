import { createBus } from '@msx/messaging'
import { shopEvents } from '@shop/contracts'
import { createService, type Service, type ServiceDeps } from '@shop/platform'
import { countDemand } from './demand.js'
import { productRoutes } from './routes.js'

const name = 'product-service'

/** The catalogue, and who has been promised how much of it. */
export function createProductService(deps: ServiceDeps): Service {
  const { database, transport } = deps

  const bus = createBus({ events: shopEvents, transport, source: name })
  bus.subscribe('inventory', 'order.created', (message) => countDemand(database, message.id, message.data.items))

  return createService({
    name,
    deps,
    bus,
    migrations: new URL('../database/', import.meta.url),
    routes: (app) => productRoutes(app, database),
  })
}
