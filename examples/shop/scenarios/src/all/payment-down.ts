import type { Scenario } from '../scenario.js'

export const paymentDown: Scenario = {
  name: 'payment-down',
  teaches:
    'A service that fails is left alone: the breaker opens, so that nobody waits for it in vain. The orders end all the same, nothing stays reserved, and each customer hears of it.',
  faults: [{ service: 'payment-service', errors: 1 }],
  load: { orders: 6, paymentMethod: 'card-ok' },
  meanwhile: [
    { see: 'answers', status: 202 },
    { see: 'effect', of: 'failed', atLeast: 6 },
    { see: 'breaker', from: 'order-service', to: 'payment-service', state: 'open' },
  ],
  afterwards: [
    { see: 'orders', status: 'CANCELLED' },
    { see: 'sagas', status: 'compensated', steps: ['undo authorise', 'undo reserve', 'undo open'] },
    { see: 'told', of: 'order.cancelled' },
    { see: 'stock', taken: 0 },
    { see: 'recovery', of: 'orders' },
    { see: 'breaker', from: 'order-service', to: 'payment-service', state: 'closed' },
  ],
}
