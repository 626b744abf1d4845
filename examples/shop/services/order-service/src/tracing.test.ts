import { context, propagation } from '@opentelemetry/api'
import { createInstruments, followSpans, type Instruments, type SpanView } from '@shop/platform'
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import { createWorld, refill, type World } from './testing/world.js'

let world: World

beforeAll(async () => {
  followSpans()
  world = await createWorld()
})

beforeEach(() => refill(world))

afterAll(async () => {
  await world.close()
  context.disable()
  propagation.disable()
})

/** The trace of an order, of which each life of the service tells its part. */
function traceOf(orderId: string, lives: readonly Instruments[] = [world.deps.instruments]) {
  const all = lives.flatMap(({ spans }) => spans.list())
  const traceId = all.find(({ attributes }) => attributes['shop.order.id'] === orderId)?.traceId
  const spans = all.filter((span) => span.traceId === traceId)

  const named = (name: string) => spans.filter((span) => span.name === name)
  const [createOrder] = named('createOrder')
  return { createOrder, attempts: named('step reserve'), reservations: named('reserveInventory'), puts: named('PUT') }
}

const linkTo = ({ traceId, spanId }: SpanView) => ({ traceId, spanId })

/** Kills the service while it waits for the answer to its reservation, and lets another one go on with the order. */
async function killedWhileReserving(between: (orderId: string) => Promise<void> = async () => {}) {
  const { instruments: first } = world.deps
  const second = createInstruments('order-service')
  let answer!: () => void
  const answered = new Promise<void>((resolve) => {
    answer = resolve
  })
  world.products.before = (request) => (request === 'PUT' ? answered : undefined)
  const id = await world.placed()
  await vi.waitFor(() => expect(world.products.asked).toContain('PUT'))

  await world.stop({ abruptly: true })
  answer()
  await between(id)
  await world.start({ instruments: second })
  await world.ended(id, 10_000)

  await world.stop()
  await world.start()
  return traceOf(id, [first, second])
}

describe('the reservation of an order, in its trace', () => {
  test('is directly below what took the order, and linked to the attempt that made it', async () => {
    const id = await world.placed()
    await world.ended(id)

    const { createOrder, attempts, reservations, puts } = traceOf(id)
    expect(createOrder).toMatchObject({ events: [{ name: 'order_created' }] })
    expect(reservations).toMatchObject([{ parentId: createOrder?.spanId, links: attempts.map(linkTo) }])
    expect(attempts).toHaveLength(1)
    expect(puts.map(({ parentId }) => parentId)).toEqual([reservations[0]?.spanId])
  })

  test('is there once for each attempt, with a link to its own', async () => {
    let left = 1
    world.products.before = (request) => {
      if (request === 'PUT' && left-- > 0) throw new Error('broken')
    }
    const id = await world.placed()
    await world.ended(id)

    const { createOrder, attempts, reservations } = traceOf(id)
    expect(attempts).toMatchObject([{ failed: true }, { failed: false }])
    expect(reservations).toMatchObject(
      attempts.map((attempt) => ({
        parentId: createOrder?.spanId,
        links: [linkTo(attempt)],
        failed: attempt.failed,
      })),
    )
  })

  test('is in the same place when another process makes it, after a kill', async () => {
    const { createOrder, attempts, reservations } = await killedWhileReserving()

    expect(createOrder).toBeDefined()
    expect(attempts).toMatchObject([{ failed: true }, { failed: false }])
    expect(reservations).toMatchObject(
      attempts.map((attempt) => ({ parentId: createOrder?.spanId, links: [linkTo(attempt)] })),
    )
  }, 15_000)

  test.each<[string, unknown]>([
    ['none, since an older version did not keep it', undefined],
    ['nonsense', { traceparent: '00-abc-def-01' }],
  ])(
    'is below its attempt where the checkout knows of what took the order: %s',
    async (_, trace) => {
      const rewritten = async (orderId: string) => {
        const { database } = world.deps
        const table = 'order_service_saga.saga'
        const { rows } = await database.query<{ input: object }>(`SELECT input FROM ${table} WHERE key = $1`, [orderId])
        expect(rows).toMatchObject([{ input: { trace: { traceparent: expect.any(String) } } }])
        const input = JSON.stringify({ ...rows[0]?.input, trace })
        await database.query(`UPDATE ${table} SET input = $2 WHERE key = $1`, [orderId, input])
      }

      const { attempts, reservations } = await killedWhileReserving(rewritten)

      expect(reservations.at(-1)).toMatchObject({ parentId: attempts.at(-1)?.spanId, links: [], failed: false })
    },
    15_000,
  )
})
