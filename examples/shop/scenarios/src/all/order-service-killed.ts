import type { Scenario } from '../scenario.js'

export const orderServiceKilled: Scenario = {
  name: 'order-service-killed',
  teaches:
    'A checkout is not in a process but in the database. The process that was to see it through is killed in the middle, and the next one goes on where it stopped, in the same trace.',
  faults: [{ service: 'payment-service', route: 'Authorize', latency: 600 }],
  load: { orders: 3, paymentMethod: 'card-ok' },
  strike: { service: 'order-service', kill: true },
  meanwhile: [
    { see: 'answers', status: 202 },
    { see: 'service', name: 'order-service', status: 'away' },
    { see: 'service', name: 'order-service', status: 'ready' },
  ],
  afterwards: [
    { see: 'orders', status: 'CONFIRMED' },
    { see: 'sagas', status: 'completed' },
    // Of one trace, although another process has asked for the second.
    { see: 'spans', inOrder: ['Authorize', 'Capture'].map((method) => `shop.payment.v1.PaymentService/${method}`) },
    { see: 'told', of: 'order.confirmed' },
    { see: 'stock', taken: 1 },
  ],
}
