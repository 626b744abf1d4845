import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import { createBus } from './bus.js'
import { defineEvents } from './catalogue.js'
import { MessagingError, NonRetryableError } from './errors.js'
import { deferred, events, fixture } from './internal/fixture.js'
import { rest } from './internal/virtual-clock.js'
import { memory } from './memory/memory.js'
import type { BusMiddleware } from './message.js'
import type { SubscribeOptions } from './subscribe-options.js'
import type { Transport } from './transport.js'

describe('retries', () => {
  test('once more at once, then after each delay, then the dead letters', async () => {
    const { bus, broker, clock } = fixture()
    const attempts: [at: number, attempt: number][] = []
    const log: unknown[] = []
    bus.on('retry', ({ attempt, delay }) => log.push([attempt, delay]))
    bus.on('deadLetter', ({ attempt, code, kept }) => log.push([attempt, code, kept]))
    bus.subscribe('g', 'order.created', (message) => {
      attempts.push([clock.now(), message.attempt])
      throw new Error('no stock')
    })

    await bus.publish('order.created', { orderId: '1' })
    await clock.advance(1_000_000)

    expect(attempts).toEqual([
      [0, 1],
      [0, 2],
      [1_000, 3],
      [6_000, 4],
      [36_000, 5],
      [156_000, 6],
    ])
    expect(log).toEqual([
      [1, 0],
      [2, 1_000],
      [3, 5_000],
      [4, 30_000],
      [5, 120_000],
      [6, 'MSX_HANDLER_FAILED', true],
    ])
    expect(broker.deadLetters()).toEqual([
      expect.objectContaining({
        group: 'g',
        type: 'order.created',
        data: { orderId: '1' },
        attempts: 6,
        code: 'MSX_HANDLER_FAILED',
        reason: 'Error: no stock',
        redriven: 0,
      }),
    ])
  })

  test('go to the group that failed and to no other', async () => {
    const { bus, clock } = fixture()
    const calls = { failing: 0, fine: 0 }
    bus.subscribe('fine', 'order.created', () => void calls.fine++)
    bus.subscribe('failing', 'order.created', () => {
      calls.failing += 1
      throw new Error('no')
    })

    await bus.publish('order.created', { orderId: '1' })
    await clock.advance(1_000_000)

    expect(calls).toEqual({ failing: 6, fine: 1 })
  })

  test('end with the first attempt that succeeds, and leave nothing behind', async () => {
    const { bus, broker, clock } = fixture()
    const handled: number[] = []
    bus.on('handled', ({ attempt }) => handled.push(attempt))
    bus.subscribe('g', 'order.created', (message) => {
      if (message.attempt < 3) throw new Error('not yet')
    })

    await bus.publish('order.created', { orderId: '1' }, { headers: { tenant: 'a' } })
    await clock.advance(1_000_000)

    expect(handled).toEqual([3])
    expect(broker.deadLetters()).toEqual([])
    expect(broker.queues().every(({ ready, unsettled }) => ready + unsettled === 0)).toBe(true)
  })

  test('parse the message anew, so that no attempt sees what another one did to it', async () => {
    const { bus, clock } = fixture()
    const seen: string[] = []
    bus.subscribe(
      'g',
      'order.cancelled',
      (message) => {
        seen.push(message.data.orderId)
        message.data.orderId = 'changed'
        throw new Error('no')
      },
      { retry: { immediate: 1, delays: [5] } },
    )

    await bus.publish('order.cancelled', { orderId: '1' })
    await clock.advance(10)

    expect(seen).toEqual(['1', '1', '1'])
  })

  test.each<[string, SubscribeOptions['retry'], number]>([
    ['false', false, 1],
    ['{ immediate: 0, delays: [] }', { immediate: 0, delays: [] }, 1],
    ['{ delays: [0] }', { delays: [0] }, 3],
    ['{ immediate: 3, delays: [] }', { immediate: 3, delays: [] }, 4],
  ])('retry: %s', async (_, retry, attempts) => {
    const { bus, broker, clock } = fixture()
    bus.subscribe('g', 'order.created', () => Promise.reject('a string'), { retry })

    await bus.publish('order.created', { orderId: '1' })
    await clock.advance(10)

    expect(broker.deadLetters()).toMatchObject([{ attempts, reason: 'a string' }])
  })

  test.each([
    ['a NonRetryableError', new NonRetryableError('sold out for good'), 'MSX_NON_RETRYABLE'],
    [
      'an error of ours that is not retryable',
      new MessagingError('MSX_DECODE', 'x', { retryable: false }),
      'MSX_DECODE',
    ],
  ])('do not happen after %s', async (_, error, code) => {
    const { bus, broker } = fixture()
    bus.subscribe('g', 'order.created', () => {
      throw error
    })

    await bus.publish('order.created', { orderId: '1' })
    await broker.drain()

    expect(broker.deadLetters()).toMatchObject([{ attempts: 1, code, reason: error.message }])
  })

  test('do not hold up the messages behind', async () => {
    const { bus, broker } = fixture()
    const handled: string[] = []
    bus.subscribe(
      'g',
      'order.created',
      (message) => {
        if (message.data.orderId === 'bad') throw new Error('no')
        handled.push(message.data.orderId)
      },
      { concurrency: 1 },
    )

    await bus.publish('order.created', { orderId: 'bad' })
    await bus.publish('order.created', { orderId: 'good' })
    await broker.drain()

    expect(handled).toEqual(['good'])
  })

  test('keep a message that the broker takes neither back nor among the dead letters', async () => {
    const { clock, broker } = fixture()
    let isBroken = true
    const flaky = {
      ...broker,
      async connect(options: { name: string }) {
        const connection = await broker.connect(options)
        const send = connection.send.bind(connection)
        connection.send = (...args) => (isBroken ? Promise.reject(new Error('no broker')) : send(...args))
        return connection
      },
    }
    const bus = createBus({ events, transport: flaky, source: 'tests' })
    const seen: unknown[] = []
    const told: unknown[] = []
    bus.on('retry', ({ delay, error }) => told.push([delay, (error as Error).message]))
    bus.subscribe(
      'g',
      'order.created',
      (message) => {
        seen.push([message.attempt, message.redelivered])
        throw new Error('no')
      },
      { retry: false },
    )

    await bus.publish('order.created', { orderId: '1' })
    await clock.advance(999)
    expect(seen).toEqual([[1, false]])
    expect(told).toEqual([[1_000, 'no broker']])
    isBroken = false
    await clock.advance(1)
    await broker.drain()

    expect(seen).toEqual([
      [1, false],
      [1, true],
    ])
    expect(broker.deadLetters()).toHaveLength(1)
  })
})

describe('without dead letters', () => {
  test('what nobody could handle is gone, and the event says so', async () => {
    const { bus, broker } = fixture()
    const log: unknown[] = []
    bus.on('deadLetter', ({ kept, error }) => log.push([kept, (error as Error).message]))
    bus.subscribe(
      'g',
      'order.created',
      () => {
        throw new Error('no')
      },
      { retry: false, deadLetter: false },
    )

    await bus.publish('order.created', { orderId: '1' })
    await broker.drain()

    expect(log).toEqual([[false, 'no']])
    expect(broker.queues()).toEqual([{ name: 'g', ready: 0, unsettled: 0, consumers: 1 }])
  })
})

describe('a time limit', () => {
  test('fails the attempt and aborts the signal of its message', async () => {
    const { bus, broker, clock } = fixture()
    const reasons: unknown[] = []
    bus.subscribe(
      'g',
      'order.created',
      (message) =>
        new Promise((_, reject) => {
          message.signal.addEventListener('abort', () => {
            reasons.push(message.signal.reason)
            reject(new Error('stopped'))
          })
        }),
      { timeout: 50, retry: { immediate: 0, delays: [10] } },
    )

    await bus.publish('order.created', { orderId: '1' })
    await clock.advance(1_000)

    const timeout = expect.objectContaining({ code: 'MSX_HANDLER_TIMEOUT', retryable: true })
    expect(reasons).toEqual([timeout, timeout])
    expect(broker.deadLetters()).toMatchObject([{ attempts: 2, code: 'MSX_HANDLER_TIMEOUT' }])
  })

  test('shows its reason also to a handler that asks for the signal too late', async () => {
    const { bus, clock } = fixture()
    const gate = deferred()
    let aborted: boolean | undefined
    bus.subscribe(
      'g',
      'order.created',
      async (message) => {
        await gate.promise
        aborted = message.signal.aborted
      },
      { timeout: 50, retry: false },
    )

    await bus.publish('order.created', { orderId: '1' })
    await clock.advance(50)
    gate.open()
    await rest()

    expect(aborted).toBe(true)
  })

  test('leaves no timer behind when the handler is in time', async () => {
    const { bus, broker, clock } = fixture()
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
    bus.subscribe('g', 'order.created', async () => {}, { timeout: 50 })

    await bus.publish('order.created', { orderId: '1' })
    await broker.drain()

    expect(timers).toBe(0)
  })
})

describe('concurrency', () => {
  test.each([1, 3])('never handles more than %i at the same time', async (concurrency) => {
    const { bus, broker } = fixture()
    let running = 0
    let most = 0
    bus.subscribe(
      'g',
      'order.created',
      async () => {
        running += 1
        most = Math.max(most, running)
        await rest()
        running -= 1
      },
      { concurrency },
    )

    await bus.publishMany(Array.from({ length: 10 }, (_, n) => ({ type: 'order.created', data: { orderId: `${n}` } })))
    await broker.drain()

    expect(most).toBe(concurrency)
  })

  test('fetches no more than prefetch, by default twice the concurrency', async () => {
    const { bus, broker } = fixture()
    const gate = deferred()
    bus.subscribe('default', 'order.created', () => gate.promise, { concurrency: 2 })
    bus.subscribe('given', 'order.created', () => gate.promise, { concurrency: 2, prefetch: 3 })

    await bus.publishMany(Array.from({ length: 10 }, (_, n) => ({ type: 'order.created', data: { orderId: `${n}` } })))
    await rest()

    expect(broker.queues().filter(({ consumers }) => consumers > 0)).toMatchObject([
      { name: 'default', ready: 6, unsettled: 4 },
      { name: 'given', ready: 7, unsettled: 3 },
    ])
    gate.open()
    await broker.drain()
  })
})

describe('pausing', () => {
  test('lets running handlers finish, gives the fetched ones back, and resumes in order', async () => {
    const { bus, broker } = fixture()
    const gate = deferred()
    const handled: string[] = []
    const subscription = bus.subscribe(
      'g',
      'order.created',
      async (message) => {
        await gate.promise
        handled.push(message.data.orderId)
      },
      { concurrency: 1 },
    )
    for (const orderId of ['1', '2', '3']) await bus.publish('order.created', { orderId })
    await rest()

    await subscription.pause()
    gate.open()
    await broker.drain()
    expect(handled).toEqual(['1'])
    expect(broker.queues()[0]).toEqual({ name: 'g', ready: 2, unsettled: 0, consumers: 0 })
    expect(bus.health()).toMatchObject({ status: 'up', subscriptions: [{ group: 'g', state: 'paused' }] })

    await subscription.resume()
    await broker.drain()
    expect(handled).toEqual(['1', '2', '3'])
  })

  test('before the start keeps the queue, not the messages, waiting', async () => {
    const { bus, broker } = fixture()
    let handled = 0
    const subscription = bus.subscribe('g', 'order.created', () => void handled++)
    await subscription.pause()

    await bus.start()
    await bus.publish('order.created', { orderId: '1' })
    await broker.drain()
    expect(handled).toBe(0)

    await subscription.resume()
    await broker.drain()
    expect(handled).toBe(1)
  })

  test('takes effect in the order of the calls, however fast they come', async () => {
    const { bus, broker } = fixture()
    let handled = 0
    const subscription = bus.subscribe('g', 'order.created', () => void handled++)
    await bus.start()

    void subscription.pause()
    void subscription.resume()
    void subscription.pause()
    await subscription.resume()
    await bus.publish('order.created', { orderId: '1' })
    await broker.drain()

    expect(handled).toBe(1)
    expect(broker.queues()[0]?.consumers).toBe(1)
  })
})

describe('closing a subscription', () => {
  test('frees the group, and the queue goes on collecting', async () => {
    const { bus, broker } = fixture()
    const handled: string[] = []
    const first = bus.subscribe('g', 'order.created', () => void handled.push('first'))
    await bus.start()
    expect(() => bus.subscribe('g', 'order.cancelled', () => {})).toThrow(
      expect.objectContaining({ code: 'MSX_GROUP_TAKEN', message: expect.stringContaining("'g'") }),
    )

    await first.close()
    await first[Symbol.asyncDispose]()
    await bus.publish('order.created', { orderId: '1' })
    bus.subscribe('g', 'order.created', () => void handled.push('second'))
    await bus.start()
    await broker.drain()

    expect(handled).toEqual(['second'])
    await expect(async () => first.resume()).rejects.toThrow(TypeError)
  })

  test('two groups cannot share a queue on one bus', () => {
    const { bus } = fixture()
    bus.subscribe('a', 'order.created', () => {}, { queue: { name: 'shared' } })

    expect(() => bus.subscribe('shared', 'order.created', () => {})).toThrow(
      expect.objectContaining({ code: 'MSX_GROUP_TAKEN' }),
    )
  })
})

describe('messages that cannot reach the handler', () => {
  test('are dead letters at once when a binding of an older release brings them', async () => {
    const { bus, broker } = fixture()
    const older = bus.subscribe('g', 'order.*', () => {})
    await bus.start()
    await older.close()
    bus.subscribe('g', 'order.created', () => {})
    await bus.start()

    await bus.publish('order.cancelled', { orderId: '1' })
    await broker.drain()

    expect(broker.deadLetters('g')).toMatchObject([{ code: 'MSX_UNMATCHED', type: 'order.cancelled', attempts: 0 }])
  })

  test('are dead letters at once when they are unknown, no JSON or not valid', async () => {
    const { bus, broker } = fixture()
    bus.subscribe('g', 'order.#', () => {})
    await bus.start()
    const foreign = await broker.connect({ name: 'foreign' })
    const send = (type: string, body: string) =>
      foreign.publish({ type, body: Buffer.from(body), headers: {} }, { mandatory: true })

    await send('order.shipped', '{}')
    await send('order.created', '{"orderId"')
    await send('order.created', '{"orderId":7}')
    await broker.drain()

    expect(broker.deadLetters().map(({ code, attempts, data }) => [code, attempts, data])).toEqual([
      ['MSX_UNKNOWN_EVENT', 0, {}],
      ['MSX_DECODE', 0, undefined],
      ['MSX_VALIDATION', 0, { orderId: 7 }],
    ])
  })
})

describe('versions', () => {
  const schema = z.object({ first: z.string(), last: z.string() })
  const v1 = defineEvents({ 'user.renamed': z.object({ name: z.string() }) })
  const v3 = defineEvents({
    'user.renamed': {
      schema,
      version: 3,
      upcast: {
        1: (old) => ({ fullName: (old as { name: string }).name }),
        2: (old) => {
          const [first, last] = (old as { fullName: string }).fullName.split(' ')
          return { first, last: last?.toUpperCase() }
        },
      },
    },
  })

  test('an older event is brought to the version of the consumer before it is validated', async () => {
    const broker = memory()
    const producer = createBus({ events: v1, transport: broker, source: 'old' })
    const consumer = createBus({ events: v3, transport: broker, source: 'new' })
    const received: unknown[] = []
    consumer.subscribe('g', 'user.*', (message) => void received.push(message.data))
    await consumer.start()

    await producer.publish('user.renamed', { name: 'Ada Lovelace' })
    await consumer.publish('user.renamed', { first: 'Grace', last: 'Hopper' })
    await broker.drain()

    expect(received).toEqual([
      { first: 'Ada', last: 'LOVELACE' },
      { first: 'Grace', last: 'Hopper' },
    ])
  })

  test('a newer event, and one whose upcast fails, are dead letters', async () => {
    const broker = memory()
    const old = createBus({ events: v1, transport: broker, source: 'old' })
    const current = createBus({ events: v3, transport: broker, source: 'new' })
    old.subscribe('old', 'user.*', () => {})
    current.subscribe('new', 'user.*', () => {}, { retry: false })
    await Promise.all([old.start(), current.start()])
    const foreign = await broker.connect({ name: 'foreign' })

    await current.publish('user.renamed', { first: 'Grace', last: 'Hopper' })
    await foreign.publish({ type: 'user.renamed', body: Buffer.from('null'), headers: {} }, { mandatory: true })
    await broker.drain()

    expect(broker.deadLetters('old').map(({ code }) => code)).toEqual(['MSX_UNSUPPORTED_VERSION', 'MSX_VALIDATION'])
    expect(broker.deadLetters('new').map(({ code }) => code)).toEqual(['MSX_UPCAST_FAILED'])
  })
})

describe('middleware', () => {
  test('surrounds every attempt, the first one outermost', async () => {
    const log: string[] = []
    const named =
      (name: string): BusMiddleware =>
      async (message, _, next) => {
        log.push(`${name} before ${message.attempt}`)
        await next()
        log.push(`${name} after ${message.attempt}`)
      }
    const { bus, clock } = fixture({ use: [named('outer'), named('inner')] })
    bus.subscribe(
      'g',
      'order.created',
      (message) => {
        if (message.attempt === 1) throw new Error('no')
        log.push('handler')
      },
      { retry: { delays: [] } },
    )

    await bus.publish('order.created', { orderId: '1' })
    await clock.advance(1)

    const expected = ['outer before 1', 'inner before 1']
    expected.push('outer before 2', 'inner before 2', 'handler', 'inner after 2', 'outer after 2')
    expect(log).toEqual(expected)
  })

  test('may handle a message alone, and may not call next twice', async () => {
    let calls = 0
    const { bus, broker } = fixture({
      use: [
        async (message, _, next) => {
          if (message.type === 'order.cancelled') return
          await next()
          await next()
        },
      ],
    })
    bus.subscribe('g', 'order.*', () => void calls++, { retry: false })

    await bus.publish('order.cancelled', { orderId: '1' })
    await bus.publish('order.created', { orderId: '2' })
    await broker.drain()

    expect(calls).toBe(1)
    expect(broker.deadLetters()).toMatchObject([{ type: 'order.created', reason: expect.stringContaining('twice') }])
  })
})

describe('messages of other publishers', () => {
  test.each([
    ['plain JSON without anything', {}, {}, { source: 'unknown', id: expect.stringMatching(/^[0-9a-f-]{36}$/) }],
    [
      'plain JSON with AMQP properties',
      { id: 'm-1', timestamp: 1_700_000_000_000, correlationId: 'c-1' },
      { 'x-tenant': 'a', nested: { not: 'shown' } },
      { id: 'm-1', time: new Date(1_700_000_000_000), correlationId: 'c-1', headers: { 'x-tenant': 'a' } },
    ],
    [
      'a CloudEvent in binary mode with the other prefix',
      {},
      { 'cloudEvents:id': 'ce-1', 'cloudEvents:source': '/shop', 'cloudEvents:time': '2026-01-02T03:04:05.678Z' },
      { id: 'ce-1', source: '/shop', time: new Date('2026-01-02T03:04:05.678Z'), headers: {} },
    ],
  ])('%s', async (_, properties, headers, expected) => {
    const { bus, broker } = fixture()
    const received: unknown[] = []
    bus.subscribe('g', 'order.created', (message) => void received.push(message))
    await bus.start()
    const foreign = await broker.connect({ name: 'foreign' })

    const body = Buffer.from('{"orderId":"1"}')
    await foreign.publish({ type: 'order.created', body, headers, ...properties }, { mandatory: true })
    await broker.drain()

    expect(received).toMatchObject([{ type: 'order.created', data: { orderId: '1' }, attempt: 1, ...expected }])
  })

  test('a CloudEvent in structured mode', async () => {
    const { bus, broker } = fixture()
    const received: unknown[] = []
    bus.subscribe('g', 'order.created', (message) => void received.push(message))
    await bus.start()
    const foreign = await broker.connect({ name: 'foreign' })

    const event = { specversion: '1.0', id: 'ce-1', source: '/shop', partitionkey: 'k', data: { orderId: '1' } }
    await foreign.publish(
      {
        type: 'order.created',
        body: Buffer.from(JSON.stringify(event)),
        headers: {},
        contentType: 'application/cloudevents+json; charset=utf-8',
      },
      { mandatory: true },
    )
    await broker.drain()

    expect(received).toMatchObject([{ id: 'ce-1', source: '/shop', key: 'k', data: { orderId: '1' } }])
  })

  test('keep the id they were given here through all their retries', async () => {
    const { bus, broker, clock } = fixture()
    const ids: string[] = []
    bus.subscribe('g', 'order.created', (message) => {
      ids.push(message.id)
      throw new Error('no')
    })
    await bus.start()
    const foreign = await broker.connect({ name: 'foreign' })

    const body = Buffer.from('{"orderId":"1"}')
    await foreign.publish({ type: 'order.created', body, headers: {} }, { mandatory: true })
    await clock.advance(1_000_000)

    expect(ids).toHaveLength(6)
    expect(new Set([...ids, broker.deadLetters()[0]?.id]).size).toBe(1)
  })
})

test('begins nothing more from the moment of pause, however long the broker takes to cancel', async () => {
  const { broker } = fixture()
  const transport: Transport = {
    clock: broker.clock,
    async connect(options) {
      const connection = await broker.connect(options)
      const consume = connection.consume.bind(connection)
      connection.consume = async (...terms) => {
        const consumer = await consume(...terms)
        return { cancel: () => rest().then(() => consumer.cancel()) }
      }
      return connection
    },
  }
  const bus = createBus({ events, transport, source: 'tests' })
  const gate = deferred()
  const begun: string[] = []
  const handler = (message: { data: { orderId: string } }) => {
    begun.push(message.data.orderId)
    return gate.promise
  }
  const subscription = bus.subscribe('g', 'order.created', handler, { concurrency: 1 })
  for (const orderId of ['1', '2']) await bus.publish('order.created', { orderId })
  await rest()

  const paused = subscription.pause()
  gate.open()
  await paused
  await broker.drain()

  expect(begun).toEqual(['1'])
})
