import {
  type Attributes,
  type Context,
  context,
  type Meter,
  metrics,
  propagation,
  ROOT_CONTEXT,
  type Span,
  SpanKind,
  SpanStatusCode,
  type TextMapPropagator,
  type Tracer,
  trace,
} from '@opentelemetry/api'
import { shown } from './internal/check.js'
import type { Telemetry, TracedSaga } from './telemetry.js'

export type { RunTelemetry, Telemetry, TracedAttempt, TracedSaga } from './telemetry.js'

export interface OpenTelemetryOptions {
  /** Default: the one the application registered, by the name `@msx/saga`. */
  readonly tracer?: Tracer | undefined
  /** Default: as for `tracer`. */
  readonly meter?: Meter | undefined
  /** How the trace is kept in a saga's row. Default: the one the application registered, else W3C Trace Context. */
  readonly propagator?: TextMapPropagator | undefined
}

const NAME = '@msx/saga'
/** In seconds. */
const BUCKETS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60]

/**
 * Traces and measures what an engine does. The start of a saga is one span; each stay of it in a process another, below the first
 * and linked to it, however many processes and restarts there are; each attempt of a step and of a compensation one below that.
 *
 * @throws TypeError for an option that is wrong.
 * @example
 * const engine = createSagaEngine({ store, sagas: [checkout], telemetry: openTelemetry() })
 */
export function openTelemetry(options: OpenTelemetryOptions = {}): Telemetry {
  checkOptions(options)
  const tracer = options.tracer ?? trace.getTracer(NAME)
  const meter = options.meter ?? metrics.getMeter(NAME)
  const propagator = (): Pick<TextMapPropagator, 'inject' | 'extract'> =>
    options.propagator ?? (propagation.fields().length > 0 ? propagation : traceparent)
  const attempts = meter.createHistogram('msx.saga.step.duration', {
    description: 'Attempts of steps and compensations.',
    unit: 's',
    advice: { explicitBucketBoundaries: BUCKETS },
  })
  const stays = meter.createCounter('msx.saga.runs', {
    description: 'Stays of sagas in a process, by the status at their end.',
  })

  return {
    start(saga) {
      const attributes = attributesOf(saga)
      const span = tracer.startSpan(`start ${saga.name}`, { kind: SpanKind.PRODUCER, attributes })
      const carrier: Record<string, string> = {}
      propagator().inject(trace.setSpan(context.active(), span), carrier, setter)
      return {
        carrier: Object.keys(carrier).length > 0 ? JSON.stringify(carrier) : undefined,
        end: (failure) => finish(span, failure),
      }
    },

    run(saga, carrier) {
      const parent = propagator().extract(ROOT_CONTEXT, parsed(carrier), getter)
      const started = trace.getSpanContext(parent)
      const links = started ? [{ context: started }] : []
      const attributes = attributesOf(saga)
      const span = tracer.startSpan(`saga ${saga.name}`, { kind: SpanKind.CONSUMER, attributes, links }, parent)
      const inside: Context = trace.setSpan(parent, span)

      return {
        async attempt({ step, attempt, direction }, work) {
          const undo = direction === 'backward'
          const child = tracer.startSpan(
            `${undo ? 'undo' : 'step'} ${step}`,
            { attributes: { ...attributes, 'msx.saga.step': step, 'msx.saga.attempt': attempt } },
            inside,
          )
          const began = performance.now()
          let failure: { readonly error: unknown } | undefined
          try {
            return await context.with(trace.setSpan(inside, child), work)
          } catch (error) {
            failure = { error }
            throw error
          } finally {
            finish(child, failure)
            attempts.record((performance.now() - began) / 1_000, {
              'msx.saga.name': saga.name,
              'msx.saga.step': step,
              'msx.saga.direction': direction,
              ...(failure && { 'error.type': errorType(failure.error) }),
            })
          }
        },

        end(status) {
          span.setAttribute('msx.saga.status', status)
          if (status === 'stuck') span.setStatus({ code: SpanStatusCode.ERROR, message: 'stuck' })
          span.end()
          stays.add(1, { 'msx.saga.name': saga.name, 'msx.saga.status': status })
        },
      }
    },
  }
}

function attributesOf({ sagaId, name, version }: TracedSaga): Attributes {
  return { 'msx.saga.id': sagaId, 'msx.saga.name': name, 'msx.saga.version': version }
}

function finish(span: Span, failure: { readonly error: unknown } | undefined): void {
  if (failure) {
    const { error } = failure
    const type = errorType(error)
    span.setAttribute('error.type', type)
    span.setStatus({ code: SpanStatusCode.ERROR, message: error instanceof Error ? error.message : type })
  }
  span.end()
}

/** A failure in one word of few: a code of ours, or the name of the error's class. Never its text. */
function errorType(error: unknown): string {
  try {
    if (!(error instanceof Error)) return '_OTHER'
    const { code } = error as { code?: unknown }
    return typeof code === 'string' && code.startsWith('MSX_') ? code : error.name || '_OTHER'
  } catch {
    return '_OTHER'
  }
}

type Carrier = Record<string, string>

const setter = {
  set(carrier: Carrier, key: string, value: string): void {
    carrier[key] = value
  },
}
const getter = {
  get: (carrier: Carrier, key: string): string | undefined => carrier[key],
  keys: (carrier: Carrier): string[] => Object.keys(carrier),
}

/** What a row keeps is not ours alone: another version may have written it. */
function parsed(carrier: string | undefined): Carrier {
  try {
    const value: unknown = JSON.parse(carrier ?? '{}')
    return typeof value === 'object' && value !== null ? (value as Carrier) : {}
  } catch {
    return {}
  }
}

/** W3C Trace Context (https://www.w3.org/TR/trace-context/), for when the application chose no propagator. */
const traceparent: Pick<TextMapPropagator<Carrier>, 'inject' | 'extract'> = {
  inject(from, carrier) {
    const span = trace.getSpanContext(from)
    if (span === undefined || !trace.isSpanContextValid(span)) return
    carrier['traceparent'] =
      `00-${span.traceId}-${span.spanId}-${(span.traceFlags & 0xff).toString(16).padStart(2, '0')}`
  },
  extract(into, carrier) {
    const [, traceId = '', spanId = '', flags = '0'] =
      /^00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})$/.exec(String(carrier['traceparent'])) ?? []
    const span = { traceId, spanId, traceFlags: Number.parseInt(flags, 16) & 1, isRemote: true }
    return trace.isSpanContextValid(span) ? trace.setSpanContext(into, span) : into
  },
}

function checkOptions(options: OpenTelemetryOptions): void {
  if (typeof options !== 'object' || options === null)
    throw new TypeError(`openTelemetry: options must be an object, not ${shown(options)}`)
  const { tracer, meter, propagator } = options
  const needed: [string, unknown, unknown][] = [
    ['tracer.startSpan', tracer, tracer?.startSpan],
    ['meter.createHistogram', meter, meter?.createHistogram],
    ['propagator.inject', propagator, propagator?.inject],
  ]
  for (const [name, given, method] of needed)
    if (given !== undefined && typeof method !== 'function')
      throw new TypeError(`openTelemetry: ${name} must be a function, not ${shown(method)}`)
}
