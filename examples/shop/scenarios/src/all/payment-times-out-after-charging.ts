import type { Scenario } from '../scenario.js'

export const paymentTimesOutAfterCharging: Scenario = {
  name: 'payment-times-out-after-charging',
  teaches:
    'No answer is not a no: the money may have been taken. So the checkout asks first what happened, and only then gives back.',
  faults: [],
  load: { orders: 1, paymentMethod: 'card-timeout-after-charge' },
  meanwhile: [{ see: 'answers', status: 202 }],
  afterwards: [
    { see: 'orders', status: 'CANCELLED' },
    { see: 'sagas', status: 'compensated', steps: ['undo authorise', 'undo reserve', 'undo open'] },
    {
      see: 'spans',
      inOrder: ['Authorize', 'GetPayment', 'Void'].map((method) => `shop.payment.v1.PaymentService/${method}`),
    },
    { see: 'told', of: 'order.cancelled' },
    { see: 'stock', taken: 0 },
  ],
}
