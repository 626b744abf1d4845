import { context, propagation } from '@opentelemetry/api'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createSpans, followSpans, inSpan, presentTrace, type TraceContext } from './spans.js'

describe('the spans that are kept', () => {
  it('are shown as they were, all of them or those of one trace', () => {
    const { tracer, list } = createSpans('orders')
    const first = tracer.startSpan('first', { attributes: { 'url.path': '/orders/1' } })
    first.addEvent('retry').end()
    const other = tracer.startSpan('other', { links: [{ context: first.spanContext() }] })
    other.setAttribute('seen.with', first.spanContext().traceId).end()

    expect(list().map(({ name }) => name)).toEqual(['first', 'other'])
    expect(list(first.spanContext().traceId)).toEqual([
      {
        ...first.spanContext(),
        traceFlags: undefined,
        service: 'orders',
        name: 'first',
        kind: 'internal',
        start: expect.any(Number),
        duration: expect.any(Number),
        failed: false,
        attributes: { 'url.path': '/orders/1' },
        events: [{ name: 'retry', at: expect.any(Number) }],
        links: [],
      },
    ])
    const { traceId, spanId } = first.spanContext()
    expect(list().at(-1)?.links).toEqual([{ traceId, spanId }])
  })

  it('are the newest 2,000', () => {
    const { tracer, list } = createSpans('orders')

    for (let n = 0; n < 5_000; n += 1) tracer.startSpan(`span ${n}`).end()

    expect(list().map(({ name }) => name)).toEqual(Array.from({ length: 2_000 }, (_, n) => `span ${3_000 + n}`))
  })

  it('are fewer when they are long, so that they take no more than two megabytes', () => {
    const { tracer, list } = createSpans('orders')
    const attributes = { 'url.path': `/${'x'.repeat(10_000)}` }

    for (let n = 0; n < 1_000; n += 1) tracer.startSpan(`span ${n}`, { attributes }).end()

    expect(JSON.stringify(list()).length).toBeLessThan(2_100_000)
    expect(list().at(-1)?.name).toBe('span 999')
  })
})

describe('a span that is to be below another one than that of the present work', () => {
  beforeAll(followSpans)

  afterAll(() => {
    context.disable()
    propagation.disable()
  })

  /** Work that is asked for in one span and done in another one, later; the three spans of it. */
  async function askedAndDone(kept: (asked: TraceContext) => TraceContext | undefined) {
    const { tracer, list } = createSpans('orders')
    const asked = await inSpan(tracer, 'ask', {}, async () => presentTrace())

    await inSpan(tracer, 'attempt', {}, () =>
      inSpan(tracer, 'work', { below: kept(asked) }, () => inSpan(tracer, 'call', {}, async () => undefined)),
    )

    const named = (name: string) => list().find((span) => span.name === name)!
    return { ask: named('ask'), attempt: named('attempt'), work: named('work'), call: named('call') }
  }

  it('is linked to that of the present work, and has below it what is done in it', async () => {
    const { ask, attempt, work, call } = await askedAndDone((asked) => asked)

    expect(work).toMatchObject({
      traceId: ask.traceId,
      parentId: ask.spanId,
      links: [{ traceId: attempt.traceId, spanId: attempt.spanId }],
    })
    expect(call).toMatchObject({ traceId: ask.traceId, parentId: work.spanId, links: [] })
  })

  it('goes on with the state of the trace as well as with its ids', async () => {
    const { tracer, list } = createSpans('orders')
    const below = { traceparent: `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01`, tracestate: 'vendor=1' }

    const kept = await inSpan(tracer, 'work', { below }, async () => presentTrace())

    expect(list()).toMatchObject([{ traceId: 'a'.repeat(32), parentId: 'b'.repeat(16), links: [] }])
    expect(kept).toMatchObject({ tracestate: 'vendor=1' })
  })

  it.each<[string, unknown]>([
    ['nothing', undefined],
    ['null', null],
    ['no span', {}],
    ['a number', 7],
    ['a text', '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'],
    ['another type', { traceparent: { traceId: 'a'.repeat(32) } }],
    ['no ids', { traceparent: 'traceparent' }],
    ['ids of zeros', { traceparent: `00-${'0'.repeat(32)}-${'0'.repeat(16)}-01` }],
    ['ids that are too short', { traceparent: '00-abc-def-01' }],
    ['more than its version has', { traceparent: `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01-more` }],
    ['a state alone', { tracestate: 'vendor=1' }],
  ])('is below that of the present work, and linked to none, where %s was kept', async (_, kept) => {
    const { attempt, work, call } = await askedAndDone(() => kept as TraceContext)

    expect(work).toMatchObject({ traceId: attempt.traceId, parentId: attempt.spanId, links: [] })
    expect(call).toMatchObject({ parentId: work.spanId })
  })
})
