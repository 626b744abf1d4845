import type { IncomingMessage, ServerResponse } from 'node:http'
import {
  type Attributes,
  context,
  type Histogram,
  type Meter,
  metrics,
  propagation,
  ROOT_CONTEXT,
  type Span,
  SpanKind,
  SpanStatusCode,
  type TextMapGetter,
  type TextMapPropagator,
  type Tracer,
  trace,
} from '@opentelemetry/api'
import { peerAddress } from './address.js'
import { contextOf, whenOver } from './context.js'
import { isFinished } from './http2.js'
import type { Middleware } from './middleware.js'
import { fieldsOf, type Propagator, watchAttempts } from './opentelemetry/attempts.js'
import { w3c } from './opentelemetry/w3c.js'
import { statusOf } from './request-log.js'
import { originalUrl } from './target.js'
import type { Telemetry } from './telemetry.js'

export type { Telemetry } from './telemetry.js'

export interface OpenTelemetryOptions {
  /** Default: the one the application registered, by the name `@msx/gateway-kit`. */
  readonly tracer?: Tracer | undefined
  /** Default: as for `tracer`. */
  readonly meter?: Meter | undefined
  /** How the trace travels. Default: the one the application registered, else W3C Trace Context. */
  readonly propagator?: TextMapPropagator | undefined
}

const NAME = '@msx/gateway-kit'

/** In seconds, as the semantic conventions advise. */
const BUCKETS = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10]

const known = new Set(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'CONNECT', 'TRACE', 'QUERY'])

/**
 * Traces each request as a SERVER span and times it in `http.server.request.duration`, by OpenTelemetry's conventions
 * for HTTP (https://opentelemetry.io/docs/specs/semconv/http/). The span continues the trace the request came with, or
 * begins one. Each attempt to forward it, by HTTP or by gRPC, is a CLIENT span below it, and the parent of what the
 * upstream does. What comes after runs within the SERVER span.
 *
 * Metrics are by method, route and status; queries are in neither, nor in the spans.
 *
 * @throws TypeError for an option that is wrong.
 * @example
 * app.use(tracing())
 */
export function tracing(options: OpenTelemetryOptions = {}): Middleware {
  checkOptions(options)
  const tracer = options.tracer ?? trace.getTracer(NAME)
  const duration = (options.meter ?? metrics.getMeter(NAME)).createHistogram('http.server.request.duration', {
    unit: 's',
    description: 'From the arrival of a request to the end of its response.',
    advice: { explicitBucketBoundaries: BUCKETS },
  })
  const propagatorNow = (): Propagator => options.propagator ?? (propagation.fields().length > 0 ? propagation : w3c)

  return function traceRequest(req, res, next) {
    const propagator = propagatorNow()
    const parent = propagator.extract(ROOT_CONTEXT, req, fromRequest)
    const method = known.has(req.method!) ? req.method! : '_OTHER'
    const span = tracer.startSpan(
      method === '_OTHER' ? 'HTTP' : method,
      { kind: SpanKind.SERVER, attributes: attributesOf(req, method) },
      parent,
    )
    const within = trace.setSpan(parent, span)
    handOn(req, within, propagator)
    contextOf(req).watch = watchAttempts(tracer, within, propagator)
    const startedAt = performance.now()
    whenOver(req, res, () => finish(req, res, method, span, duration, (performance.now() - startedAt) / 1_000))

    context.with(within, next)
  }
}

/**
 * {@link tracing} for `createGateway`.
 *
 * @example
 * createGateway(config, { telemetry: openTelemetry() })
 */
export function openTelemetry(options: OpenTelemetryOptions = {}): Telemetry {
  return { trace: tracing(options) }
}

const fromRequest: TextMapGetter<IncomingMessage> = {
  keys: ({ headers }) => Object.keys(headers),
  get: ({ headers }, name) => {
    // Given twice, Node joins them, and nobody can tell which one is meant: then there is none.
    const value = headers[name.toLowerCase()]
    return Array.isArray(value) ? undefined : value
  },
}

/**
 * Puts this span in the place of the one the request came with, so that whoever reads the request's headers, such as
 * the proxy, speaks of this one. A trace that was not valid ends here, and its state with it.
 */
function handOn(req: IncomingMessage, within: ReturnType<typeof trace.setSpan>, propagator: Propagator): void {
  const headers = fieldsOf(within, propagator)
  const replaced = new Set([...propagator.fields().map((name) => name.toLowerCase()), ...Object.keys(headers)])
  if (replaced.has('traceparent')) replaced.add('tracestate')

  const raw = req.rawHeaders
  let kept = 0
  for (let index = 0; index < raw.length; index += 2) {
    if (replaced.has(raw[index]!.toLowerCase())) continue

    raw[kept] = raw[index]!
    raw[kept + 1] = raw[index + 1]!
    kept += 2
  }
  raw.length = kept
  for (const name of replaced) delete req.headers[name]
  for (const [name, value] of Object.entries(headers)) {
    raw.push(name, value)
    req.headers[name] = value
  }
}

function attributesOf(req: IncomingMessage, method: string): Attributes {
  const { host = req.headers[':authority'] } = req.headers
  const [, name, port] = /^(\[[0-9a-f:.]+\]|[\w.-]+)(?::(\d{1,5}))?$/i.exec(typeof host === 'string' ? host : '') ?? []
  const encrypted = (req.socket as { encrypted?: boolean }).encrypted === true

  return {
    'http.request.method': method,
    ...(method === '_OTHER' && { 'http.request.method_original': req.method }),
    'url.path': originalUrl(req).split('?', 1)[0]!,
    'url.scheme': encrypted ? 'https' : 'http',
    ...(name !== undefined && { 'server.address': name }),
    ...(port !== undefined && { 'server.port': Number(port) }),
    'network.peer.address': peerAddress(req),
    'network.protocol.version': req.httpVersionMajor === 2 ? '2' : req.httpVersion,
    ...(req.headers['user-agent'] !== undefined && { 'user_agent.original': req.headers['user-agent'] }),
  }
}

function finish(
  req: IncomingMessage,
  res: ServerResponse,
  method: string,
  span: Span,
  duration: Histogram,
  seconds: number,
): void {
  const { route, address, upstream, attempts, error } = contextOf(req)
  const status = statusOf(res)
  // The client left before it was told anything: there was no status, and nobody here has failed.
  const left = status === 499 && !isFinished(res)
  const failed = status >= 500
  const errorType = left ? 'MSX_PROXY_CLIENT_GONE' : failed ? (error?.code ?? String(status)) : undefined
  const outcome: Attributes = {
    ...(route !== undefined && { 'http.route': route }),
    ...(!left && { 'http.response.status_code': status }),
    ...(errorType !== undefined && { 'error.type': errorType }),
  }

  if (route !== undefined && method !== '_OTHER') span.updateName(`${method} ${route}`)
  span.setAttributes({
    ...outcome,
    'client.address': address ?? peerAddress(req),
    ...(upstream !== undefined && { 'msx.gateway.upstream': upstream }),
    ...(attempts !== undefined && attempts > 0 && { 'msx.gateway.attempts': attempts }),
  })
  if (failed) span.setStatus({ code: SpanStatusCode.ERROR })
  span.end()

  const scheme = (req.socket as { encrypted?: boolean }).encrypted === true ? 'https' : 'http'
  duration.record(seconds, { 'http.request.method': method, 'url.scheme': scheme, ...outcome })
}

function checkOptions({ tracer, meter, propagator }: OpenTelemetryOptions): void {
  const has = (value: unknown, ...names: string[]): boolean =>
    value === undefined ||
    names.every((name) => typeof (value as Record<string, unknown> | null)?.[name] === 'function')

  if (!has(tracer, 'startSpan')) throw new TypeError('tracing: tracer must be a Tracer of @opentelemetry/api')
  if (!has(meter, 'createHistogram')) throw new TypeError('tracing: meter must be a Meter of @opentelemetry/api')
  if (!has(propagator, 'inject', 'extract', 'fields'))
    throw new TypeError('tracing: propagator must be a TextMapPropagator')
}
