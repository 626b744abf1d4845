import { setMaxListeners } from 'node:events'
import {
  type handleUnaryCall,
  Server,
  ServerCredentials,
  type ServiceDefinition,
  type UntypedServiceImplementation,
} from '@grpc/grpc-js'
import type { Log } from '@shop/platform'
import { Refusal } from './refusal.js'

export interface UnaryCall {
  /** Aborted by the caller's deadline or its cancellation: nobody waits for the answer any more. */
  readonly signal: AbortSignal
  /** Aborted when the server stops: what runs may finish, what only waits must give up. */
  readonly stopping: AbortSignal
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
  /** Default 0: a free one. */
  readonly port?: number | undefined
}

const maxMessage = 64 * 1024

/** Serves unary methods written as async functions over gRPC on loopback. */
export async function serveGrpc(options: GrpcOptions): Promise<GrpcServer> {
  const { service, handlers, log } = options
  const server = new Server({ 'grpc.max_receive_message_length': maxMessage })
  const stopping = new AbortController()
  // Every call that waits listens to it; many of them are no leak.
  setMaxListeners(0, stopping.signal)

  const implementation: UntypedServiceImplementation = {}
  for (const [name, handler] of Object.entries(handlers)) {
    implementation[name] = unary(name, handler, stopping.signal, log)
  }
  server.addService(service, implementation)

  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync(`127.0.0.1:${options.port ?? 0}`, ServerCredentials.createInsecure(), (error, bound) => {
      if (error === null) resolve(bound)
      else reject(error)
    })
  })

  return {
    url: `http://127.0.0.1:${port}`,
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

function unary(name: string, handler: UnaryHandler, stopping: AbortSignal, log: Log): handleUnaryCall<unknown, object> {
  return (call, callback) => {
    // grpc-js says 'cancelled' for a deadline as well as for a caller that went away.
    const ended = new AbortController()
    call.once('cancelled', () => ended.abort(new Refusal('CANCELLED', 'the caller no longer waits')))

    handler(call.request, { signal: ended.signal, stopping }).then(
      (answer) => callback(null, answer),
      (error: unknown) => {
        if (error instanceof Refusal) return callback(error)

        log.error({ err: error, method: name }, 'call failed')
        callback(new Refusal('INTERNAL', 'the service failed to answer'))
      },
    )
  }
}
