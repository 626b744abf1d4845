import { onTestFinished } from 'vitest'
import { z } from 'zod'
import { type Bus, createBus } from '../bus.js'
import { type Catalogue, defineEvents } from '../catalogue.js'
import { type MemoryTransport, memory } from '../memory/memory.js'
import type { TestDatabase } from '../testing/databases.js'
import type { Transport } from '../transport.js'
import { createOutbox, type Outbox, type OutboxOptions } from './outbox.js'

export type OutboxSchemas = {
  'order.created': z.ZodType<{ orderId: string; n: number }>
  'order.lost': z.ZodType<{ orderId: string }>
  'note.made': z.ZodType<{ text: string }>
}

export const events: Catalogue<OutboxSchemas> = defineEvents<OutboxSchemas>({
  'order.created': {
    schema: z.object({ orderId: z.string(), n: z.number() }),
    key: ({ orderId }) => orderId,
  },
  'order.lost': { schema: z.object({ orderId: z.string() }), key: ({ orderId }) => orderId },
  'note.made': z.object({ text: z.string() }),
})

export interface OutboxFixture {
  readonly outbox: Outbox<OutboxSchemas>
  readonly broker: MemoryTransport
  readonly bus: Bus<OutboxSchemas>
  readonly schema: string
  /** What group 'all' received, as `orderId:n` or the text of a note. */
  readonly received: string[]
}

/** An outbox in a schema of its own, and a bus in memory with a group that takes orders and notes. */
export async function outboxFixture(
  database: TestDatabase,
  options: Partial<OutboxOptions<OutboxSchemas>> & { transport?: Transport } = {},
): Promise<OutboxFixture> {
  const schema = database.schema()
  const outbox = createOutbox({ events, pool: database.pool, schema, ...options })
  await outbox.migrate()

  const broker = memory()
  const bus = createBus({ events, transport: options.transport ?? broker, source: 'tests' })
  onTestFinished(() => bus.close())
  const received: string[] = []
  bus.subscribe('all', ['order.created', 'note.made'], ({ data }) => {
    received.push('text' in data ? data.text : `${data.orderId}:${data.n}`)
  })
  return { outbox, broker, bus, schema, received }
}

/** Waits for something that comes by itself, for 10 s at most. */
export async function until(holds: () => boolean | Promise<boolean>, what = 'it'): Promise<void> {
  const deadline = performance.now() + 10_000
  while (!(await holds())) {
    if (performance.now() > deadline) throw new Error(`waited 10 s for ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 2))
  }
}
