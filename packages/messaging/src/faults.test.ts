import { expect, onTestFinished, test } from 'vitest'
import { fixture } from './internal/fixture.js'

/** What nobody handled, as Node would end the process for it. */
function unhandled(): unknown[] {
  const seen: unknown[] = []
  const listen = (reason: unknown): void => void seen.push(reason)
  process.on('unhandledRejection', listen)
  onTestFinished(() => void process.off('unhandledRejection', listen))
  return seen
}

test('a listener that rejects ends neither the call nor the process', async () => {
  const seen = unhandled()
  const { bus, broker } = fixture()
  bus.subscribe('g', 'order.created', () => {})
  bus.on('published', (async () => {
    throw new Error('a bad listener')
  }) as () => void)

  await bus.publish('order.created', { orderId: '1' })
  await broker.drain()
  await new Promise(setImmediate)

  expect(seen).toEqual([])
  await bus.close()
})

test('a handler that throws what has no text makes a dead letter like any other', async () => {
  const { bus, broker } = fixture()
  bus.subscribe(
    'g',
    'order.created',
    () => {
      throw Object.create(null)
    },
    { retry: false },
  )

  await bus.publish('order.created', { orderId: '1' })
  await broker.drain()

  expect(broker.deadLetters('g')).toMatchObject([{ code: 'MSX_HANDLER_FAILED', data: { orderId: '1' } }])
  await bus.close()
})
