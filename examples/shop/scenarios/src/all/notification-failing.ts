import type { Scenario } from '../scenario.js'

export const notificationFailing: Scenario = {
  name: 'notification-failing',
  teaches:
    'Who hears of orders by events cannot hold them up. What could not be handled lies with the dead letters, and is handled again when the cause is mended: late, but not lost.',
  faults: [{ service: 'notification-service', route: 'order.confirmed', drop: 1 }],
  load: { orders: 3, paymentMethod: 'card-ok' },
  meanwhile: [
    { see: 'answers', status: 202 },
    { see: 'orders', status: 'CONFIRMED' },
    { see: 'sagas', status: 'completed' },
    { see: 'dead-letters', group: 'notification', more: 3 },
  ],
  replay: 'notification',
  afterwards: [
    { see: 'told', of: 'order.confirmed' },
    { see: 'dead-letters', group: 'notification', more: 0 },
    { see: 'stock', taken: 1 },
  ],
}
