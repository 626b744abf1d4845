import { createRequire } from 'node:module'
import { expect, test } from 'vitest'

/*
 * A saga's transactional step that publishes through the outbox of @msx/messaging: neither package knows the other, both are given
 * the same transaction. The process dies at each of its calls to the store, and the event leaves once or not at all.
 */
const from = (name: string) => createRequire(new URL(`../packages/${name}/package.json`, import.meta.url))
const { PGlite } = from('saga')('@electric-sql/pglite')
const { createSagaEngine, saga } = await import(from('saga').resolve('@msx/saga'))
const { postgresStore } = await import(from('saga').resolve('@msx/saga/postgres'))
const { createBus, defineEvents, memory } = await import(from('messaging').resolve('@msx/messaging'))
const { createOutbox } = await import(from('messaging').resolve('@msx/messaging/postgres'))

interface Placed {
  readonly order: string
}

const schema = {
  '~standard': { version: 1, vendor: 'test', validate: (value: unknown) => ({ value: value as Placed }) },
}
const events = defineEvents({ 'order.placed': { schema, key: ({ order }: Placed) => order } })
const lease = { ttl: 200 }

type Verb = (...args: unknown[]) => Promise<unknown>
interface Death {
  readonly call: number
  readonly side: 'before' | 'after'
}

/** A store whose process dies at one of the calls that change something: from then on nothing is asked and nothing answered. */
function mortal(store: Record<string, Verb>, death: Death | undefined) {
  let calls = 0
  let isDead = false
  let died: () => void = () => undefined
  const dead = new Promise<void>((resolve) => {
    died = resolve
  })
  const proxy = new Proxy(store, {
    get(target, name) {
      const verb = Reflect.get(target, name)
      if (typeof verb !== 'function') return verb
      return async (...args: unknown[]) => {
        const dies = ['create', 'claim', 'commit', 'commitWith'].includes(String(name)) && death?.call === ++calls
        isDead ||= dies && death?.side === 'before'
        const answer = isDead ? undefined : await verb.apply(target, args)
        isDead ||= dies
        if (!isDead) return answer
        died()
        return new Promise(() => undefined)
      }
    },
  })
  return { store: proxy, dead, calls: () => calls }
}

test.each(['placed', 'refused'])(
  'an event leaves with the checkpoint of its step, once: %s',
  { timeout: 60_000 },
  async (ending) => {
    const pool = new PGlite()
    const outbox = createOutbox({ events, pool })
    await outbox.migrate()
    const store = postgresStore({ pool })
    await store.migrate()
    await pool.query('CREATE TABLE orders (id text)')

    const order = saga('order')
      .step('reserve', () => 'reserved', { compensate: () => undefined })
      .txStep(
        'place',
        async (tx: typeof pool, { input }: { input: Placed }) => {
          await tx.query('INSERT INTO orders VALUES ($1)', [input.order])
          await outbox.publish(tx, 'order.placed', { order: input.order })
          if (ending === 'refused') throw new Error('the limit is reached')
        },
        { retry: { attempts: 2, backoff: () => 0 } },
      )
      .step('thank', () => 'sent')
      .returns(() => 'done')

    const orders: string[] = []
    async function live(death: Death | undefined): Promise<number> {
      const id = `o${orders.length}`
      orders.push(id)
      const doomed = mortal(store, death)
      const first = createSagaEngine({ store: doomed.store, sagas: [order], lease })
      const whole = first.run().then(() => first.start(order, { order: id }, { key: id }))
      const settled = whole.then((handle: { id: string }) => first.settled(handle.id)).catch(() => undefined)
      await Promise.race([settled, doomed.dead])

      const second = createSagaEngine({ store, sagas: [order], lease })
      await second.run()
      const handle = await second.start(order, { order: id }, { key: id })
      const { status } = await second.settled(handle.id, { timeout: 5_000 })
      expect([death, status]).toEqual([death, ending === 'placed' ? 'completed' : 'compensated'])
      await second.close()
      if (!death) await first.close()
      return doomed.calls()
    }

    const calls = await live(undefined)
    expect(calls).toBeGreaterThan(3)
    for (let call = 1; call <= calls; call++)
      for (const side of ['before', 'after'] as const) await live({ call, side })

    const heard: string[] = []
    const broker = memory()
    const bus = createBus({ events, transport: broker, source: 'test' })
    bus.subscribe('all', 'order.placed', async ({ data }: { data: Placed }) => void heard.push(data.order))
    const relay = outbox.relay(bus)
    while ((await outbox.stats()).ready > 0) await new Promise(setImmediate)
    await relay.close()
    await broker.drain()
    await bus.close()

    const placed = (await pool.query('SELECT id FROM orders')).rows.map(({ id }: { id: string }) => id)
    const expected = ending === 'placed' ? [...orders].sort() : []
    expect(placed.sort()).toEqual(expected)
    expect(heard.sort()).toEqual(expected)
    await pool.close()
  },
)
