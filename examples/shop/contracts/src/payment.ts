import { fileURLToPath } from 'node:url'
import { loadPackageDefinition, type ServiceDefinition } from '@grpc/grpc-js'
import { loadSync } from '@grpc/proto-loader'

export type PaymentStatus = 'AUTHORISED' | 'DECLINED' | 'CAPTURED' | 'VOIDED'

export interface AuthorizeRequest {
  readonly orderId: string
  readonly userId: string
  readonly amount: number
  readonly currency: string
  readonly paymentMethod: string
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

/** The methods of `payment.proto`, for a grpc-js server or client: Authorize, Capture, Void, GetPayment. */
export function paymentService(): ServiceDefinition {
  const path = fileURLToPath(new URL('../proto/payment.proto', import.meta.url))
  const definition = loadSync(path, { longs: Number, enums: String, defaults: true })
  const service = (loadPackageDefinition(definition) as unknown as PaymentPackage).shop.payment.v1.PaymentService
  return service.service
}

interface PaymentPackage {
  readonly shop: {
    readonly payment: { readonly v1: { readonly PaymentService: { readonly service: ServiceDefinition } } }
  }
}
