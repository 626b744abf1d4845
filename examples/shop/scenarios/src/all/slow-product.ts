import type { Scenario } from '../scenario.js'

export const slowProduct: Scenario = {
  name: 'slow-product',
  teaches:
    'Slow is worse than broken where nobody looks at the clock. The timeout cuts each attempt, the retry asks once more, and then the customer is told to come back, instead of waiting as long as the service likes.',
  faults: [{ service: 'product-service', route: 'GET /internal/products', latency: 4_000 }],
  load: { orders: 2, paymentMethod: 'card-ok' },
  meanwhile: [
    { see: 'answers', status: 503, within: 4_500 },
    { see: 'effect', of: 'delayed', atLeast: 4 },
    { see: 'retries', from: 'order-service', to: 'product-service', atLeast: 2 },
  ],
  afterwards: [
    { see: 'stock', taken: 0 },
    { see: 'recovery', of: 'orders' },
  ],
}
