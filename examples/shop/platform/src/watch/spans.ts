import {
  context,
  propagation,
  ROOT_CONTEXT,
  type Span,
  SpanKind,
  type SpanOptions,
  SpanStatusCode,
  type Tracer,
  trace,
} from '@opentelemetry/api'
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks'
import { W3CTraceContextPropagator } from '@opentelemetry/core'
import { BasicTracerProvider, type ReadableSpan, type SpanProcessor } from '@opentelemetry/sdk-trace-base'
import { createExporter } from './otlp.js'

/** One span as it can be looked at. Times are milliseconds since 1970. */
export interface SpanView {
  readonly traceId: string
  readonly spanId: string
  readonly parentId?: string | undefined
  readonly service: string
  readonly name: string
  readonly kind: string
  readonly start: number
  readonly duration: number
  readonly failed: boolean
  readonly attributes: Readonly<Record<string, unknown>>
  readonly events: readonly { readonly name: string; readonly at: number }[]
  /** Spans that it has to do with, be they above it or not. */
  readonly links: readonly { readonly traceId: string; readonly spanId: string }[]
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

/** In characters of all of them together, a thousand each: paths and ids come from outside, and may be long. */
const mostText = 2_000_000

/** So many more may gather until the oldest are dropped, all at once. */
const slack = 250

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
  // As text: a third of what its objects take, and one thing instead of twenty to the garbage collector.
  const ring: string[] = []
  let length = 0
  const keep: SpanProcessor = {
    onStart() {},
    onEnd(span) {
      const text = inOnePiece(JSON.stringify(viewOf(service, span)))
      ring.push(text)
      length += text.length
      while (ring.length > kept + slack || length > mostText) {
        for (const dropped of ring.splice(0, slack)) length -= dropped.length
      }
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
      const wanted = traceId === undefined ? newest : newest.filter((text) => text.includes(traceId))
      const views = wanted.map((text) => JSON.parse(text) as SpanView)
      return traceId === undefined ? views : views.filter((span) => span.traceId === traceId)
    },
    close: () => provider.shutdown(),
  }
}

/** The same text. What `JSON.stringify` returns is a tree of pieces, and stays one for as long as nobody reads it. */
function inOnePiece(text: string): string {
  return Buffer.from(text).toString()
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
    links: span.links.map(({ context: { traceId, spanId } }) => ({ traceId, spanId })),
  }
}

function milliseconds([seconds, nanoseconds]: readonly [number, number]): number {
  return seconds * 1_000 + nanoseconds / 1e6
}

export interface InSpanOptions extends Pick<SpanOptions, 'kind' | 'attributes'> {
  /**
   * The span to be below instead of the one that the present work belongs to, which is then linked. What cannot be read
   * tells of none.
   */
  readonly below?: TraceContext | undefined
}

/** Runs `work` in a span of its own, below the one that the present work belongs to. */
export async function inSpan<T>(
  tracer: Tracer,
  name: string,
  { below, ...options }: InSpanOptions,
  work: (span: Span) => Promise<T>,
): Promise<T> {
  const present = context.active()
  const parent = extracted({ get: (header) => below?.[header] }, present)
  const left = parent === present ? undefined : trace.getSpanContext(present)
  const links = left === undefined ? [] : [{ context: left }]

  return tracer.startActiveSpan(name, { ...options, links }, parent, async (span) => {
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

/** A span written down by W3C Trace Context, by the names of its headers: for work that is done later, wherever that is. */
export type TraceContext = Readonly<Record<string, string>>

/** The span that the present work belongs to, to be kept. */
export function presentTrace(): TraceContext {
  const headers: Record<string, string> = {}
  inject({
    set(name, value) {
      headers[name] = value
    },
  })
  return headers
}

/** The trace that something which has arrived belongs to. `otherwise`: where it says nothing that can be read. */
export function extracted(carrier: Pick<Carrier, 'get'>, otherwise = ROOT_CONTEXT) {
  return propagator.extract(otherwise, carrier, {
    get: (source, name) => source.get(name),
    keys: () => ['traceparent', 'tracestate'],
  })
}
