import { getEventListeners } from 'node:events'
import { expect, onTestFinished, test, vi } from 'vitest'
import { createBus } from './bus.js'
import { events, fixture } from './internal/fixture.js'
import { rest } from './internal/virtual-clock.js'
import { memory } from './memory/memory.js'

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

test('many publishes under one signal do not look like a leak', async () => {
  const warn = vi.spyOn(process, 'emitWarning').mockImplementation(() => undefined)
  onTestFinished(() => warn.mockRestore())
  const { bus } = fixture()
  const stop = new AbortController()
  bus.subscribe('g', 'order.created', () => {})

  const publishes = Array.from({ length: 20 }, () =>
    bus.publish('order.created', { orderId: '1' }, { signal: stop.signal }),
  )
  stop.abort(new Error('stopped'))

  const outcomes = await Promise.allSettled(publishes)
  expect(new Set(outcomes.map((outcome) => (outcome as PromiseRejectedResult).reason))).toEqual(
    new Set([stop.signal.reason]),
  )
  expect(warn).not.toHaveBeenCalled()
  expect(getEventListeners(stop.signal, 'abort')).toEqual([])
  await bus.close()
})

test.each([
  ['has no text', () => Object.create(null)],
  ['does not let itself be looked at', revoked],
])('a handler that throws what %s makes a dead letter like any other', async (_, thrown) => {
  const { bus, broker } = fixture()
  bus.subscribe(
    'g',
    'order.created',
    () => {
      throw thrown()
    },
    { retry: false },
  )

  await bus.publish('order.created', { orderId: '1' })
  await broker.drain()

  expect(broker.deadLetters('g')).toMatchObject([{ code: 'MSX_HANDLER_FAILED', data: { orderId: '1' } }])
  await bus.close()
})

test('a bus that was closed without waiting for a handler leaves no timer of it behind', async () => {
  const timers = new Set<() => void>()
  const clock = {
    now: () => 0,
    after(_: number, run: () => void) {
      timers.add(run)
      return () => void timers.delete(run)
    },
  }
  const broker = memory({ clock })
  const bus = createBus({ events, transport: broker, source: 'tests' })
  let reason: unknown
  bus.subscribe(
    'g',
    'order.created',
    ({ signal }) => new Promise(() => signal.addEventListener('abort', () => (reason = signal.reason))),
    {
      timeout: 60_000,
    },
  )
  await bus.publish('order.created', { orderId: '1' })
  await rest()
  const [limit] = timers

  const closed = bus.close({ timeout: 10 })
  await rest()
  for (const run of timers) if (run !== limit) run()
  await closed

  expect(limit).toBeDefined()
  expect(timers.has(limit as () => void)).toBe(false)
  expect(reason).toMatchObject({ code: 'MSX_CLOSED' })
})

function revoked(): object {
  const { proxy, revoke } = Proxy.revocable({}, {})
  revoke()
  return proxy
}
