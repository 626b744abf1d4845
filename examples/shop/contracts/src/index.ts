export type { EventName, ShopEvents } from './events.js'
export { shopEvents } from './events.js'
export { currency, maxQuantity, type OrderItem, orderItem, paymentMethods } from './orders.js'
export {
  type AuthorizeRequest,
  type OrderReference,
  type Payment,
  type PaymentStatus,
  type ProcessPaymentRequest,
  paymentProto,
  paymentService,
} from './payment.js'
