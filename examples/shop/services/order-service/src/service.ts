import { createSagaEngine } from '@msx/saga'
import { openTelemetry } from '@msx/saga/opentelemetry'
import { postgresStore } from '@msx/saga/postgres'
import { prometheus } from '@msx/saga/prometheus'
import { shopEvents } from '@shop/contracts'
import {
  createService,
  fewAtOnce,
  openMail,
  rememberDeparture,
  type Service,
  type ServiceDeps,
  transactionOf,
} from '@shop/platform'
import * as client from 'prom-client'
import { checkoutSaga } from './checkout.js'
import { sagaOperations } from './operations.js'
import { createPayments } from './payments.js'
import { createProducts } from './products.js'
import { orderRoutes } from './routes.js'
import { measureStuck } from './stuck.js'
import { createUsers } from './users.js'

const name = 'order-service'

/** The schema of the sagas; it is there before the service is, since its role may make none. */
const sagaSchema = 'order_service_saga'

export interface OrderServiceOptions extends ServiceDeps {
  /** After this many milliseconds without a sign of life the checkouts of a dead process are taken over. Default 5 000. */
  readonly leaseTtl?: number | undefined
  /** How often the undoing of a step is tried before an operator has to look at it. Default: without end. */
  readonly undoAttempts?: number | undefined
}

/** Takes orders and sees each of them through its checkout. */
export function createOrderService(options: OrderServiceOptions): Service {
  const { database, discovery, instruments, log, leaseTtl = 5_000 } = options
  const mail = openMail(name, shopEvents, options, 'ordering')
  const { bus, outbox } = mail
  bus.subscribe(
    'ordering',
    'user.deleted',
    ({ data }, context) => rememberDeparture(transactionOf(context), data),
    fewAtOnce,
  )
  const products = createProducts(discovery, instruments)
  const users = createUsers(discovery, instruments)
  const payments = createPayments(discovery, instruments)
  const checkout = checkoutSaga({ outbox, products, payments, undoAttempts: options.undoAttempts })
  // Where there is a pool it is the pool itself: a lease is renewed beside its connections when requests have taken all of them.
  const store = postgresStore({ pool: database.pool, schema: sagaSchema })
  const engine = createSagaEngine({
    store,
    sagas: [checkout],
    lease: { ttl: leaseTtl },
    telemetry: openTelemetry({ tracer: instruments.spans.tracer }),
  })

  engine.on('sagaStuck', ({ sagaId, error }) => log.error({ err: error, sagaId }, 'a checkout needs an operator'))
  engine.on('leaseLost', ({ error }) => log.warn({ err: error }, 'the lease on the checkouts was lost'))
  engine.on('storeError', ({ during, error }) => log.warn({ err: error, during }, 'the checkouts cannot be stored'))

  const registry = new client.Registry()
  prometheus({ client, registry }).add(engine)
  measureStuck(registry, engine)

  return createService({
    name,
    registry,
    deps: options,
    mail,
    publishes: true,
    migrations: new URL('../database/', import.meta.url),
    prepare: () => store.migrate(),
    routes(app) {
      sagaOperations(app, engine, instruments.token)
      orderRoutes(app, { database, engine, checkout, outbox, users, products, log, tracer: instruments.spans.tracer })
    },
    background: {
      start: () => engine.run(),
      async stop({ abruptly }) {
        await engine.close(abruptly === true ? { timeout: 0 } : {})
        payments.close()
      },
    },
  })
}
