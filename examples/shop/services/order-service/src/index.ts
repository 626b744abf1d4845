export { createOrderService, type OrderServiceOptions } from './service.js'
