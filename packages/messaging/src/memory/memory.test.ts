import { describe, expect, test } from 'vitest'
import { createBus } from '../bus.js'
import { deferred, events, fixture } from '../internal/fixture.js'
import { rest, virtualClock } from '../internal/virtual-clock.js'
import { transportContract } from '../testing.js'
import type { Delivery, WireMessage } from '../transport.js'
import { memory } from './memory.js'

describe('the transport contract', () => {
  for (const { name, run } of transportContract(() => memory())) test(name, run)
})

function message(type: string, ttl?: number): WireMessage {
  return { type, body: Buffer.from('{}'), headers: {}, id: type, ttl }
}

describe('delays', () => {
  test('are exact, and of a message without delay nothing waits', async () => {
    const { bus, clock } = fixture()
    const handled: [string, number][] = []
    bus.subscribe('g', 'order.created', (received) => void handled.push([received.data.orderId, clock.now()]))

    await bus.publish('order.created', { orderId: 'late' }, { delay: 1_234 })
    await bus.publish('order.created', { orderId: 'zero' }, { delay: 0 })
    await bus.publish('order.created', { orderId: 'sooner' }, { delay: 7 })
    await clock.advance(2_000)

    expect(handled).toEqual([
      ['zero', 0],
      ['sooner', 7],
      ['late', 1_234],
    ])
  })

  test('keep no process alive whose buses are closed', async () => {
    const { bus, clock } = fixture()
    let timers = 0
    const { after } = clock
    clock.after = (ms, run) => {
      timers += 1
      const cancel = after(ms, run)
      return () => {
        timers -= 1
        cancel()
      }
    }
    await bus.publish('order.line.added', { sku: 's' }, { delay: 60_000 })
    expect(timers).toBe(1)

    await bus.close()

    expect(timers).toBe(0)
  })
})

describe('a time to live', () => {
  test('ends while a message waits, not while it is handled', async () => {
    const { bus, broker, clock } = fixture()
    const gate = deferred()
    const handled: string[] = []
    bus.subscribe(
      'g',
      'order.created',
      async (received) => {
        await gate.promise
        handled.push(received.data.orderId)
      },
      { concurrency: 1, prefetch: 1 },
    )
    await bus.publish('order.created', { orderId: 'handled' }, { ttl: 0 })
    await bus.publish('order.created', { orderId: 'waiting' }, { ttl: 100 })
    await bus.publish('order.created', { orderId: 'patient' }, { ttl: 101 })

    await clock.advance(100)
    gate.open()
    await broker.drain()

    expect(handled).toEqual(['handled', 'patient'])
    expect(broker.deadLetters('g')).toMatchObject([
      { code: 'MSX_EXPIRED', data: { orderId: 'waiting' }, attempts: 0, reason: expect.stringContaining('100 ms') },
    ])
  })

  test('is none for a message that waits for its retry', async () => {
    const { bus, broker, clock } = fixture()
    const attempts: number[] = []
    const subscription = bus.subscribe(
      'g',
      'order.created',
      (received) => {
        attempts.push(received.attempt)
        if (received.attempt === 1) throw new Error('no')
      },
      { retry: { immediate: 0, delays: [50] } },
    )
    await bus.publish('order.created', { orderId: '1' }, { ttl: 100 })
    await broker.drain()

    await subscription.pause()
    await clock.advance(10_000)
    await subscription.resume()
    await broker.drain()

    expect(attempts).toEqual([1, 2])
  })

  test('is none for dead letters', async () => {
    const { bus, broker, clock } = fixture()
    bus.subscribe('g', 'order.created', () => Promise.reject(new Error('no')), {
      retry: false,
    })

    await bus.publish('order.created', { orderId: '1' }, { ttl: 100 })
    await clock.advance(10_000)

    expect(broker.deadLetters()).toMatchObject([{ code: 'MSX_HANDLER_FAILED', attempts: 1 }])
  })
})

describe('consumers', () => {
  test('take turns, and one without room is passed over', async () => {
    const broker = memory()
    const connection = await broker.connect({ name: 'tests' })
    await connection.declare({ name: 'q', patterns: ['#'] })
    const taken: string[] = []
    const take = (name: string) => (delivery: Delivery) => void taken.push(`${name} ${delivery.message.type}`)
    await connection.consume('q', { prefetch: 1 }, take('small'))
    await connection.consume('q', { prefetch: 10 }, take('large'))

    for (const type of ['1', '2', '3', '4']) await connection.publish(message(type), { mandatory: true })
    await rest()

    expect(taken.sort()).toEqual(['large 2', 'large 3', 'large 4', 'small 1'])
  })

  test('get what a closing one held in its old order', async () => {
    const broker = memory()
    const closing = await broker.connect({ name: 'closing' })
    const connection = await broker.connect({ name: 'staying' })
    await closing.declare({ name: 'q', patterns: ['#'] })
    await closing.consume('q', { prefetch: 3 }, () => {})
    for (const type of ['1', '2', '3', '4']) await closing.publish(message(type), { mandatory: true })
    await rest()
    const taken: [string, boolean][] = []
    await connection.consume('q', { prefetch: 1 }, (delivery) => {
      taken.push([delivery.message.type, delivery.redelivered])
      delivery.ack()
    })
    await rest()

    await closing.close()
    await rest()

    expect(taken).toEqual([
      ['4', false],
      ['1', true],
      ['2', true],
      ['3', true],
    ])
  })
})

test('counts a delivery that is settled twice once', async () => {
  const broker = memory()
  const connection = await broker.connect({ name: 'tests' })
  await connection.declare({ name: 'q', patterns: ['#'] })
  for (const type of ['1', '2']) await connection.publish(message(type), { mandatory: true })
  const first = await connection.get('q')
  await connection.get('q')

  first?.ack()
  first?.ack()

  expect(broker.queues()).toEqual([{ name: 'q', ready: 0, unsettled: 1, consumers: 0 }])
})

describe('drain', () => {
  test('waits for handlers and for what they publish', async () => {
    const { bus, broker } = fixture()
    const handled: string[] = []
    bus.subscribe('first', 'order.created', async (_, context) => {
      await rest()
      await context.publish('order.cancelled', { orderId: '1' })
    })
    bus.subscribe('second', 'order.cancelled', async () => {
      await rest()
      handled.push('second')
    })

    void bus.publish('order.created', { orderId: '1' })
    await broker.drain()

    expect(handled).toEqual(['second'])
  })

  test('waits for retries by real time, not for those of a clock that somebody moves', async () => {
    const attempts = { real: 0, virtual: 0 }
    const real = memory()
    const virtual = memory({ clock: virtualClock() })
    for (const [name, broker] of Object.entries({ real, virtual }) as ['real' | 'virtual', typeof real][]) {
      const bus = createBus({ events, transport: broker, source: 'tests' })
      bus.subscribe(
        'g',
        'order.created',
        () => {
          attempts[name] += 1
          throw new Error('no')
        },
        { retry: { immediate: 0, delays: [5, 5] } },
      )
      await bus.publish('order.created', { orderId: '1' })
      await broker.drain()
    }

    expect(attempts).toEqual({ real: 3, virtual: 1 })
    expect(real.deadLetters()).toHaveLength(1)
  })

  test('does not wait for what nobody can handle', async () => {
    const { bus, broker } = fixture()
    const subscription = bus.subscribe('g', 'order.created', () => {})
    await subscription.pause()

    await bus.publish('order.created', { orderId: '1' })
    await broker.drain()

    expect(broker.queues()[0]).toMatchObject({ ready: 1 })
  })
})

describe('what it remembers', () => {
  test('is the last 10,000 published messages', async () => {
    const broker = memory()
    const connection = await broker.connect({ name: 'tests' })

    for (let n = 0; n < 25_000; n += 1) await connection.publish(message(`n.${n}`), { mandatory: false })

    const { published } = broker
    expect(published).toHaveLength(10_000)
    expect([published[0]?.type, published.at(-1)?.type]).toEqual(['n.15000', 'n.24999'])
  })

  test.each([
    [0, []],
    [2, ['n.1', 'n.2']],
  ])('is no more than a history of %d', async (history, kept) => {
    const broker = memory({ history })
    const connection = await broker.connect({ name: 'tests' })

    for (let n = 0; n < 3; n += 1) await connection.publish(message(`n.${n}`), { mandatory: false })

    expect(broker.published.map(({ type }) => type)).toEqual(kept)
  })

  test('is at most 16 MiB of bodies, and the newest message whatever its size', async () => {
    const broker = memory()
    const connection = await broker.connect({ name: 'tests' })
    const send = (type: string, mebibytes: number) => {
      const body = Buffer.from(JSON.stringify('x'.repeat(mebibytes * 1024 * 1024 - 2)))
      return connection.publish({ ...message(type), body }, { mandatory: false })
    }
    const kept = () => broker.published.map(({ type }) => type)

    for (const type of ['a', 'b', 'c']) await send(type, 8)
    expect(kept()).toEqual(['b', 'c'])
    await send('large', 17)
    expect(kept()).toEqual(['large'])
  })

  test.each([-1, 1.5, Number.NaN, '10'])('refuses a history of %s', (history) => {
    expect(() => memory({ history: history as number })).toThrow(/^memory: history must be an integer from 0, got /)
  })
})
