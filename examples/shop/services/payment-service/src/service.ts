import { paymentService, shopEvents } from '@shop/contracts'
import {
  createService,
  fewAtOnce,
  openMail,
  rememberDeparture,
  type Service,
  type ServiceDeps,
  transactionOf,
} from '@shop/platform'
import { type GrpcServer, serveGrpc } from './grpc.js'
import { paymentRoutes } from './http.js'
import { rememberEnd, rememberOrder } from './known-orders.js'
import { paymentMethodsOf } from './payments.js'
import { createTransactions } from './transactions.js'

const name = 'payment-service'

export interface PaymentServiceOptions extends ServiceDeps {
  /** Where health, metrics, the ledger and payments over HTTP are served. Default 0: a free port. `port` is that of gRPC. */
  readonly httpPort?: number | undefined
}

export interface PaymentService extends Service {
  /** `url` is the gRPC address, written so that discovery takes it; `http` that of what is served over HTTP. */
  start(): Promise<{ readonly url: string; readonly http: string }>
}

/** Holds, takes and gives back the money of orders: payment.proto over gRPC. */
export function createPaymentService(options: PaymentServiceOptions): PaymentService {
  const { database, log } = options
  const transactions = createTransactions(database)
  let grpc: GrpcServer | undefined

  const mail = openMail(name, shopEvents, options, 'payment')
  mail.bus.subscribe(
    'payment',
    ['order.*', 'user.deleted'],
    async (message, context) => {
      const tx = transactionOf(context)
      switch (message.type) {
        case 'order.created':
          return rememberOrder(tx, message.data)
        case 'order.confirmed':
          return rememberEnd(tx, message.data, 'CONFIRMED')
        case 'order.cancelled':
          await rememberEnd(tx, message.data, 'CANCELLED')
          // Its customer may have paid when the checkout was past asking.
          return transactions.giveBack(tx, message.data.orderId)
        case 'user.deleted':
          return rememberDeparture(tx, message.data)
      }
    },
    fewAtOnce,
  )

  const service = createService({
    name,
    deps: { ...options, port: options.httpPort },
    mail,
    migrations: new URL('../database/', import.meta.url),
    routes: (app) => paymentRoutes(app, transactions),
    background: {
      async start() {
        grpc = await serveGrpc({
          service: paymentService(),
          handlers: paymentMethodsOf(transactions),
          log,
          instruments: options.instruments,
          host: options.host,
          port: options.port,
        })
      },
      stop: async ({ abruptly }) => grpc?.close(abruptly === true ? 0 : undefined),
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
