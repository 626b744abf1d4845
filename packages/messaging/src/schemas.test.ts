import { type } from 'arktype'
import * as v from 'valibot'
import { describe, expect, expectTypeOf, test } from 'vitest'
import { z } from 'zod'
import { createBus } from './bus.js'
import { defineEvents } from './catalogue.js'
import { isMessagingError } from './errors.js'
import { virtualClock } from './internal/virtual-clock.js'
import { memory } from './memory/memory.js'

/** The same event in three libraries: a text that becomes a date, a number, an option. */
const events = defineEvents({
  'order.zod': z.object({ id: z.string(), at: z.coerce.date<string>(), count: z.number().optional() }),
  'order.valibot': v.object({
    id: v.string(),
    at: v.pipe(
      v.string(),
      v.transform((text) => new Date(text)),
      v.date(),
    ),
    count: v.optional(v.number()),
  }),
  'order.arktype': {
    schema: type({ id: 'string', at: 'string.date.parse', 'count?': 'number' }),
    version: 2,
    upcast: { 1: (old) => ({ ...(old as object), at: '2026-01-02' }) },
  },
})

const names = ['order.zod', 'order.valibot', 'order.arktype'] as const

function system() {
  const clock = virtualClock()
  const broker = memory({ clock })
  const bus = createBus({ events, transport: broker, source: 'tests' })

  return { broker, bus }
}

describe.each(names)('%s', (name) => {
  test('sends the input of its schema and hands over the output', async () => {
    const { broker, bus } = system()
    const got: unknown[] = []
    bus.subscribe('g', 'order.*', ({ type: is, data }) => {
      got.push([is, data.id, data.at.getUTCFullYear(), data.count])
    })

    await bus.publish(name, { id: '1', at: '2026-05-06', count: 3 })
    await bus.publish(name, { id: '2', at: '2026-05-06' })
    await broker.drain()

    expect(broker.published.map(({ data }) => data)).toEqual([
      { id: '1', at: '2026-05-06', count: 3 },
      { id: '2', at: '2026-05-06' },
    ])
    expect(got).toEqual([
      [name, '1', 2026, 3],
      [name, '2', 2026, undefined],
    ])
  })

  test('is checked when it is published, naming the field', async () => {
    const { broker, bus } = system()
    bus.subscribe('g', name, () => {})

    const error: unknown = await bus.publish(name, { id: 7, at: '2026-05-06' } as never).catch((reason) => reason)

    expect(isMessagingError(error) && error.code).toBe('MSX_VALIDATION')
    expect((error as Error).message).toMatch(/'order\.\w+' as published is not valid: id: /)
    expect(broker.published).toEqual([])
  })

  test('is checked when it is received, whoever published it', async () => {
    const { broker, bus } = system()
    bus.subscribe('g', name, () => {})
    await bus.start()
    const foreign = await broker.connect({ name: 'foreign' })

    for (const body of ['{"id":"1","at":"not a date"}', '{"id":1,"at":"2026-05-06"}', '[]', 'null', '"text"']) {
      const wire = { type: name, body: Buffer.from(body), headers: { 'msx-version': name === 'order.arktype' ? 2 : 1 } }
      await foreign.publish(wire, { mandatory: true })
    }
    await broker.drain()

    expect(broker.deadLetters('g').map(({ code, attempts }) => [code, attempts])).toEqual(
      Array.from({ length: 5 }, () => ['MSX_VALIDATION', 0]),
    )
  })
})

test('an older version is brought up to date before its schema sees it', async () => {
  const { broker, bus } = system()
  const years: number[] = []
  bus.subscribe('g', 'order.arktype', ({ data }) => {
    years.push(data.at.getUTCFullYear())
  })
  await bus.start()
  const foreign = await broker.connect({ name: 'foreign' })

  await foreign.publish({ type: 'order.arktype', body: Buffer.from('{"id":"1"}'), headers: {} }, { mandatory: true })
  await broker.drain()

  expect(years).toEqual([2026])
})

test('types follow each library, and a pattern of several', () => {
  const { bus } = system()

  bus.subscribe('one', 'order.arktype', (message) => {
    expectTypeOf(message.data).toEqualTypeOf<{ id: string; at: Date; count?: number }>()
  })
  bus.subscribe('all', 'order.*', (message) => {
    expectTypeOf(message.type).toEqualTypeOf<'order.zod' | 'order.valibot' | 'order.arktype'>()
    expectTypeOf(message.data.at).toEqualTypeOf<Date>()
  })
  expectTypeOf(bus.publish<'order.valibot'>)
    .parameter(1)
    .toEqualTypeOf<{ id: string; at: string; count?: number | undefined }>()
  expect(bus.health().subscriptions).toHaveLength(2)
})
