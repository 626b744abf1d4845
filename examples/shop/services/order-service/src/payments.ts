import { type MethodDefinition, status } from '@grpc/grpc-js'
import type { Discovery } from '@msx/discovery'
import { type AuthorizeRequest, type Payment, paymentService } from '@shop/contracts'
import type { Instruments } from '@shop/platform'
import { grpcClient, isServiceError } from './grpc-client.js'

/** payment-service, as an order needs it. Every command may be repeated. */
export interface Payments {
  authorise(request: AuthorizeRequest, signal: AbortSignal): Promise<Payment>
  capture(orderId: string, signal: AbortSignal): Promise<Payment>
  void(orderId: string, signal: AbortSignal): Promise<Payment>
  /** What happened to the order's payment; undefined when nothing did so far. */
  find(orderId: string, signal: AbortSignal): Promise<Payment | undefined>
  close(): void
}

/** Milliseconds for one call. Two of them, the pause between and the undoing fit into the 10 s of an order in doubt. */
const callTimeout = 1_500

export function createPayments(discovery: Discovery, instruments: Instruments): Payments {
  const client = grpcClient({ discovery, instruments, service: 'payment-service', timeout: callTimeout })
  const methods = paymentService()

  const call = (name: string, request: object, signal: AbortSignal): Promise<Payment> =>
    client.call(methods[name] as MethodDefinition<object, Payment>, request, signal)

  return {
    authorise: (request, signal) => call('Authorize', request, signal),
    capture: (orderId, signal) => call('Capture', { orderId }, signal),
    void: (orderId, signal) => call('Void', { orderId }, signal),
    async find(orderId, signal) {
      try {
        return await call('GetPayment', { orderId }, signal)
      } catch (error) {
        if (isServiceError(error) && error.code === status.NOT_FOUND) return undefined
        throw error
      }
    },
    close: () => client.close(),
  }
}

/** payment-service understood the request and will always refuse it; repeating it is no use. */
export function isRefusal(error: unknown): boolean {
  return isServiceError(error) && refusals.has(error.code)
}

const refusals: ReadonlySet<number> = new Set([
  status.INVALID_ARGUMENT,
  status.ALREADY_EXISTS,
  status.FAILED_PRECONDITION,
  status.NOT_FOUND,
])
