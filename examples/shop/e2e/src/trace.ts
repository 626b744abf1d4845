/** As much of a span as tells where in its trace it is. */
export interface PlacedSpan {
  readonly name: string
  readonly spanId: string
  readonly parentId?: string | undefined
  readonly links: readonly { readonly spanId: string }[]
}

/** By their names: the spans above one, the nearest first, and those that it is linked to. */
export interface Place {
  readonly above: readonly string[]
  readonly linkedTo: readonly string[]
}

/** Where the reservation of an order is, as docs/shop/tracing.md draws it and says why. */
export const placeOfReservation: Place = {
  above: ['createOrder', 'POST /api/orders', 'POST', 'POST /api/orders'],
  linkedTo: ['step reserve'],
}

/** Of the span of this name, among those of its trace that have been heard of so far. */
export function placeOf(name: string, spans: readonly PlacedSpan[]): Place {
  const known = (id: string | undefined) => spans.find(({ spanId }) => spanId === id)
  const above = (id: string | undefined): string[] => {
    const span = known(id)
    return span === undefined ? [] : [span.name, ...above(span.parentId)]
  }
  const span = spans.find((one) => one.name === name)

  return {
    above: above(span?.parentId),
    linkedTo: (span?.links ?? []).map(({ spanId }) => known(spanId)?.name ?? 'a span that is not in the trace'),
  }
}
