import {
  context,
  propagation,
  ROOT_CONTEXT,
  type Span,
  SpanKind,
  SpanStatusCode,
  type Tracer,
} from '@opentelemetry/api'
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks'
import { W3CTraceContextPropagator } from '@opentelemetry/core'
import { BasicTracerProvider, type ReadableSpan, type SpanProcessor } from '@opentelemetry/sdk-trace-base'
import { createExporter } from './otlp.js'

/** One span as it can be looked at. Times are milliseconds since 1970. */
export interface SpanView {
  readonly traceId: string
  readonly spanId: string
  readonly parentId: string | undefined
  readonly service: string
  readonly name: string
  readonly kind: string
  readonly start: number
  readonly duration: number
  readonly failed: boolean
  readonly attributes: Readonly<Record<string, unknown>>
  readonly events: readonly { readonly name: string; readonly at: number }[]
}

/** The newest spans of a service. */
export interface Spans {
  readonly tracer: Tracer
  /** Those of one trace, or all that are kept, the oldest first. */
  list(traceId?: string): SpanView[]
  /** Sends what is still to be sent. */
  close(): Promise<void>
}

const kept = 2_000

export const propagator = new W3CTraceContextPropagator()

/**
 * Spans follow the work through callbacks and promises from now on, in this whole process, and travel as W3C Trace
 * Context says. Once per process, by whoever runs services in it.
 */
export function followSpans(): void {
  context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable())
  propagation.setGlobalPropagator(propagator)
}

/** Traces one service: the newest spans stay in memory, and all of them go to `endpoint`, if there is one (OTLP over HTTP). */
export function createSpans(service: string, endpoint?: string): Spans {
  const ring: ReadableSpan[] = []
  const keep: SpanProcessor = {
    onStart() {},
    onEnd(span) {
      ring.push(span)
      if (ring.length > kept * 2) ring.splice(0, kept)
    },
    forceFlush: async () => {},
    shutdown: async () => {},
  }
  const exporter = endpoint === undefined ? undefined : createExporter(service, endpoint)
  const provider = new BasicTracerProvider({
    spanProcessors: exporter === undefined ? [keep] : [keep, exporter],
  })

  return {
    tracer: provider.getTracer('shop'),
    list(traceId) {
      const newest = ring.slice(-kept)
      const wanted = traceId === undefined ? newest : newest.filter((span) => span.spanContext().traceId === traceId)
      return wanted.map((span) => viewOf(service, span))
    },
    close: () => provider.shutdown(),
  }
}

function viewOf(service: string, span: ReadableSpan): SpanView {
  const { traceId, spanId } = span.spanContext()
  return {
    traceId,
    spanId,
    parentId: span.parentSpanContext?.spanId,
    service,
    name: span.name,
    kind: SpanKind[span.kind].toLowerCase(),
    start: milliseconds(span.startTime),
    duration: milliseconds(span.duration),
    failed: span.status.code === SpanStatusCode.ERROR,
    attributes: span.attributes,
    events: span.events.map(({ name, time }) => ({ name, at: milliseconds(time) })),
  }
}

function milliseconds([seconds, nanoseconds]: readonly [number, number]): number {
  return seconds * 1_000 + nanoseconds / 1e6
}

/** Runs `work` in a span of its own, below the one that the present work belongs to. */
export async function inSpan<T>(
  tracer: Tracer,
  name: string,
  work: (span: Span) => Promise<T>,
  kind: SpanKind = SpanKind.INTERNAL,
): Promise<T> {
  return tracer.startActiveSpan(name, { kind }, async (span) => {
    try {
      return await work(span)
    } catch (error) {
      span.setStatus({ code: SpanStatusCode.ERROR })
      span.setAttribute('error.type', error instanceof Error ? error.name : '_OTHER')
      throw error
    } finally {
      span.end()
    }
  })
}

export interface Carrier {
  get(name: string): string | undefined
  set(name: string, value: string): void
}

/** Writes the present trace on what is about to leave. */
export function inject(carrier: Pick<Carrier, 'set'>): void {
  propagator.inject(context.active(), carrier, { set: (target, name, value) => target.set(name, value) })
}

/** The trace that something which has arrived belongs to. */
export function extracted(carrier: Pick<Carrier, 'get'>) {
  return propagator.extract(ROOT_CONTEXT, carrier, {
    get: (source, name) => source.get(name),
    keys: () => ['traceparent', 'tracestate'],
  })
}
