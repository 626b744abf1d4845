import type { Scenario } from '../scenario.js'

export const outOfStock: Scenario = {
  name: 'out-of-stock',
  teaches:
    'A refusal is an answer: nothing is tried again, nothing has to be undone but the order itself, and the customer reads why.',
  faults: [],
  load: { orders: 1, paymentMethod: 'card-ok', quantity: 1_000 },
  meanwhile: [{ see: 'answers', status: 202 }],
  afterwards: [
    { see: 'orders', status: 'CANCELLED', because: 'left, 1000 wanted' },
    { see: 'sagas', status: 'compensated', steps: ['do reserve', 'undo open'] },
    { see: 'told', of: 'order.cancelled' },
    { see: 'stock', taken: 0 },
  ],
}
