import { notificationFailing } from './all/notification-failing.js'
import { orderServiceKilled } from './all/order-service-killed.js'
import { outOfStock } from './all/out-of-stock.js'
import { paymentDown } from './all/payment-down.js'
import { paymentTimesOutAfterCharging } from './all/payment-times-out-after-charging.js'
import { retryStorm } from './all/retry-storm.js'
import { slowProduct } from './all/slow-product.js'
import type { Scenario } from './scenario.js'

export { asTable } from './report.js'
export { type Report, runScenario } from './run.js'
export type { Expectation, FaultOrder, Load, Scenario } from './scenario.js'

export const scenarios: readonly Scenario[] = [
  paymentDown,
  paymentTimesOutAfterCharging,
  slowProduct,
  notificationFailing,
  orderServiceKilled,
  outOfStock,
  retryStorm,
]
