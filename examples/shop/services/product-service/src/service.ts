import { shopEvents } from '@shop/contracts'
import { createService, fewAtOnce, openMail, type Service, type ServiceDeps, transactionOf } from '@shop/platform'
import { deliveryOperations } from './deliveries.js'
import { countDemand } from './demand.js'
import { releaseExpired } from './reservations.js'
import { productRoutes } from './routes.js'

const name = 'product-service'

export interface ProductServiceOptions extends ServiceDeps {
  /** How long goods are kept for an order that is not being paid yet, in milliseconds. Default 900 000, a quarter of an hour. */
  readonly reservationTtl?: number | undefined
}

/** The longest time between two looks for what has expired, in milliseconds. */
const longestPause = 5_000

/** The catalogue, and who has been promised how much of it. */
export function createProductService(deps: ProductServiceOptions): Service {
  const { database, log, reservationTtl = 900_000 } = deps
  const pause = Math.min(longestPause, Math.max(100, reservationTtl / 2))
  let sweep: NodeJS.Timeout | undefined
  let sweeping: Promise<unknown> = Promise.resolve()

  const mail = openMail(name, shopEvents, deps, 'inventory')
  mail.bus.subscribe(
    'inventory',
    'order.created',
    ({ data }, context) => countDemand(transactionOf(context), data.items),
    fewAtOnce,
  )

  return createService({
    name,
    deps,
    mail,
    migrations: new URL('../database/', import.meta.url),
    routes(app) {
      deliveryOperations(app, database, deps.instruments.token)
      productRoutes(app, database, reservationTtl)
    },
    background: {
      async start() {
        sweep = setInterval(() => {
          sweeping = sweeping
            .then(() => releaseExpired(database))
            .catch((error: unknown) => log.warn({ err: error }, 'expired reservations could not be given back'))
        }, pause)
      },
      async stop() {
        clearInterval(sweep)
        await sweeping
      },
    },
  })
}
