import { createBus } from '@msx/messaging'
import { paymentService, shopEvents } from '@shop/contracts'
import {
  applyMigrations,
  createApp,
  type Listening,
  listen,
  notFound,
  type Service,
  type ServiceDeps,
} from '@shop/platform'
import { type GrpcServer, serveGrpc } from './grpc.js'
import { rememberOrder } from './known-orders.js'
import { paymentMethodsOf } from './payments.js'
import { createTransactions } from './transactions.js'

export interface PaymentServiceOptions extends ServiceDeps {
  /** Where health, metrics and the ledger are served. Default 0: a free port. `port` is that of gRPC. */
  readonly httpPort?: number | undefined
}

export interface PaymentService extends Service {
  /** `url` is the gRPC address, written so that discovery takes it; `http` that of health, metrics and the ledger. */
  start(): Promise<{ readonly url: string; readonly http: string }>
}

/** Holds, takes and gives back the money of orders: payment.proto over gRPC. */
export function createPaymentService(options: PaymentServiceOptions): PaymentService {
  const { database, log } = options
  const transactions = createTransactions(database)
  const bus = createBus({ events: shopEvents, transport: options.transport, source: 'payment-service' })
  let grpc: GrpcServer | undefined
  let http: Listening | undefined

  const app = createApp({
    name: 'payment-service',
    log,
    ready: async () => {
      await database.query('SELECT 1')
      return grpc !== undefined && http !== undefined
    },
  })
  app.get('/internal/payments/:orderId', async (context) => {
    const orderId = context.req.param('orderId')
    const transaction = await transactions.find(orderId)
    if (transaction === undefined) throw notFound('such payment')

    return context.json({ ...transaction, ledger: await transactions.ledger(orderId) })
  })

  return {
    name: 'payment-service',

    async start() {
      await applyMigrations(database, new URL('../database/', import.meta.url))
      bus.subscribe('payment', 'order.created', (event) => rememberOrder(database, event.id, event.data))
      await bus.start()
      http = await listen(app, options.httpPort)
      grpc = await serveGrpc({
        service: paymentService(),
        handlers: paymentMethodsOf(transactions),
        log,
        port: options.port,
      })
      return { url: grpc.url, http: http.url }
    },

    async stop() {
      const [calls, requests] = [grpc, http]
      grpc = undefined
      http = undefined
      await Promise.all([calls?.close(), requests?.close()])
      await bus.close()
    },
  }
}
