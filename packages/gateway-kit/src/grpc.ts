/// <reference lib="esnext.disposable" preserve="true" />
import type { ChannelCredentials } from '@grpc/grpc-js'
import type { CircuitBreaker } from '@msx/circuit-breaker'
import { type Clock, systemClock } from './clock.js'
import { contextOf } from './context.js'
import { TranscodedCall } from './grpc/call.js'
import { createChannels } from './grpc/channels.js'
import { type GrpcCode, grpcCodes } from './grpc/errors.js'
import { fieldOf } from './grpc/from-json.js'
import { type HttpRule, matchBinding, readBindings } from './grpc/http-rule.js'
import { loadLibraries } from './grpc/libraries.js'
import { checkMetadata } from './grpc/metadata.js'
import { checkBinding } from './grpc/request-message.js'
import { findService, loadSchema, wirePath } from './grpc/schema.js'
import { createJsonWriter } from './grpc/to-json.js'
import {
  anObject,
  aString,
  checkOption,
  duration,
  isRecord,
  listOfStrings,
  orFalse,
  wholeNumber,
} from './internal/checks.js'
import type { Middleware } from './middleware.js'
import { inTurn } from './pipelining.js'
import { problem } from './problem.js'
import { refuse } from './refusal.js'
import { createRetryPlan, type ProxyRetry } from './retrying.js'
import { inspect, isConnectionRefused, parseTarget } from './target.js'
import { resolveTimeouts, type Timeouts } from './timeouts.js'
import type { Finder } from './upstream.js'

export { type GrpcCode, GrpcError, isGrpcError } from './grpc/errors.js'
export type { HttpRule } from './grpc/http-rule.js'

export interface TranscodeOptions {
  /** One or several `.proto` files. Relative paths are looked for in `includeDirs`, then from the working directory. */
  readonly proto: string | URL | readonly (string | URL)[]
  /** `shop.payment.v1.PaymentService`; its last part is enough where there is one of that name. */
  readonly service: string
  /** `127.0.0.1:50051`, or any target that grpc-js knows. Either this or `discovery`. */
  readonly address?: string | undefined
  /** Finds the service's instances; each call goes to the one that the balancer picks. */
  readonly discovery?: Finder | undefined
  /** The name the service has in `discovery`. Default: the `upstream` of the route. */
  readonly upstream?: string | undefined
  /**
   * Which requests become which calls, by method: `{ GetOrder: 'GET /orders/:order_id' }`, or the members of a
   * google.api.http option. What is said here stands in the place of the `.proto`'s own rules for that method.
   */
  readonly rules?: Readonly<Record<string, HttpRule | string>> | undefined
  /** Headers of the request that go along as metadata. Default none, besides `traceparent`, `tracestate`, the request's id, and `x-user-…`. */
  readonly metadata?: readonly string[] | undefined
  /** HTTP statuses that differ from the usual ones, such as `{ FAILED_PRECONDITION: 409 }`. */
  readonly statuses?: Readonly<Partial<Record<GrpcCode, number>>> | undefined
  /** Whether fields that have their default are written all the same. Default `true`. */
  readonly defaults?: boolean | undefined
  /** Whether fields that a message does not have are passed over, rather than refused with 400. Default `false`. */
  readonly ignoreUnknown?: boolean | undefined
  /** Where imports are looked for, besides beside the file. google/api and google/protobuf are always found. */
  readonly includeDirs?: readonly string[] | undefined
  /** Credentials of grpc-js. Default: none, in plain text. */
  readonly credentials?: ChannelCredentials | undefined
  /**
   * As for `proxy`; a route's own come first. `connect` is until there is a connection, for each attempt; `headers` is
   * from then until a single answer or the first message of a stream.
   */
  readonly timeout?: Timeouts | undefined
  /** Bytes of a request body; a route's own comes first. Default 1 MiB. */
  readonly maxBody?: number | undefined
  /** Asked before each call; a route's own comes first. UNKNOWN, DEADLINE_EXCEEDED, INTERNAL, UNAVAILABLE and DATA_LOSS are failures. */
  readonly breaker?: CircuitBreaker | false | undefined
  /**
   * When a call is made again; a route's own comes first, `statuses` is not possible. Only for UNAVAILABLE, or when no
   * connection came in time, and before any message; if the call may have arrived, only for idempotent methods of HTTP,
   * or with an `Idempotency-Key`. With `discovery`, another instance gets it. Default `false`.
   */
  readonly retry?: Omit<ProxyRetry, 'statuses'> | false | undefined
  readonly clock?: Clock | undefined
}

/** A middleware that makes calls, and what ends its connections. */
export interface Transcoder extends Middleware, AsyncDisposable {
  /** Closes its connections; calls under way may finish. */
  close(): Promise<void>
}

/**
 * Turns REST requests into gRPC calls, unary and server streaming, by the google.api.http options of a `.proto` or by a
 * map. JSON is that of proto3. A failure is a problem document with the HTTP status of the gRPC one; its details are
 * passed on only where they are about the request. Requests that no rule takes are handed on to `next`.
 *
 * A stream is lines of JSON (`application/x-ndjson`), or server-sent events for whoever accepts `text/event-stream`.
 * When it breaks off, the last line is `{"error": …}` and the response is cut; with events, the last one is `error`.
 *
 * @throws {GrpcError} `MSX_GRPC_PEER_MISSING` without grpc-js; a TypeError for options, a proto or rules that are wrong.
 *
 * @example
 * const payments = transcode({
 *   proto: 'payment.proto', service: 'PaymentService', address: '127.0.0.1:50051',
 *   rules: { ProcessPayment: 'POST /api/payments' },
 * })
 * createGateway(
 *   { routes: [{ path: '/api/payments', upstream: 'payment-service', grpc: 'payments' }] },
 *   { transcoders: { payments } },
 * )
 */
export function transcode(options: TranscodeOptions): Transcoder {
  checkOptions(options)
  const { metadata = [], statuses = {}, rules = {}, includeDirs = [], ignoreUnknown = false } = options
  const { clock = systemClock, defaults = true } = options
  const libraries = loadLibraries()
  const { grpc, protobuf } = libraries
  const root = loadSchema(libraries, [options.proto].flat() as (string | URL)[], includeDirs)
  const service = findService(root, libraries, options.service)
  const bindings = readBindings(service, rules)
  if (bindings.length === 0) {
    throw new TypeError(
      `transcode: ${service.name} has no google.api.http option; say in rules which requests become which calls`,
    )
  }

  const rpcs = new Map(
    bindings.map((binding) => {
      const method = service.methods[binding.rpc]!
      if (method.requestStream) {
        throw new TypeError(`transcode: ${binding.rpc} takes a stream, which a single request cannot be`)
      }

      const [input, output] = [method.resolvedRequestType!, method.resolvedResponseType!]
      checkBinding(binding, input, output)
      return [binding.rpc, { path: wirePath(method), input, output, streams: method.responseStream === true }] as const
    }),
  )
  const channels = createChannels(grpc, {
    address: options.address,
    discovery: options.discovery,
    credentials: options.credentials,
  })
  const plan = {
    grpc,
    channels,
    reading: { ignoreUnknown },
    writer: createJsonWriter({ protobuf }, defaults),
    metadata: metadata.map((name) => name.toLowerCase()),
    statuses,
    clock,
  }
  const own = {
    upstream: options.upstream,
    timeouts: resolveTimeouts(options.timeout),
    maxBody: options.maxBody ?? 1_048_576,
    breaker: options.breaker || undefined,
    retry: options.retry ? createRetryPlan(options.retry, clock) : undefined,
  }

  const middleware: Middleware = inTurn(function transcodeRequest(req, res, next) {
    if (isConnectionRefused(req)) return

    const context = contextOf(req)
    const route = context.call
    const target = route === undefined ? inspect(req) : parseTarget(route.target)
    if ('status' in target) {
      refuse(res, target)
      return
    }

    const match = matchBinding(bindings, req.method!, target.path)
    if (match === undefined) {
      next()
      return
    }
    if (!('binding' in match)) {
      res.setHeader('allow', match.join(', '))
      problem(res, 405, { detail: `This path does not take ${req.method} requests.` })
      return
    }

    const { binding } = match
    context.route ??= binding.template
    const rpc = rpcs.get(binding.rpc)!
    const callRules = {
      upstream: own.upstream ?? route?.upstream,
      timeouts: route?.timeouts ?? own.timeouts,
      maxBody: route?.maxBody ?? own.maxBody,
      breaker: route?.breaker ?? own.breaker,
      retry: (route?.retry ?? own.retry) || undefined,
      query: target.query,
      headers: route?.headers,
    }
    const field = binding.responseBody === undefined ? undefined : fieldOf(rpc.output, binding.responseBody)
    new TranscodedCall(req, res, plan, callRules, rpc, match, field).run()
  })

  // Resolved, not rejected: there is nothing that could go wrong.
  const close = async (): Promise<void> => channels.close()
  return Object.assign(middleware, { close, [Symbol.asyncDispose]: close })
}

function checkOptions(options: TranscodeOptions): void {
  if (!isRecord(options)) throw new TypeError('transcode: options must be an object')

  const files = [options.proto].flat()
  if (files.length === 0 || !files.every((file) => file instanceof URL || aString(file) === undefined)) {
    throw new TypeError('transcode: proto must be the path of a .proto file, or a list of them')
  }
  if (options.service === undefined) throw new TypeError('transcode: service must be the name of a service')
  checkOption('transcode', 'service', options.service, aString)
  checkOption('transcode', 'address', options.address, aString)
  if ((options.address === undefined) === (options.discovery === undefined)) {
    throw new TypeError('transcode: either address or discovery must be given')
  }
  checkOption('transcode', 'discovery', options.discovery, (value) =>
    typeof (value as Finder).service === 'function' ? undefined : 'a Discovery',
  )
  checkOption('transcode', 'upstream', options.upstream, aString)
  checkOption('transcode', 'rules', options.rules, (value) => (isRecord(value) ? undefined : 'an object by method'))
  checkOption('transcode', 'metadata', options.metadata, checkMetadata)
  checkOption('transcode', 'statuses', options.statuses, checkStatuses)
  checkOption('transcode', 'includeDirs', options.includeDirs, listOfStrings)
  checkOption('transcode', 'maxBody', options.maxBody, wholeNumber)
  checkOption('transcode', 'retry', options.retry, orFalse(anObject))
  if (isRecord(options.retry) && 'statuses' in options.retry) {
    throw new TypeError('transcode: retry.statuses must be left out: what is asked for again is UNAVAILABLE')
  }
  for (const name of ['defaults', 'ignoreUnknown'] as const) {
    checkOption('transcode', name, options[name], (value) => (typeof value === 'boolean' ? undefined : 'true or false'))
  }
  checkOption('transcode', 'timeout', options.timeout, anObject)
  for (const phase of ['connect', 'headers', 'idle', 'total'] as const) {
    checkOption('transcode', `timeout.${phase}`, options.timeout?.[phase], orFalse(duration))
  }
}

function checkStatuses(statuses: unknown): string | undefined {
  const names: readonly string[] = grpcCodes.slice(1)
  const valid =
    isRecord(statuses) &&
    Object.entries(statuses).every(
      ([name, status]) =>
        names.includes(name) && Number.isInteger(status) && (status as number) >= 400 && (status as number) <= 599,
    )

  return valid ? undefined : 'an object from names of gRPC statuses to HTTP statuses from 400 to 599'
}
