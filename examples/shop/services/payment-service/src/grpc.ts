import { setMaxListeners } from 'node:events'
import {
  type handleUnaryCall,
  type Metadata,
  Server,
  ServerCredentials,
  type ServiceDefinition,
  status,
  type UntypedServiceImplementation,
} from '@grpc/grpc-js'
import { context, SpanKind, SpanStatusCode, trace } from '@opentelemetry/api'
import { delayed, extracted, type Instruments, type Log, urlHost } from '@shop/platform'
import { Refusal } from './refusal.js'

export interface UnaryCall {
  /** Aborted by the caller's deadline or its cancellation: nobody waits for the answer any more. */
  readonly signal: AbortSignal
  /** Aborted when the server stops: what runs may finish, what only waits must give up. */
  readonly stopping: AbortSignal
  /** What was sent beside the message. */
  readonly metadata: Metadata
}

export type UnaryHandler = (message: unknown, call: UnaryCall) => Promise<object>

export interface GrpcServer {
  readonly url: string
  /** Takes no more calls, lets running ones finish for `timeout` ms (default 5 000), then cuts them. */
  close(timeout?: number): Promise<void>
}

export interface GrpcOptions {
  readonly service: ServiceDefinition
  readonly handlers: Readonly<Record<string, UnaryHandler>>
  readonly log: Log
  readonly instruments: Pick<Instruments, 'faults' | 'spans'>
  /** Default 0: a free one. */
  readonly port?: number | undefined
  /** Default `127.0.0.1`. */
  readonly host?: string | undefined
}

const maxMessage = 64 * 1024

/** Serves unary methods written as async functions over gRPC on loopback. */
export async function serveGrpc(options: GrpcOptions): Promise<GrpcServer> {
  const { service, handlers, log, host = '127.0.0.1' } = options
  const server = new Server({ 'grpc.max_receive_message_length': maxMessage })
  const stopping = new AbortController()
  // Every call that waits listens to it; many of them are no leak.
  setMaxListeners(0, stopping.signal)

  const implementation: UntypedServiceImplementation = {}
  for (const [name, handler] of Object.entries(handlers)) {
    implementation[name] = unary(
      name,
      watched(name, pathOf(service, name), handler, options.instruments),
      stopping.signal,
      log,
    )
  }
  server.addService(service, implementation)

  const port = await new Promise<number>((resolve, reject) => {
    const address = host.includes(':') ? `[${host}]` : host
    server.bindAsync(`${address}:${options.port ?? 0}`, ServerCredentials.createInsecure(), (error, bound) => {
      if (error === null) resolve(bound)
      else reject(error)
    })
  })

  return {
    url: `http://${urlHost(host)}:${port}`,
    close: (timeout = 5_000) =>
      new Promise<void>((resolve) => {
        const cut = setTimeout(() => server.forceShutdown(), timeout)
        server.tryShutdown(() => {
          clearTimeout(cut)
          resolve()
        })
        stopping.abort(new Refusal('UNAVAILABLE', 'the service is stopping'))
      }),
  }
}

function pathOf(service: ServiceDefinition, name: string): string {
  const path = service[name]?.path
  if (path === undefined) throw new TypeError(`the service has no method '${name}'`)
  return path
}

/** A span for each call, below that of the caller, and the faults that were asked for. */
function watched(
  name: string,
  path: string,
  handler: UnaryHandler,
  { faults, spans }: GrpcOptions['instruments'],
): UnaryHandler {
  return (message, call) => {
    const parent = extracted({ get: (key) => call.metadata.get(key)[0]?.toString() })
    const attributes = { 'rpc.system': 'grpc', 'rpc.service': path.split('/')[1], 'rpc.method': name }
    const span = spans.tracer.startSpan(path.slice(1), { kind: SpanKind.SERVER, attributes }, parent)

    return context.with(trace.setSpan(parent, span), async () => {
      try {
        const strike = faults.strike(name)
        await delayed(strike, call.signal)
        if (strike.then === 'fail') throw new Refusal('UNAVAILABLE', 'broken on purpose')
        if (strike.then === 'drop') await silence(call)

        const answer = await handler(message, call)
        span.setAttribute('rpc.grpc.status_code', status.OK)
        return answer
      } catch (error) {
        span.setAttribute('rpc.grpc.status_code', error instanceof Refusal ? error.code : status.INTERNAL)
        if (!(error instanceof Refusal) || error.code === status.UNAVAILABLE) {
          span.setStatus({ code: SpanStatusCode.ERROR })
        }
        throw error
      } finally {
        span.end()
      }
    })
  }
}

/** Never resolves; rejects when the caller's patience ends or the server stops. */
export function silence({ signal, stopping }: UnaryCall): Promise<never> {
  return new Promise((_, reject) => {
    const end = () => {
      signal.removeEventListener('abort', end)
      stopping.removeEventListener('abort', end)
      reject(signal.aborted ? signal.reason : stopping.reason)
    }
    if (signal.aborted || stopping.aborted) return end()

    signal.addEventListener('abort', end)
    stopping.addEventListener('abort', end)
  })
}

function unary(name: string, handler: UnaryHandler, stopping: AbortSignal, log: Log): handleUnaryCall<unknown, object> {
  return (call, callback) => {
    // grpc-js says 'cancelled' for a deadline as well as for a caller that went away.
    const ended = new AbortController()
    call.once('cancelled', () => ended.abort(new Refusal('CANCELLED', 'the caller no longer waits')))

    handler(call.request, { signal: ended.signal, stopping, metadata: call.metadata }).then(
      (answer) => callback(null, answer),
      (error: unknown) => {
        if (error instanceof Refusal) return callback(error)

        log.error({ err: error, method: name }, 'call failed')
        callback(new Refusal('INTERNAL', 'the service failed to answer'))
      },
    )
  }
}
