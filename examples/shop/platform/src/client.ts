import { type CircuitBreaker, circuitBreaker } from '@msx/circuit-breaker'
import type { Discovery } from '@msx/discovery'
import { serviceFetch } from '@msx/discovery/undici'
import { exponential, pipeline, resilientFetch, retry, timeout } from '@msx/retry'

export interface ServiceClientOptions {
  readonly discovery: Discovery
  /** The name the service is discovered by. */
  readonly service: string
  /** For one attempt, in milliseconds. Default 1 000. */
  readonly timeout?: number | undefined
  /** Attempts in all. Default 3. */
  readonly attempts?: number | undefined
}

export interface ServiceClient {
  /** `fetch` with a path of the service: balanced, timed out, retried where it may be repeated, cut off by the breaker. */
  fetch(path: string, init?: RequestInit): Promise<Response>
  readonly breaker: CircuitBreaker
}

/**
 * How one service calls another: retry around breaker around timeout around a balanced connection. The breaker is
 * inside the retry so that it sees every attempt, and an open circuit ends the retries at once.
 */
export function serviceClient(options: ServiceClientOptions): ServiceClient {
  const breaker = circuitBreaker({
    name: options.service,
    trip: { failureRate: 0.5, minimumCalls: 10, window: { duration: 10_000, buckets: 10 } },
    openDuration: { base: 1_000, max: 10_000, jitter: 0.2 },
  })
  const policy = pipeline(
    retry({ name: options.service, attempts: options.attempts ?? 3, backoff: exponential({ base: 50, max: 500 }) }),
    breaker,
    timeout(options.timeout ?? 1_000, { name: options.service }),
  )
  const send = resilientFetch(policy, { fetch: serviceFetch(options.discovery, { retries: 0 }) })

  return { breaker, fetch: (path, init) => send(`http://${options.service}${path}`, init) }
}
