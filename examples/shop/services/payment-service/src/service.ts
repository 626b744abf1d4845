import { createBus } from '@msx/messaging'
import { paymentService, shopEvents } from '@shop/contracts'
import { type App, createService, notFound, type Service, type ServiceDeps } from '@shop/platform'
import { type GrpcServer, serveGrpc } from './grpc.js'
import { rememberOrder } from './known-orders.js'
import { paymentMethodsOf } from './payments.js'
import { createTransactions, type Transactions } from './transactions.js'

const name = 'payment-service'

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
  const { database, log, transport } = options
  const transactions = createTransactions(database)
  let grpc: GrpcServer | undefined

  const bus = createBus({ events: shopEvents, transport, source: name })
  bus.subscribe('payment', 'order.created', (event) => rememberOrder(database, event.id, event.data))

  const service = createService({
    name,
    deps: { ...options, port: options.httpPort },
    bus,
    migrations: new URL('../database/', import.meta.url),
    routes: (app) => ledgerRoutes(app, transactions),
    background: {
      async start() {
        grpc = await serveGrpc({
          service: paymentService(),
          handlers: paymentMethodsOf(transactions),
          log,
          port: options.port,
        })
      },
      stop: async () => grpc?.close(),
    },
  })

  return {
    ...service,
    async start() {
      const { url: http } = await service.start()
      return { url: grpc!.url, http } // a service that started has started its background
    },
  }
}

function ledgerRoutes(app: App, transactions: Transactions): void {
  app.get('/internal/payments/:orderId', async (context) => {
    const orderId = context.req.param('orderId')
    const transaction = await transactions.find(orderId)
    if (transaction === undefined) throw notFound('such payment')

    return context.json({ ...transaction, ledger: await transactions.ledger(orderId) })
  })
}
