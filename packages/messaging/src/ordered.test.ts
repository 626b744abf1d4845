import { expect, onTestFinished, test } from 'vitest'
import { z } from 'zod'
import { createBus } from './bus.js'
import { defineEvents } from './catalogue.js'
import { NonRetryableError } from './errors.js'
import { type VirtualClock, virtualClock } from './internal/virtual-clock.js'
import { type MemoryTransport, memory } from './memory/memory.js'
import { slotOf } from './partitions.js'
import type { SubscribeOptions } from './subscribe-options.js'
import type { Subscription } from './subscription.js'

const events = defineEvents({
  'step.taken': { schema: z.object({ key: z.string(), n: z.number() }), key: ({ key }: { key: string }) => key },
  'step.free': z.object({ n: z.number() }),
})

interface Walk {
  readonly clock: VirtualClock
  readonly broker: MemoryTransport
  readonly subscription: Subscription
  readonly log: string[]
  /** What the handler does about a message, by `key:n`. */
  readonly fails: Map<string, number | 'always' | 'for good'>
  take(...steps: string[]): Promise<void>
  redrive(): Promise<{ moved: number; left: number }>
  also(): Subscription
}

function walk(options: SubscribeOptions & Required<Pick<SubscribeOptions, 'ordered'>>): Walk {
  const clock = virtualClock()
  const broker = memory({ clock })
  const fails: Walk['fails'] = new Map()
  const log: string[] = []
  const open = () => {
    const bus = createBus({ events, transport: broker, source: 'tests' })
    onTestFinished(() => bus.close({ timeout: 0 }))
    const subscription = bus.subscribe(
      'walkers',
      'step.*',
      async ({ data }) => {
        const step = 'key' in data ? `${data.key}:${data.n}` : `free:${data.n}`
        await null
        const left = fails.get(step) ?? 0
        if (left === 'for good') throw new NonRetryableError(step)
        if (left === 'always' || left > 0) {
          if (left !== 'always') fails.set(step, left - 1)
          log.push(`${step} failed`)
          throw new Error(step)
        }
        log.push(step)
      },
      { retry: { immediate: 0, delays: [100] }, ...options },
    )
    return { bus, subscription }
  }
  const { bus, subscription } = open()

  return {
    clock,
    broker,
    subscription,
    log,
    fails,
    async take(...steps) {
      for (const step of steps) {
        const [key = '', n] = step.split(':')
        await bus.publish('step.taken', { key, n: Number(n) }, { id: step })
      }
    },
    redrive: () => bus.redrive('walkers'),
    also: () => {
      const other = open()
      void other.bus.start()
      return other.subscription
    },
  }
}

const steps = (key: string, count: number): string[] => Array.from({ length: count }, (_, n) => `${key}:${n}`)
const of = (log: readonly string[], key: string): string[] => log.filter((line) => line.startsWith(`${key}:`))

test('handles the messages of a key one after the other, and keys at the same time', async () => {
  const { take, log, clock, fails } = walk({ ordered: { partitions: 2 } })
  fails.set('a:1', 1)

  await take(...steps('a', 4), ...steps('b', 4), ...steps('c', 4))
  await clock.advance(50)

  expect(of(log, 'a')).toEqual(['a:0', 'a:1 failed'])
  expect(of(log, 'b')).toEqual(steps('b', 4))
  await clock.advance(100)
  expect(of(log, 'a')).toEqual(['a:0', 'a:1 failed', 'a:1', 'a:2', 'a:3'])
})

test('block: nothing of a key overtakes a message that fails, however often', async () => {
  const { take, log, clock, fails, broker } = walk({ ordered: { partitions: 2, onFailure: 'block' } })
  fails.set('a:0', 5)

  await take(...steps('a', 2), 'b:0')
  await clock.advance(450)
  expect(of(log, 'a')).toEqual(Array.from({ length: 5 }, () => 'a:0 failed'))
  await clock.advance(100)

  expect(of(log, 'a').slice(5)).toEqual(['a:0', 'a:1'])
  expect(of(log, 'b')).toEqual(['b:0'])
  expect(broker.deadLetters()).toEqual([])
})

test('block: what can never succeed is a dead letter, and the key goes on', async () => {
  const { take, log, clock, fails, broker } = walk({ ordered: { partitions: 2 } })
  fails.set('a:0', 'for good')

  await take(...steps('a', 2))
  await clock.advance(0)

  expect(log).toEqual(['a:1'])
  expect(broker.deadLetters('walkers').map(({ id }) => id)).toEqual(['a:0'])
})

test('skip: a message that fails becomes a dead letter, and the key goes on', async () => {
  const { take, log, clock, fails, broker, redrive } = walk({ ordered: { partitions: 4, onFailure: 'skip' } })
  fails.set('a:0', 'always')

  await take(...steps('a', 3))
  await clock.advance(100)

  expect(log).toEqual(['a:0 failed', 'a:0 failed', 'a:1', 'a:2'])
  expect(broker.deadLetters('walkers')).toMatchObject([{ id: 'a:0', code: 'MSX_HANDLER_FAILED', attempts: 2 }])
  fails.clear()
  expect(await redrive()).toEqual({ moved: 1, left: 0 })
  await clock.advance(0)
  expect(log.at(-1)).toBe('a:0')
})

test('park-key: what follows a dead letter with its key lies behind it, until all were redriven', async () => {
  const { take, log, clock, fails, broker, redrive } = walk({ ordered: { partitions: 2, onFailure: 'park-key' } })
  fails.set('a:1', 'always')
  await take(...steps('a', 3), 'b:0')
  await clock.advance(100)
  await take('a:3')
  await clock.advance(0)

  expect(log.toSorted()).toEqual(['a:0', 'a:1 failed', 'a:1 failed', 'b:0'])
  expect(broker.deadLetters().map(({ id, code, attempts }) => [id, code, attempts])).toEqual([
    ['a:1', 'MSX_HANDLER_FAILED', 2],
    ['a:2', 'MSX_KEY_PARKED', 0],
    ['a:3', 'MSX_KEY_PARKED', 0],
  ])

  // Still failing: the rest of what was redriven goes back behind it.
  await redrive()
  await clock.advance(100)
  expect(broker.deadLetters().map(({ id }) => id)).toEqual(['a:1', 'a:2', 'a:3'])

  fails.clear()
  log.length = 0
  await redrive()
  await take('a:4')
  await clock.advance(0)
  expect(log).toEqual(['a:1', 'a:2', 'a:3'].concat(log.includes('a:4') ? ['a:4'] : []))
  await redrive()
  await clock.advance(0)
  await take('a:5')
  await clock.advance(0)
  expect(log).toEqual(['a:1', 'a:2', 'a:3', 'a:4', 'a:5'])
  expect(broker.deadLetters()).toEqual([])
})

test('a second process takes over where the first one stops, and overtakes nothing', async () => {
  const { take, log, clock, fails, subscription, also, broker } = walk({ ordered: { partitions: 1 }, prefetch: 5 })
  fails.set('a:2', 'always')
  await take(...steps('a', 10))
  also()
  await clock.advance(150)
  expect(log.slice(0, 3)).toEqual(['a:0', 'a:1', 'a:2 failed'])

  fails.clear()
  log.length = 0
  await subscription.close()
  await clock.advance(0)

  expect(log).toEqual(steps('a', 10).slice(2))
  expect(broker.queues().find(({ name }) => name === 'walkers.0')).toMatchObject({ ready: 0, unsettled: 0 })
})

test('goes on after a pause', async () => {
  const { take, log, clock, subscription } = walk({ ordered: { partitions: 3 } })
  await take('a:0')
  await clock.advance(0)
  await subscription.pause()
  await take('a:1')
  await clock.advance(0)
  expect(log).toEqual(['a:0'])

  await subscription.resume()
  await clock.advance(0)

  expect(log).toEqual(['a:0', 'a:1'])
})

test('events without a key are handled too, in any order', async () => {
  const clock = virtualClock()
  const bus = createBus({ events, transport: memory({ clock }), source: 'tests' })
  onTestFinished(() => bus.close())
  const seen: number[] = []
  bus.subscribe('walkers', 'step.free', ({ data }) => void seen.push(data.n), { ordered: { partitions: 2 } })

  await bus.publishMany(Array.from({ length: 5 }, (_, n) => ({ type: 'step.free', data: { n } }) as const))
  await clock.advance(0)

  expect(seen.toSorted()).toEqual([0, 1, 2, 3, 4])
})

test('spreads keys evenly over the partitions', () => {
  const counts = [0, 0, 0, 0]
  for (let n = 0; n < 10_000; n += 1) counts[Number(slotOf(`order-${n}`)) % 4]! += 1

  for (const count of counts) expect(count).toBeGreaterThan(2_000)
})

test.each([
  [{ partitions: 0 }, 'ordered.partitions must be an integer from 1 to 32, got 0'],
  [{ partitions: 33 }, 'ordered.partitions must be an integer from 1 to 32, got 33'],
  [{ partitions: 2, onFailure: 'x' as 'skip' }, "ordered.onFailure must be block, park-key, skip, got 'x'"],
])('refuses %j', (ordered, problem) => {
  const bus = createBus({ events, transport: memory(), source: 'tests' })

  expect(() => bus.subscribe('walkers', 'step.*', () => {}, { ordered })).toThrow(problem)
})
