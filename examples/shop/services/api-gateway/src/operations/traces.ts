import type { SpanView } from '@shop/platform'

/** A trace in one line. */
export interface TraceLine {
  readonly traceId: string
  /** Of the span that began it, or of the earliest that is kept. */
  readonly name: string
  readonly start: number
  /** From the first beginning to the last end, in milliseconds. */
  readonly duration: number
  readonly services: readonly string[]
  readonly spans: number
  readonly failed: boolean
}

/** The newest first. */
export function linesOf(spans: readonly SpanView[], limit: number): TraceLine[] {
  const traces = new Map<string, SpanView[]>()
  for (const span of spans) {
    const trace = traces.get(span.traceId)
    if (trace === undefined) traces.set(span.traceId, [span])
    else trace.push(span)
  }

  return [...traces.values()]
    .map(lineOf)
    .sort((a, b) => b.start - a.start)
    .slice(0, limit)
}

function lineOf(spans: readonly SpanView[]): TraceLine {
  const sorted = inOrder(spans)
  const first = sorted[0] as SpanView // a trace is made by its first span
  const root = sorted.find(({ parentId }) => parentId === undefined) ?? first

  return {
    traceId: first.traceId,
    name: root.name,
    start: first.start,
    duration: Math.max(...sorted.map(({ start, duration }) => start + duration)) - first.start,
    services: [...new Set(sorted.map(({ service }) => service))],
    spans: sorted.length,
    failed: sorted.some(({ failed }) => failed),
  }
}

export function inOrder(spans: readonly SpanView[]): SpanView[] {
  return [...spans].sort((a, b) => a.start - b.start)
}
