import {
  createTraceState,
  isSpanContextValid,
  type SpanContext,
  type TextMapPropagator,
  TraceFlags,
  trace,
} from '@opentelemetry/api'

/** version, trace id, parent id, flags. A later version may have more to say; version ff is none. */
const TRACEPARENT = /^(?!ff)([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/

/** Fields longer than these are not read: nobody honest writes them. */
const LONGEST_TRACEPARENT = 512

/** W3C Trace Context (https://www.w3.org/TR/trace-context/), for when the application chose no propagator. */
export const w3c: TextMapPropagator = {
  fields: () => ['traceparent', 'tracestate'],

  inject(context, carrier, setter) {
    const span = trace.getSpanContext(context)
    if (span === undefined || !isSpanContextValid(span)) return

    const flags = (span.traceFlags & 0xff).toString(16).padStart(2, '0')
    setter.set(carrier, 'traceparent', `00-${span.traceId}-${span.spanId}-${flags}`)
    const state = span.traceState?.serialize()
    if (state) setter.set(carrier, 'tracestate', state)
  },

  extract(context, carrier, getter) {
    const parent = parseParent(getter.get(carrier, 'traceparent'))
    if (parent === undefined) return context

    const state = getter.get(carrier, 'tracestate')
    const traceState = typeof state === 'string' && state !== '' ? createTraceState(state) : undefined
    return trace.setSpanContext(context, { ...parent, ...(traceState && { traceState }) })
  },
}

function parseParent(field: unknown): SpanContext | undefined {
  if (typeof field !== 'string' || field.length > LONGEST_TRACEPARENT) return undefined

  const [, version, traceId = '', spanId = '', flags = '', more] = TRACEPARENT.exec(field) ?? []
  if (version === undefined || (version === '00' && more !== undefined)) return undefined

  const span = { traceId, spanId, traceFlags: Number.parseInt(flags, 16) & TraceFlags.SAMPLED, isRemote: true }
  return isSpanContextValid(span) ? span : undefined
}
