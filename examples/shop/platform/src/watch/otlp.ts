import type { Attributes, AttributeValue, SpanKind } from '@opentelemetry/api'
import { BatchSpanProcessor, type ReadableSpan, type SpanExporter } from '@opentelemetry/sdk-trace-base'

/** What `ExportResultCode` of the SDK calls success and failure. */
const success = 0
const failed = 1

const patience = 5_000

/** Sends spans in batches to a collector: OTLP over HTTP, as JSON (https://opentelemetry.io/docs/specs/otlp/). */
export function createExporter(service: string, endpoint: string): BatchSpanProcessor {
  const url = `${endpoint.replace(/\/$/, '')}/v1/traces`
  const exporter: SpanExporter = {
    export(spans, done) {
      send(url, requestOf(service, spans)).then(
        () => done({ code: success }),
        (error: Error) => done({ code: failed, error }),
      )
    },
    shutdown: async () => {},
  }

  return new BatchSpanProcessor(exporter, { scheduledDelayMillis: 1_000 })
}

async function send(url: string, request: object): Promise<void> {
  const response = await fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(request),
    signal: AbortSignal.timeout(patience),
  })
  await response.body?.cancel()
  if (!response.ok) throw new Error(`the collector answered ${response.status}`)
}

function requestOf(service: string, spans: readonly ReadableSpan[]): object {
  return {
    resourceSpans: [
      {
        resource: { attributes: attributesOf({ 'service.name': service, 'service.namespace': 'shop' }) },
        scopeSpans: [{ scope: { name: 'shop' }, spans: spans.map(spanOf) }],
      },
    ],
  }
}

function spanOf(span: ReadableSpan): object {
  const { traceId, spanId } = span.spanContext()
  return {
    traceId,
    spanId,
    ...(span.parentSpanContext !== undefined && { parentSpanId: span.parentSpanContext.spanId }),
    name: span.name,
    kind: kindOf(span.kind),
    startTimeUnixNano: nanoseconds(span.startTime),
    endTimeUnixNano: nanoseconds(span.endTime),
    attributes: attributesOf(span.attributes),
    events: span.events.map(({ name, time, attributes = {} }) => ({
      name,
      timeUnixNano: nanoseconds(time),
      attributes: attributesOf(attributes),
    })),
    links: span.links.map(({ context }) => ({ traceId: context.traceId, spanId: context.spanId })),
    status: { code: span.status.code },
  }
}

/** The API counts kinds from 0, the protocol from 1. */
function kindOf(kind: SpanKind): number {
  return kind + 1
}

/** Too large for a number, so it travels as text. */
function nanoseconds([seconds, rest]: readonly [number, number]): string {
  return String(BigInt(seconds) * 1_000_000_000n + BigInt(rest))
}

function attributesOf(attributes: Attributes): object[] {
  return Object.entries(attributes).flatMap(([key, value]) =>
    value === undefined ? [] : { key, value: encoded(value) },
  )
}

function encoded(value: AttributeValue): object {
  if (typeof value === 'boolean') return { boolValue: value }
  if (typeof value === 'number') return Number.isInteger(value) ? { intValue: String(value) } : { doubleValue: value }
  if (typeof value === 'string') return { stringValue: value }

  return { arrayValue: { values: value.flatMap((item) => (item == null ? [] : encoded(item))) } }
}
