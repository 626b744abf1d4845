import {
  type Attributes,
  type Context,
  context,
  type Link,
  type Meter,
  metrics,
  propagation,
  ROOT_CONTEXT,
  type Span,
  SpanKind,
  SpanStatusCode,
  type TextMapGetter,
  type TextMapPropagator,
  type TextMapSetter,
  type Tracer,
  trace,
} from '@opentelemetry/api'
import { checkFunction, refuse } from '../internal/check.js'
import { isReserved } from '../internal/envelope.js'
import { errorType } from '../internal/error-type.js'
import type { MeasurableInbox, MeasurableRelay } from '../outbox-events.js'
import type { ProcessedMessage, Sending, SentMessage, Telemetry } from '../telemetry.js'
import type { WireHeaders } from '../transport.js'
import { createOutboxMeter } from './outbox.js'
import { w3c } from './w3c.js'

export interface OpenTelemetryOptions {
  /** Default: the one the application registered, by the name `@msx/messaging`. */
  readonly tracer?: Tracer | undefined
  /** Default: as for `tracer`. */
  readonly meter?: Meter | undefined
  /** How the trace travels. Default: the one the application registered, else W3C Trace Context. */
  readonly propagator?: TextMapPropagator | undefined
}

/** What {@link openTelemetry} makes. */
export interface OpenTelemetry extends Telemetry {
  /**
   * Measures the relay of an outbox, or an inbox, from now on. Returns what ends that; a second `add` of the same returns
   * the same. A duplicate becomes an event of the span of its attempt.
   *
   * @throws TypeError for anything else.
   */
  add(thing: MeasurableRelay | MeasurableInbox): () => void
}

const NAME = '@msx/messaging'

/** In seconds, as the semantic conventions advise. */
const BUCKETS = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10]

/** What may be anything goes by one name, so that a foreign publisher makes no metrics and span names of its own. */
const UNKNOWN = 'unknown'

/**
 * Traces and measures what a bus sends and handles, by OpenTelemetry's conventions for messaging
 * (https://opentelemetry.io/docs/specs/semconv/messaging/). The span of an attempt is a child of the span that sent the
 * message, and linked to it; each retry is another child. A message without a valid trace begins a new one.
 *
 * @throws TypeError for an option that is wrong.
 * @example
 * const bus = createBus({ events, transport, source: 'order-service', telemetry: openTelemetry() })
 */
export function openTelemetry(options: OpenTelemetryOptions = {}): OpenTelemetry {
  checkOptions(options)
  const tracer = options.tracer ?? trace.getTracer(NAME)
  const meter = options.meter ?? metrics.getMeter(NAME)
  const instruments = createInstruments(meter)
  let outboxMeter: ReturnType<typeof createOutboxMeter> | undefined
  const propagatorNow = (): Pick<TextMapPropagator, 'inject' | 'extract'> =>
    options.propagator ?? (propagation.fields().length > 0 ? propagation : w3c)

  const extracted = (headers: WireHeaders): Context => propagatorNow().extract(ROOT_CONTEXT, headers, getter)

  function begin(message: SentMessage, parent: Context, kind: SpanKind, links: Link[]): Sending & { span: Span } {
    const attributes = attributesOf(message, 'send')
    const span = tracer.startSpan(nameOf(message, 'send'), { kind, attributes, links }, parent)
    const startedAt = performance.now()

    return {
      span,
      headers: {},
      end(failure) {
        finish(span, failure)
        const labels = labelsOf(message, 'send', failure)
        instruments.sent.add(1, labels)
        instruments.operationDuration.record(secondsSince(startedAt), labels)
      },
    }
  }

  /** The message travels with this span. */
  function create(message: SentMessage, parent: Context): Sending {
    const { span, end } = begin(message, parent, SpanKind.PRODUCER, [])
    const headers: Record<string, string> = {}
    propagatorNow().inject(trace.setSpan(parent, span), headers, setter)

    return { headers, end }
  }

  return {
    send(message) {
      // A trace that the publisher hands on itself goes before the one that it runs in.
      const given = extracted(message.headers)

      return create(message, trace.getSpanContext(given) === undefined ? context.active() : given)
    },

    forward(message) {
      // Whatever runs where the relay was started did not cause this message.
      const written = extracted(message.headers)
      const creation = trace.getSpanContext(written)

      // What it travels with is the span that created it, by the conventions; this one says when the broker got it.
      return creation === undefined
        ? create(message, ROOT_CONTEXT)
        : begin(message, written, SpanKind.CLIENT, [{ context: creation }])
    },

    async process(message, attempt) {
      // Whatever runs where deliveries come in did not cause this message.
      const parent = extracted(message.headers)
      const span = startProcessing(tracer, message, parent)
      const startedAt = performance.now()

      const failure = await context.with(trace.setSpan(parent, span), attempt)
      finish(span, failure)
      const labels = labelsOf(message, 'process', failure)
      instruments.consumed.add(1, labels)
      instruments.processDuration.record(secondsSince(startedAt), labels)
      return failure
    },

    add(thing) {
      outboxMeter ??= createOutboxMeter(meter)
      return outboxMeter(thing)
    },
  }
}

function startProcessing(tracer: Tracer, message: ProcessedMessage, parent: Context): Span {
  const creation = trace.getSpanContext(parent)
  const attributes: Attributes = {
    ...attributesOf(message, 'process'),
    'messaging.consumer.group.name': message.group,
    'msx.messaging.attempt': message.attempt,
    'msx.messaging.redelivered': message.redelivered,
  }
  const links = creation === undefined ? [] : [{ context: creation }]

  return tracer.startSpan(nameOf(message, 'process'), { kind: SpanKind.CONSUMER, attributes, links }, parent)
}

interface Instruments {
  readonly sent: ReturnType<Meter['createCounter']>
  readonly consumed: ReturnType<Meter['createCounter']>
  readonly operationDuration: ReturnType<Meter['createHistogram']>
  readonly processDuration: ReturnType<Meter['createHistogram']>
}

function createInstruments(meter: Meter): Instruments {
  const seconds = { unit: 's', advice: { explicitBucketBoundaries: BUCKETS } }
  const messages = { unit: '{message}' }

  return {
    sent: meter.createCounter('messaging.client.sent.messages', {
      ...messages,
      description: 'Messages given to the broker.',
    }),
    consumed: meter.createCounter('messaging.client.consumed.messages', {
      ...messages,
      description: 'Messages given to the application, once per attempt.',
    }),
    operationDuration: meter.createHistogram('messaging.client.operation.duration', {
      ...seconds,
      description: 'How long it took until the broker confirmed a message.',
    }),
    processDuration: meter.createHistogram('messaging.process.duration', {
      ...seconds,
      description: 'How long an attempt to handle a message took.',
    }),
  }
}

type Operation = 'send' | 'process'

function nameOf({ type = UNKNOWN }: SentMessage, operation: Operation): string {
  return `${operation} ${type}`
}

function attributesOf(message: SentMessage, operation: Operation): Attributes {
  const { system, destination, type = UNKNOWN, routingKey, id, correlationId, bodySize } = message

  return {
    'messaging.system': system,
    'messaging.operation.name': operation,
    'messaging.operation.type': operation,
    'messaging.destination.name': destination,
    'messaging.destination.template': type,
    'messaging.message.id': id,
    'messaging.message.body.size': bodySize,
    ...(correlationId !== undefined && { 'messaging.message.conversation_id': correlationId }),
    ...(system === 'rabbitmq' && { 'messaging.rabbitmq.destination.routing_key': routingKey }),
  }
}

/** Few values each. */
function labelsOf(
  message: SentMessage & { readonly group?: string },
  operation: Operation,
  failure: { readonly error: unknown } | undefined,
): Attributes {
  return {
    'messaging.system': message.system,
    'messaging.operation.name': operation,
    'messaging.destination.template': message.type ?? UNKNOWN,
    ...(message.group !== undefined && { 'messaging.consumer.group.name': message.group }),
    ...(failure !== undefined && { 'error.type': errorType(failure.error) }),
  }
}

function finish(span: Span, failure: { readonly error: unknown } | undefined): void {
  if (failure !== undefined && span.isRecording()) {
    const { error } = failure
    span.setAttribute('error.type', errorType(error))
    if (error instanceof Error) span.recordException(error)
    span.setStatus({ code: SpanStatusCode.ERROR, ...(error instanceof Error && { message: error.message }) })
  }
  span.end()
}

function secondsSince(startedAt: number): number {
  return (performance.now() - startedAt) / 1_000
}

/** Headers come from anybody: what is no text is not there. */
const getter: TextMapGetter<WireHeaders> = {
  keys: (headers) => Object.keys(headers),
  get(headers, name) {
    const value = Object.hasOwn(headers, name) ? headers[name] : undefined
    return typeof value === 'string' ? value : undefined
  },
}

const setter: TextMapSetter<Record<string, string>> = {
  set(headers, name, value) {
    if (!isReserved(name)) headers[name] = value
  },
}

function checkOptions(options: OpenTelemetryOptions): void {
  const where = 'openTelemetry'
  if (typeof options !== 'object' || options === null) refuse(where, 'options', options, 'an object')
  const { tracer, meter, propagator } = options
  if (tracer !== undefined) checkFunction(where, 'tracer.startSpan', tracer?.startSpan)
  if (meter !== undefined) checkFunction(where, 'meter.createCounter', meter?.createCounter)
  if (propagator !== undefined) checkFunction(where, 'propagator.inject', propagator?.inject)
}
