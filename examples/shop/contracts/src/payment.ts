import { fileURLToPath } from 'node:url'
import { loadPackageDefinition, type ServiceDefinition } from '@grpc/grpc-js'
import { loadSync } from '@grpc/proto-loader'

export type PaymentStatus = 'AUTHORISED' | 'DECLINED' | 'CAPTURED' | 'VOIDED' | 'REFUNDED'

export interface AuthorizeRequest {
  readonly orderId: string
  readonly userId: string
  readonly amount: number
  readonly currency: string
  readonly paymentMethod: string
}

export interface ProcessPaymentRequest {
  readonly orderId: string
  readonly amount: number
  readonly currency: string
}

export interface OrderReference {
  readonly orderId: string
}

export interface Payment {
  readonly transactionId: string
  readonly orderId: string
  readonly status: PaymentStatus
  readonly amount: number
  readonly currency: string
}

/** The file that says how to talk to payment-service. */
export const paymentProto: string = fileURLToPath(new URL('../proto/payment.proto', import.meta.url))

/** The methods of `payment.proto`, for a grpc-js server or client: ProcessPayment, Authorize, Capture, Void, Refund, GetPayment. */
export function paymentService(): ServiceDefinition {
  const definition = loadSync(paymentProto, { longs: Number, enums: String, defaults: true })
  const service = (loadPackageDefinition(definition) as unknown as PaymentPackage).shop.payment.v1.PaymentService
  return service.service
}

interface PaymentPackage {
  readonly shop: {
    readonly payment: { readonly v1: { readonly PaymentService: { readonly service: ServiceDefinition } } }
  }
}
