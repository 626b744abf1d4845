import { Client, credentials, Metadata, type MethodDefinition, type ServiceError, status } from '@grpc/grpc-js'
import { type CircuitBreaker, circuitBreaker } from '@msx/circuit-breaker'
import type { Discovery, Endpoint } from '@msx/discovery'
import { exponential, isTimeoutError, type Outcome, type Policy, pipeline, retry, timeout } from '@msx/retry'
import { type Attributes, type Span, SpanKind } from '@opentelemetry/api'
import { type Instruments, inject, inSpan } from '@shop/platform'

export interface GrpcClientOptions {
  readonly discovery: Discovery
  /** Of the service that calls. */
  readonly instruments: Pick<Instruments, 'edges' | 'spans'>
  /** The name the service is discovered by. */
  readonly service: string
  /** For one attempt, in milliseconds. */
  readonly timeout: number
}

export interface GrpcClient {
  /** Calls a unary method. Rejects with the call's ServiceError, a TimeoutError, or the signal's reason. */
  call<A>(method: MethodDefinition<object, A>, request: object, signal: AbortSignal): Promise<A>
  close(): void
}

/** The service did not do what was asked because of how it is, not because of what was asked. */
const failures: ReadonlySet<unknown> = new Set([
  status.UNAVAILABLE,
  status.DEADLINE_EXCEEDED,
  status.RESOURCE_EXHAUSTED,
  status.INTERNAL,
  status.UNKNOWN,
])

/**
 * A gRPC service as discovery knows it: retry around breaker around timeout around a balanced call. Each method has a
 * breaker of its own, so that an Authorize that hangs does not keep Void from giving the money back.
 */
export function grpcClient(options: GrpcClientOptions): GrpcClient {
  const { discovery, instruments, service } = options
  const clients = new Map<string, Client>()
  const policies = new Map<string, Policy>()

  function policyOf(path: string): Policy {
    const known = policies.get(path)
    if (known !== undefined) return known

    const breaker = breakerOf(path)
    const again = retry({
      name: path,
      attempts: 2,
      backoff: exponential({ base: 50, max: 200 }),
      shouldRetry: isUnavailable,
    })
    const policy = pipeline(again, breaker, timeout(options.timeout, { name: path }))
    instruments.edges.watch(service, 'grpc', breaker, again)
    policies.set(path, policy)
    return policy
  }

  function clientOf(address: string): Client {
    const known = clients.get(address)
    if (known !== undefined) return known

    forgetGone()
    const client = new Client(address, credentials.createInsecure(), {
      // grpc-js would wait up to two minutes before it looks again for a server that was away.
      'grpc.initial_reconnect_backoff_ms': 100,
      'grpc.max_reconnect_backoff_ms': 1_000,
    })
    clients.set(address, client)
    return client
  }

  /** A service that moved has left its old address for good. */
  function forgetGone(): void {
    const present = new Set(discovery.service(service).snapshot.endpoints.map(({ host, port }) => `${host}:${port}`))
    for (const [address, client] of clients) {
      if (present.has(address)) continue
      client.close()
      clients.delete(address)
    }
  }

  return {
    call: (method, request, signal) =>
      policyOf(method.path).execute(
        async (context) => {
          const deadline = Date.now() + options.timeout
          await discovery.service(service).ready(context.signal)
          const lease = discovery.service(service).pick()
          const client = clientOf(`${lease.endpoint.host}:${lease.endpoint.port}`)

          try {
            const answer = await inSpan(
              instruments.spans.tracer,
              method.path.slice(1),
              { kind: SpanKind.CLIENT, attributes: attributesOf(method.path, lease.endpoint) },
              (span) => told(span, unary(client, method, request, deadline, context.signal)),
            )
            lease.firstByte()
            lease.done('success')
            return answer
          } catch (error) {
            lease.done(leaseOutcome(error))
            throw error
          }
        },
        { signal },
      ),

    close() {
      for (const client of clients.values()) client.close()
      clients.clear()
    },
  }
}

/** By the conventions for RPC. */
function attributesOf(path: string, { host, port }: Endpoint): Attributes {
  const [, service, method] = path.split('/')
  return {
    'rpc.system': 'grpc',
    'rpc.service': service,
    'rpc.method': method,
    'server.address': host,
    'server.port': port,
  }
}

/** With the status that the call came back with on its span. */
async function told<A>(span: Span, call: Promise<A>): Promise<A> {
  try {
    const answer = await call
    span.setAttribute('rpc.grpc.status_code', status.OK)
    return answer
  } catch (error) {
    if (isServiceError(error)) span.setAttribute('rpc.grpc.status_code', error.code)
    throw error
  }
}

/** One call as a promise. A callback client returns before it has failed, so the promise is what policies must see. */
function unary<A>(
  client: Client,
  method: MethodDefinition<object, A>,
  request: object,
  deadline: number,
  signal: AbortSignal,
): Promise<A> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(signal.reason)

    const cancel = () => {
      call.cancel()
      reject(signal.reason)
    }
    const metadata = new Metadata()
    inject(metadata)
    const call = client.makeUnaryRequest(
      method.path,
      method.requestSerialize,
      method.responseDeserialize,
      request,
      metadata,
      { deadline },
      (error, answer) => {
        signal.removeEventListener('abort', cancel)
        if (error === null)
          resolve(answer as A) // grpc-js gives one of the two
        else reject(error)
      },
    )
    signal.addEventListener('abort', cancel, { once: true })
  })
}

export function isServiceError(error: unknown): error is ServiceError {
  return error instanceof Error && 'code' in error && typeof error.code === 'number' && 'details' in error
}

function isUnavailable(outcome: Outcome): boolean {
  return !outcome.ok && isServiceError(outcome.error) && outcome.error.code === status.UNAVAILABLE
}

function breakerOf(path: string): CircuitBreaker {
  return circuitBreaker({
    name: path,
    trip: { failureRate: 0.5, minimumCalls: 10, window: { duration: 10_000, buckets: 10 } },
    openDuration: { base: 1_000, max: 5_000, jitter: 0.2 },
    classify: (outcome) => (outcome.ok || isAnswer(outcome.error) ? 'success' : 'failure'),
  })
}

/** A refusal is an answer too: the service works. */
function isAnswer(error: unknown): boolean {
  return isServiceError(error) && !failures.has(error.code)
}

function leaseOutcome(error: unknown): 'success' | 'failure' | 'cancelled' {
  if (isServiceError(error)) return isAnswer(error) ? 'success' : 'failure'

  return isTimeoutError(error) ? 'failure' : 'cancelled'
}
