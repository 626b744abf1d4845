import { type CallOptions, Client, credentials, Metadata } from '@grpc/grpc-js'
import {
  type AuthorizeRequest,
  type OrderReference,
  type Payment,
  type ProcessPaymentRequest,
  paymentService,
} from '@shop/contracts'

/** The payment methods as promises, for tests. */
export interface PaymentClient {
  authorize(request: Partial<AuthorizeRequest>, options?: CallOptions & { signal?: AbortSignal }): Promise<Payment>
  capture(request: OrderReference): Promise<Payment>
  void(request: OrderReference): Promise<Payment>
  refund(request: OrderReference): Promise<Payment>
  /** As the user whom a gateway let in. */
  process(request: ProcessPaymentRequest, userId: string): Promise<Pick<Payment, 'transactionId' | 'status'>>
  getPayment(request: OrderReference): Promise<Payment>
  close(): void
}

export function paymentClient(url: string): PaymentClient {
  const client = new Client(new URL(url).host, credentials.createInsecure())
  const methods = paymentService()

  function call(
    name: string,
    request: object,
    options: CallOptions & { signal?: AbortSignal } = {},
    metadata = new Metadata(),
  ): Promise<Payment> {
    const method = methods[name]!
    return new Promise((resolve, reject) => {
      const running = client.makeUnaryRequest<object, Payment>(
        method.path,
        method.requestSerialize,
        method.responseDeserialize,
        request,
        metadata,
        options,
        (error, answer) => (error === null ? resolve(answer!) : reject(error)),
      )
      options.signal?.addEventListener('abort', () => running.cancel(), { once: true })
    })
  }

  return {
    authorize: (request, options) => call('Authorize', request, options),
    capture: (request) => call('Capture', request),
    void: (request) => call('Void', request),
    refund: (request) => call('Refund', request),
    process(request, userId) {
      const metadata = new Metadata()
      if (userId !== '') metadata.set('x-user-id', userId)
      return call('ProcessPayment', request, {}, metadata)
    },
    getPayment: (request) => call('GetPayment', request),
    close: () => client.close(),
  }
}
