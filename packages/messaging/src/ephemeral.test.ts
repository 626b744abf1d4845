import { describe, expect, test } from 'vitest'
import { createBus } from './bus.js'
import { events, fixture } from './internal/fixture.js'
import type { SubscribeOptions } from './subscribe-options.js'

describe('an ephemeral subscription', () => {
  test('gets every event, beside others of its group', async () => {
    const { bus, broker } = fixture()
    const other = createBus({ events, transport: broker, source: 'other' })
    const got: Record<'one' | 'two', string[]> = { one: [], two: [] }
    bus.subscribe('caches', 'order.created', ({ data }) => void got.one.push(data.orderId), { ephemeral: true })
    other.subscribe('caches', 'order.created', ({ data }) => void got.two.push(data.orderId), { ephemeral: true })
    await other.start()

    for (const orderId of ['1', '2', '3']) await bus.publish('order.created', { orderId })
    await broker.drain()

    expect(got).toEqual({ one: ['1', '2', '3'], two: ['1', '2', '3'] })
  })

  test('leaves no queue behind, and gets nothing of what was published while it was paused', async () => {
    const { bus, broker } = fixture()
    bus.subscribe('kept', 'order.created', () => {})
    const got: string[] = []
    const subscription = bus.subscribe('caches', 'order.created', ({ data }) => void got.push(data.orderId), {
      ephemeral: true,
    })
    await bus.publish('order.created', { orderId: 'before' })
    await broker.drain()

    await subscription.pause()
    expect(broker.queues().map(({ name }) => name)).toEqual(['kept', 'kept.dlq'])
    await bus.publish('order.created', { orderId: 'meanwhile' })
    await subscription.resume()
    await bus.publish('order.created', { orderId: 'after' })
    await broker.drain()
    await subscription.close()

    expect(got).toEqual(['before', 'after'])
    expect(broker.queues().map(({ name }) => name)).toEqual(['kept', 'kept.dlq'])
  })

  test('tries a failed message again at once, then lets it go and tells', async () => {
    const { bus, broker, clock } = fixture()
    const log: unknown[] = []
    bus.on('retry', ({ attempt, delay }) => log.push(['retry', attempt, delay]))
    bus.on('deadLetter', ({ group, attempt, kept }) => log.push(['deadLetter', group, attempt, kept]))
    const fail = () => {
      throw new Error('no')
    }
    bus.subscribe('caches', 'order.created', fail, { ephemeral: true, retry: { immediate: 2 } })

    await bus.publish('order.created', { orderId: '1' })
    await clock.advance(1_000_000)

    expect(log).toEqual([
      ['retry', 1, 0],
      ['retry', 2, 0],
      ['deadLetter', 'caches', 3, false],
    ])
    expect(broker.deadLetters()).toEqual([])
  })

  test('has one immediate retry by default, and none with retry: false', async () => {
    const { bus, broker } = fixture()
    const attempts = { usual: 0, none: 0 }
    const failing = (group: 'usual' | 'none') => () => {
      attempts[group] += 1
      throw new Error('no')
    }
    bus.subscribe('usual', 'order.created', failing('usual'), { ephemeral: true })
    bus.subscribe('none', 'order.created', failing('none'), { ephemeral: true, retry: false })

    await bus.publish('order.created', { orderId: '1' })
    await broker.drain()

    expect(attempts).toEqual({ usual: 2, none: 1 })
  })

  test.each<[SubscribeOptions, RegExp]>([
    [{ ordered: { partitions: 2 } }, /subscribe 'g': ordered must be left out with 'ephemeral'/],
    [{ queue: { name: 'q' } }, /queue must be left out with 'ephemeral'/],
    [{ queue: { name: 'q', existing: true } }, /queue must be left out/],
    [{ retry: { delays: [1_000] } }, /retry\.delays must be empty or left out with 'ephemeral', got \[1000\]/],
    [{ deadLetter: true }, /deadLetter must be false or left out with 'ephemeral', got true/],
    [{ retry: true as never }, /retry must be { immediate } or false, got true/],
    [{ ephemeral: 'yes' as never }, /ephemeral must be true or false, got 'yes'/],
  ])('cannot have what would outlive it: %o', (options, problem) => {
    const { bus } = fixture()
    const subscribe = () => bus.subscribe('g', 'order.created', () => {}, { ephemeral: true, ...options })

    expect(subscribe).toThrow(TypeError)
    expect(subscribe).toThrow(problem)
  })
})
