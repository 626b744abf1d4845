import { type CircuitBreaker, circuitBreaker } from '@msx/circuit-breaker'
import type { Discovery } from '@msx/discovery'
import { serviceFetch } from '@msx/discovery/undici'
import { exponential, pipeline, resilientFetch, retry, timeout } from '@msx/retry'
import { SpanKind, SpanStatusCode } from '@opentelemetry/api'
import type { Instruments } from './watch/instruments.js'
import { inject, inSpan, type Spans } from './watch/spans.js'

export interface ServiceClientOptions {
  readonly discovery: Discovery
  /** Of the service that calls. */
  readonly instruments: Pick<Instruments, 'edges' | 'spans'>
  /** The name the service is discovered by. */
  readonly service: string
  /** What its breaker is called, where a service is called for several purposes. Default: the service's name. */
  readonly name?: string | undefined
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
  const { name = options.service } = options
  const breaker = circuitBreaker({
    name,
    trip: { failureRate: 0.5, minimumCalls: 10, window: { duration: 10_000, buckets: 10 } },
    openDuration: { base: 1_000, max: 10_000, jitter: 0.2 },
  })
  const again = retry({
    name,
    attempts: options.attempts ?? 3,
    backoff: exponential({ base: 50, max: 500 }),
  })
  const policy = pipeline(again, breaker, timeout(options.timeout ?? 1_000, { name }))
  const { edges, spans } = options.instruments
  edges.watch(options.service, 'http', breaker, again)
  const send = serviceFetch(options.discovery, { retries: 0 })

  return {
    breaker,
    fetch: (path, init) =>
      resilientFetch(policy, { fetch: traced(send, spans) })(`http://${options.service}${path}`, init),
  }
}

/** Each attempt of one request is a span by the conventions for HTTP, and tells the other side so. */
function traced(send: typeof fetch, { tracer }: Spans): typeof fetch {
  let sent = 0

  return (input, init) => {
    const method = init?.method ?? 'GET'
    const { host, origin, pathname } = new URL(String(input))
    const attributes = {
      'http.request.method': method,
      'url.full': origin + pathname,
      'server.address': host,
      ...(sent > 0 && { 'http.request.resend_count': sent }),
    }
    sent += 1

    return inSpan(tracer, method, { kind: SpanKind.CLIENT, attributes }, async (span) => {
      const headers = new Headers(init?.headers)
      inject(headers)
      const response = await send(input, { ...init, headers })
      span.setAttribute('http.response.status_code', response.status)
      if (response.status >= 400) {
        span.setAttribute('error.type', String(response.status)).setStatus({ code: SpanStatusCode.ERROR })
      }
      return response
    })
  }
}
