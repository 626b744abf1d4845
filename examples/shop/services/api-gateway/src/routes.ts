import { type CircuitBreakerOptions, circuitBreaker } from '@msx/circuit-breaker'
import type { GatewayConfig, ProxyRetry, RouteConfig } from '@msx/gateway-kit'
import { exponential } from '@msx/retry'
import type { Instruments } from '@shop/platform'

/** What the gateway forwards to. It is ready when it knows an instance of each. */
export const upstreams = ['user-service', 'product-service', 'order-service'] as const

/** A service that was killed is back within seconds: nobody should be turned away for much longer than it is gone. */
const usual: CircuitBreakerOptions = { openDuration: { base: 1_000, max: 10_000, jitter: 0.2 } }

/** What each breaker of the table is made from, by its name. */
export const breakers = {
  'user-service': usual,
  'product-service': usual,
  'order-service': usual,
  // Hashing passwords is what a flood of sign-ups uses up; whoever is signed in already is not turned away for it.
  passwords: usual,
  payments: usual,
} satisfies Readonly<Record<Upstream | 'passwords' | 'payments', CircuitBreakerOptions>>

type Upstream = (typeof upstreams)[number]

/**
 * Which request goes where, and who may send it. A route without `auth: false` needs a signed-in customer, and whether an
 * order or an account is theirs is for the owning service to say: it is told who asks by `x-user-id`.
 */
export function routeTable(edges: Instruments['edges']): GatewayConfig {
  const breaker = (name: keyof typeof breakers, service: string = name, kind: 'http' | 'grpc' = 'http') => {
    const made = circuitBreaker({ name, ...breakers[name] })
    edges.watch(service, kind, made)
    return made
  }
  const made = new Map(upstreams.map((name) => [name, breaker(name)]))
  const to = (upstream: Upstream) => ({ upstream, breaker: made.get(upstream), retry: retrying(upstream, edges) })
  const toPasswords = { ...to('user-service'), breaker: breaker('passwords', 'user-service') }
  const signedIn = { auth: 'customer' } as const
  const open = { auth: false } as const

  const routes: RouteConfig[] = [
    { id: 'sign-up', methods: ['POST'], path: '/api/users', ...toPasswords, ...open },
    { id: 'sign-in', methods: ['POST'], path: '/api/sessions', ...toPasswords, ...open, rateLimit: 'sign-in' },
    { id: 'account', methods: ['GET', 'PATCH', 'DELETE'], path: '/api/users/:id', ...to('user-service'), ...signedIn },

    { id: 'products', methods: ['GET'], path: '/api/products', ...to('product-service'), ...open },
    { id: 'product', methods: ['GET'], path: '/api/products/:id', ...to('product-service'), ...open },

    {
      id: 'place-order',
      methods: ['POST'],
      path: '/api/orders',
      ...to('order-service'),
      // A 503 is what order-service says when it has asked others twice already: once more would be twice as much of it.
      retry: { ...retrying('order-service', edges), statuses: [502, 504] },
      // Each is the work of a dozen other requests. Most of these are reads, for which half of the room is left.
      priority: -1,
      ...signedIn,
    },
    { id: 'order', methods: ['GET'], path: '/api/orders/:id', ...to('order-service'), ...signedIn },
    { id: 'order-saga', methods: ['GET'], path: '/api/orders/:id/saga', ...to('order-service'), ...signedIn },
    {
      id: 'pay',
      methods: ['POST'],
      path: '/api/payments',
      upstream: 'payment-service',
      grpc: 'payments',
      breaker: breaker('payments', 'payment-service', 'grpc'),
      // Less than payment-service takes: what is too long for it would count as its failure.
      maxBody: 16 * 1024,
      ...signedIn,
    },
    { id: 'cancel-order', methods: ['POST'], path: '/api/orders/:id/cancel', ...to('order-service'), ...signedIn },
  ]

  return {
    routes,
    defaults: {
      maxBody: 100 * 1024,
      timeout: { connect: 1_000, headers: 10_000, total: 15_000 },
    },
  }
}

/** Only what may be repeated is: reads, and orders under their Idempotency-Key. */
function retrying(upstream: Upstream, edges: Instruments['edges']): ProxyRetry {
  const meter = edges.meter(upstream, 'http')
  const backoff = exponential({ base: 50, max: 1_000 })

  return {
    attempts: 2,
    backoff(...args) {
      meter.retry()
      return backoff(...args)
    },
  }
}
