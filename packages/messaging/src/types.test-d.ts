import * as v from 'valibot'
import { expectTypeOf } from 'vitest'
import { z } from 'zod'
import {
  type Bus,
  createBus,
  defineEvents,
  type EventName,
  type Handler,
  type Input,
  type Match,
  type Matching,
  type Message,
  memory,
  type Output,
  type Pattern,
  type Received,
  type SchemasOf,
  type Words,
} from './index.js'

const events = defineEvents({
  'order.created': z.object({ orderId: z.string(), at: z.string().transform((text) => new Date(text)) }),
  'order.line.added': z.object({ sku: z.string() }),
  'user.deleted': { schema: v.object({ userId: v.string() }), optional: true, key: (data) => data.userId },
  'payment.made': { schema: z.object({ cents: z.coerce.number() }), version: 2, upcast: { 1: (old) => old } },
})
type S = SchemasOf<typeof events>

const bus = createBus({ events, transport: memory(), source: 'types' })

// The catalogue keeps every schema, also of mixed libraries.
expectTypeOf<EventName<S>>().toEqualTypeOf<'order.created' | 'order.line.added' | 'user.deleted' | 'payment.made'>()
expectTypeOf<Input<S, 'order.created'>>().toEqualTypeOf<{ orderId: string; at: string }>()
expectTypeOf<Output<S, 'order.created'>>().toEqualTypeOf<{ orderId: string; at: Date }>()
expectTypeOf<Output<S, 'user.deleted'>>().toEqualTypeOf<{ userId: string }>()
expectTypeOf<Output<S, 'payment.made'>>().toEqualTypeOf<{ cents: number }>()
expectTypeOf(bus).toEqualTypeOf<Bus<S>>()

defineEvents({
  // @ts-expect-error the key is made of the schema's output
  'a.b': { schema: z.object({ id: z.string() }), key: (data) => data.other },
  // @ts-expect-error there is no such option
  'a.c': { schema: z.object({ id: z.string() }), keyy: 1 },
  // @ts-expect-error no schema
  'a.d': { version: 2 },
})

// Patterns match as in AMQP.
expectTypeOf<Words<'a.b.c'>>().toEqualTypeOf<['a', 'b', 'c']>()
expectTypeOf<Match<'order.created' | 'order.line.added', 'order.*'>>().toEqualTypeOf<'order.created'>()
expectTypeOf<Match<'order.created' | 'order.line.added', 'order.#'>>().toEqualTypeOf<
  'order.created' | 'order.line.added'
>()
expectTypeOf<Match<'order', 'order.#'>>().toEqualTypeOf<'order'>()
expectTypeOf<Match<'a.b.c.d', '#.c.#'>>().toEqualTypeOf<'a.b.c.d'>()
expectTypeOf<Match<'a.b', '#.#.b.#'>>().toEqualTypeOf<'a.b'>()
expectTypeOf<Match<'a.b', '*'>>().toBeNever()
expectTypeOf<Matching<S, '*.deleted' | 'payment.*'>>().toEqualTypeOf<'user.deleted' | 'payment.made'>()
expectTypeOf<Matching<S, string>>().toEqualTypeOf<EventName<S>>()
expectTypeOf<Pattern<S, 'order.*'>>().toEqualTypeOf<'order.*'>()
expectTypeOf<Pattern<S, 'ordr.*'>>().toEqualTypeOf<"no event matches 'ordr.*'">()

// What is received is a union discriminated on `type`.
expectTypeOf<Received<S, 'order.created'>>().toEqualTypeOf<Message<S, 'order.created'>>()
bus.subscribe('one', 'order.created', (message) => {
  expectTypeOf(message.type).toEqualTypeOf<'order.created'>()
  expectTypeOf(message.data).toEqualTypeOf<{ orderId: string; at: Date }>()
  expectTypeOf(message.signal).toEqualTypeOf<AbortSignal>()
})
bus.subscribe('several', ['order.#', 'user.*'], async (message, context) => {
  expectTypeOf(message.type).toEqualTypeOf<'order.created' | 'order.line.added' | 'user.deleted'>()
  if (message.type === 'user.deleted') expectTypeOf(message.data).toEqualTypeOf<{ userId: string }>()
  else if (message.type === 'order.line.added') expectTypeOf(message.data).toEqualTypeOf<{ sku: string }>()

  await context.publish('payment.made', { cents: 5 })
  await context.reply('user.deleted', { userId: 'u' })
  // @ts-expect-error not the input of this event
  await context.publish('user.deleted', { user: 'u' })
})

const patterns: string[] = []
bus.subscribe('dynamic', patterns, (message) => {
  expectTypeOf(message.type).toEqualTypeOf<EventName<S>>()
})

// @ts-expect-error no event matches
bus.subscribe('none', 'ordr.*', () => {})
// @ts-expect-error one of the patterns matches no event
bus.subscribe('one of two', ['order.*', 'ordr.*'], () => {})

const typedHandler: Handler<S, 'user.*'> = (message) => {
  expectTypeOf(message.data.userId).toBeString()
}
bus.subscribe('named', 'user.*', typedHandler)

// Publishing takes the input.
await bus.publish('order.created', { orderId: 'o', at: '2026-01-01' })
// @ts-expect-error the output is not the input
await bus.publish('order.created', { orderId: 'o', at: new Date() })
// @ts-expect-error no such event
await bus.publish('order.creatd', { orderId: 'o', at: '' })
await bus.publishMany([
  { type: 'user.deleted', data: { userId: 'u' }, options: { delay: 5 } },
  { type: 'order.line.added', data: { sku: 's' } },
])
// @ts-expect-error the data of another event
await bus.publishMany([{ type: 'user.deleted', data: { sku: 's' } }])

expectTypeOf(
  bus.request('user.deleted', { userId: 'u' }, { reply: 'order.created', timeout: 5 }),
).resolves.toEqualTypeOf<{
  orderId: string
  at: Date
}>()

bus.on('retry', (event) => expectTypeOf(event.delay).toBeNumber())
// @ts-expect-error no such event
bus.on('retried', () => {})
