import type { Scenario } from '../scenario.js'

export const retryStorm: Scenario = {
  name: 'retry-storm',
  teaches:
    'Retries help against chance and harm against an outage: many customers who each try again are a flood. The breaker at the gateway turns them away at the door until the service has had time to recover.',
  faults: [{ service: 'product-service', route: 'GET /api/products', errors: 1 }],
  load: { reads: 80, path: '/api/products' },
  meanwhile: [
    { see: 'answers', status: 503 },
    { see: 'effect', of: 'failed', atLeast: 20 },
    { see: 'retries', from: 'api-gateway', to: 'product-service', atLeast: 1 },
    { see: 'breaker', from: 'api-gateway', to: 'product-service', state: 'open' },
    { see: 'rejected', from: 'api-gateway', to: 'product-service', atLeast: 20 },
  ],
  afterwards: [
    { see: 'recovery', of: 'reads' },
    { see: 'breaker', from: 'api-gateway', to: 'product-service', state: 'closed' },
  ],
}
