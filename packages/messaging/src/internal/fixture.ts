import type { StandardSchemaV1 } from '@standard-schema/spec'
import * as v from 'valibot'
import { z } from 'zod'
import { type Bus, type BusOptions, createBus } from '../bus.js'
import { type Catalogue, defineEvents } from '../catalogue.js'
import { type MemoryTransport, memory } from '../memory/memory.js'
import { type VirtualClock, virtualClock } from './virtual-clock.js'

export type TestSchemas = {
  'order.created': StandardSchemaV1<{ orderId: string; at?: unknown }, { orderId: string; at?: Date | undefined }>
  'order.cancelled': StandardSchemaV1<{ orderId: string }>
  'order.line.added': StandardSchemaV1<{ sku: string }>
  'price.asked': StandardSchemaV1<{ sku: string }>
  'price.told': StandardSchemaV1<{ cents: number }>
}

/** The events of the tests. */
export const events: Catalogue<TestSchemas> = defineEvents<TestSchemas>({
  'order.created': z.object({ orderId: z.string(), at: z.coerce.date().optional() }),
  'order.cancelled': v.object({ orderId: v.string() }),
  'order.line.added': { schema: z.object({ sku: z.string() }), optional: true },
  'price.asked': z.object({ sku: z.string() }),
  'price.told': z.object({ cents: z.number() }),
})

export interface Fixture {
  readonly clock: VirtualClock
  readonly broker: MemoryTransport
  readonly bus: Bus<TestSchemas>
}

export function fixture(options: Partial<BusOptions<TestSchemas>> = {}): Fixture {
  const clock = virtualClock()
  const broker = memory({ clock })
  const bus = createBus({ events, transport: broker, source: 'tests', ...options })

  return { clock, broker, bus }
}

/** A promise and what settles it. */
export function deferred(): { readonly promise: Promise<void>; open(): void } {
  let resolve = (): void => {}
  const promise = new Promise<void>((done) => {
    resolve = done
  })

  return { promise, open: () => resolve() }
}
