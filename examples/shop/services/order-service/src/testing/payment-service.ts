import { Server, ServerCredentials, type ServerUnaryCall, type sendUnaryData, status } from '@grpc/grpc-js'
import { type AuthorizeRequest, type Payment, type PaymentStatus, paymentService } from '@shop/contracts'

/** As much of payment-service as an order meets, in memory. */
export interface FakePayments {
  readonly url: string
  readonly payments: Map<string, Payment>
  /** What was asked of it, by the name of the method. */
  readonly asked: string[]
  /** Milliseconds that the caller of each Authorize was ready to wait. */
  readonly patience: number[]
  /** Runs before a call is looked at; what it throws is the answer. */
  before: (method: string) => void | Promise<void>
  close(): void
}

type Handler = (request: AuthorizeRequest) => Payment | undefined

export async function fakePayments(wantedPort = 0): Promise<FakePayments> {
  const payments = new Map<string, Payment>()
  const server = new Server()
  const fake = {
    url: '',
    payments,
    asked: [],
    patience: [],
    before: () => undefined,
    close: () => server.forceShutdown(),
  }

  const settle = (orderId: string, next: PaymentStatus): Payment => {
    const payment = { ...(payments.get(orderId) ?? unknown(orderId)), status: next }
    payments.set(orderId, payment)
    return payment
  }
  const handlers: Record<string, Handler> = {
    Authorize({ orderId, amount, currency, paymentMethod }) {
      const outcome = paymentMethod === 'card-declined' ? 'DECLINED' : 'AUTHORISED'
      const known = payments.get(orderId) ?? {
        transactionId: `t-${orderId}`,
        orderId,
        status: outcome,
        amount,
        currency,
      }
      payments.set(orderId, known)
      const silent = paymentMethod === 'card-timeout-after-charge' && known.status === 'AUTHORISED'
      return silent ? undefined : known
    },
    Capture({ orderId }) {
      const known = payments.get(orderId)?.status
      if (known === 'AUTHORISED' || known === 'CAPTURED') return settle(orderId, 'CAPTURED')
      throw refusal(status.FAILED_PRECONDITION)
    },
    Void({ orderId }) {
      if (payments.get(orderId)?.status === 'CAPTURED') throw refusal(status.FAILED_PRECONDITION)
      return settle(orderId, 'VOIDED')
    },
    GetPayment({ orderId }) {
      const known = payments.get(orderId)
      if (known === undefined) throw refusal(status.NOT_FOUND)
      return known
    },
  }

  server.addService(
    paymentService(),
    Object.fromEntries(Object.entries(handlers).map(([name, handler]) => [name, serve(fake, name, handler)])),
  )
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync(`127.0.0.1:${wantedPort}`, ServerCredentials.createInsecure(), (error, bound) =>
      error === null ? resolve(bound) : reject(error),
    )
  })
  return Object.assign(fake, { url: `http://127.0.0.1:${port}` })
}

/** A handler that answers nothing leaves its caller waiting. */
function serve(fake: FakePayments, name: string, handler: Handler) {
  return async (call: ServerUnaryCall<AuthorizeRequest, Payment>, answer: sendUnaryData<Payment>) => {
    fake.asked.push(name)
    if (name === 'Authorize') fake.patience.push(Number(call.getDeadline()) - Date.now())
    try {
      await fake.before(name)
      const payment = handler(call.request)
      if (payment !== undefined) answer(null, payment)
    } catch (error) {
      answer(error as Error)
    }
  }
}

export function refusal(code: status): Error {
  return Object.assign(new Error(status[code]), { code, details: status[code] })
}

function unknown(orderId: string): Payment {
  return { transactionId: `t-${orderId}`, orderId, status: 'VOIDED', amount: 0, currency: '' }
}
