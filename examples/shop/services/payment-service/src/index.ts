export { createPaymentService, type PaymentService, type PaymentServiceOptions } from './service.js'
