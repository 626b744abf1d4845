import { getEventListeners } from 'node:events'
import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import { createBus } from './bus.js'
import { defineEvents } from './catalogue.js'
import { isMessagingError, MessagingError } from './errors.js'
import { deferred, events, fixture } from './internal/fixture.js'
import { rest, virtualClock } from './internal/virtual-clock.js'
import { memory } from './memory/memory.js'
import type { ConnectOptions, Transport, TransportConnection } from './transport.js'

describe('publishing', () => {
  test('gives every group each event, and one consumer of each group', async () => {
    const { bus, broker } = fixture()
    const other = createBus({ events, transport: broker, source: 'replica' })
    const received: string[] = []
    bus.subscribe('mails', 'order.*', (message) => void received.push(`mails ${message.data.orderId}`))
    other.subscribe('mails', 'order.*', (message) => void received.push(`mails ${message.data.orderId}`))
    other.subscribe('stock', 'order.created', (message) => void received.push(`stock ${message.data.orderId}`))
    await Promise.all([bus.start(), other.start()])

    await bus.publish('order.created', { orderId: '1' })
    await bus.publish('order.cancelled', { orderId: '2' })
    await broker.drain()

    expect(received.sort()).toEqual(['mails 1', 'mails 2', 'stock 1'])
  })

  test('lets the runtime tell of a publish that fails and that nobody waits for', async () => {
    const { bus } = fixture()
    const told: unknown[] = []
    // Those of the test runner, for which it would be a failed test.
    const others = process.listeners('unhandledRejection')
    process.removeAllListeners('unhandledRejection')
    process.on('unhandledRejection', (error) => told.push(error))
    try {
      void bus.publish('order.created', { orderId: 1 as never })
      void bus.publishMany([{ type: 'order.created', data: { orderId: '1' } }])
      await bus.publish('order.created', { orderId: '1' }).catch(() => {})
      await bus.publish('order.created', { orderId: '1' }, { timeout: 1_000 }).catch(() => {})
      await new Promise((resolve) => setTimeout(resolve))
    } finally {
      process.removeAllListeners('unhandledRejection')
      for (const other of others) process.on('unhandledRejection', other)
    }

    expect(told.map((error) => (error as MessagingError).code)).toEqual(['MSX_VALIDATION', 'MSX_BATCH_FAILED'])
    await bus.close()
  })

  test('delivers after publish has returned, never inside it', async () => {
    const { bus, broker } = fixture()
    const order: string[] = []
    bus.subscribe('g', 'order.created', () => void order.push('handled'))
    await bus.start()

    const published = bus.publish('order.created', { orderId: '1' })
    order.push('publish returned')
    await published
    order.push('published')
    await broker.drain()

    expect(order).toEqual(['publish returned', 'published', 'handled'])
  })

  test('tells what is known about the message', async () => {
    const { bus, broker } = fixture()
    const seen: unknown[] = []
    bus.subscribe('g', 'order.created', (message) => {
      seen.push({ ...message, signal: message.signal.aborted })
    })

    await bus.publish(
      'order.created',
      { orderId: '1' },
      { id: 'm-1', key: 'k', headers: { tenant: 'a', urgent: true }, correlationId: 'c-1', causationId: 'b-1' },
    )
    await broker.drain()

    const facts = { id: 'm-1', key: 'k', source: 'tests', correlationId: 'c-1', causationId: 'b-1' }
    expect(seen).toEqual([
      {
        ...facts,
        type: 'order.created',
        data: { orderId: '1' },
        time: expect.any(Date),
        headers: { tenant: 'a', urgent: true },
        attempt: 1,
        redelivered: false,
        signal: false,
      },
    ])
    expect(broker.published).toEqual([
      {
        ...facts,
        type: 'order.created',
        data: { orderId: '1' },
        time: expect.any(Date),
        headers: { tenant: 'a', urgent: true },
      },
    ])
  })

  test('keeps the order of the calls, also of those made while the bus still starts', async () => {
    const { bus, broker } = fixture()
    const received: string[] = []
    bus.subscribe('g', 'order.created', (message) => void received.push(message.data.orderId), { concurrency: 1 })

    const early = ['1', '2', '3'].map((orderId) => bus.publish('order.created', { orderId }))
    await early[0]
    const late = ['4', '5'].map((orderId) => bus.publish('order.created', { orderId }))
    await Promise.all([...early, ...late])
    await broker.drain()

    expect(received).toEqual(['1', '2', '3', '4', '5'])
  })

  test('reaches a group subscribed just before on a running bus', async () => {
    const { bus, broker } = fixture()
    await bus.start()
    const received: string[] = []

    bus.subscribe('g', 'order.created', (message) => void received.push(message.data.orderId))
    await bus.publish('order.created', { orderId: '1' })
    await broker.drain()

    expect(received).toEqual(['1'])
  })

  test('sends what it was given, and hands the handler what the schema makes of it', async () => {
    const { bus, broker } = fixture()
    const received: unknown[] = []
    bus.subscribe('g', 'order.created', (message) => void received.push(message.data))

    await bus.publish('order.created', { orderId: '1', at: '2026-01-02T03:04:05.000Z' })
    await broker.drain()

    expect(broker.published[0]?.data).toEqual({ orderId: '1', at: '2026-01-02T03:04:05.000Z' })
    expect(received).toEqual([{ orderId: '1', at: new Date('2026-01-02T03:04:05.000Z') }])
  })

  test('shares no object between publisher and groups', async () => {
    const { bus, broker } = fixture()
    const received: { orderId: string }[] = []
    for (const group of ['a', 'b']) {
      bus.subscribe(group, 'order.cancelled', (message) => {
        received.push(message.data)
        message.data.orderId += ` seen by ${group}`
      })
    }
    const order = { orderId: '1' }

    await bus.publish('order.cancelled', order)
    order.orderId = 'changed afterwards'
    await broker.drain()

    expect(received.map(({ orderId }) => orderId).sort()).toEqual(['1 seen by a', '1 seen by b'])
  })

  test('rejects an event nobody listens to, unless nobody needs to', async () => {
    const { bus, broker } = fixture()

    await expect(bus.publish('order.created', { orderId: '1' })).rejects.toMatchObject({
      code: 'MSX_UNROUTABLE',
      retryable: true,
      message: expect.stringContaining("'order.created'"),
    })
    await bus.publish('order.line.added', { sku: 's' })

    expect(broker.published.map(({ type }) => type)).toEqual(['order.line.added'])
  })

  test('rejects what does not fit the schema, naming the field, and sends nothing', async () => {
    const { bus, broker } = fixture()
    bus.subscribe('g', 'order.#', () => {})

    const failure = bus.publish('order.created', { orderId: 7 } as never)

    await expect(failure).rejects.toMatchObject({
      code: 'MSX_VALIDATION',
      retryable: false,
      message: expect.stringContaining('orderId'),
      details: { type: 'order.created', issues: [expect.objectContaining({ path: ['orderId'] })] },
    })
    await expect(bus.publish('order.gone' as never, {} as never)).rejects.toMatchObject({ code: 'MSX_UNKNOWN_EVENT' })
    expect(broker.published).toEqual([])
  })

  test('gives up on a signal with its reason, and on a timeout, leaving no listener behind', async () => {
    const { clock } = fixture()
    const never = { ...memory({ clock }), connect: () => new Promise<never>(() => {}) }
    const bus = createBus({ events, transport: never, source: 'tests' })
    const controller = new AbortController()
    const reason = new Error('the client went away')

    const aborted = bus.publish('order.line.added', { sku: 's' }, { signal: controller.signal })
    const late = bus.publish('order.line.added', { sku: 's' }, { timeout: 50 })
    controller.abort(reason)

    await expect(aborted).rejects.toBe(reason)
    const check = expect(late).rejects.toMatchObject({ code: 'MSX_CONFIRM_TIMEOUT', retryable: true })
    await clock.advance(50)
    await check
    await expect(bus.publish('order.line.added', { sku: 's' }, { signal: controller.signal })).rejects.toBe(reason)
  })

  test.each([
    [{ delay: -1 }, /delay must be a number of milliseconds.*got -1/],
    [{ ttl: Number.NaN }, /ttl must be.*got NaN/],
    [{ timeout: 2 ** 31 }, /timeout must be.*got 2147483648/],
    [{ id: '' }, /id must be a string that is not empty/],
    [{ headers: { 'msx-version': '1' } }, /header name must be outside of msx-\*/],
    [{ headers: { deep: {} as never } }, /header 'deep' must be/],
    [{ signal: 5 as never }, /signal must be an AbortSignal, got 5/],
  ])('refuses the options %j', async (options, message) => {
    const { bus } = fixture()

    const failure = bus.publish('order.line.added', { sku: 's' }, options)

    await expect(failure).rejects.toThrow(TypeError)
    await expect(failure).rejects.toThrow(message)
  })
})

describe('publishing a batch', () => {
  test('publishes in order', async () => {
    const { bus, broker } = fixture()
    bus.subscribe('g', 'order.#', () => {})

    await bus.publishMany(
      (function* () {
        yield { type: 'order.created', data: { orderId: '1' }, options: { id: 'a' } } as const
        yield { type: 'order.cancelled', data: { orderId: '2' }, options: { id: 'b' } } as const
      })(),
    )

    expect(broker.published.map(({ id }) => id)).toEqual(['a', 'b'])
  })

  test('sends nothing when one is not valid, and says which', async () => {
    const { bus, broker } = fixture()
    bus.subscribe('g', 'order.#', () => {})

    const failure = bus.publishMany([
      { type: 'order.created', data: { orderId: '1' } },
      { type: 'order.cancelled', data: {} as never },
    ])

    await expect(failure).rejects.toMatchObject({ code: 'MSX_VALIDATION', details: { index: 1 } })
    expect(broker.published).toEqual([])
  })

  test('names those the broker did not take', async () => {
    const { bus, broker } = fixture()
    bus.subscribe('g', 'order.created', () => {})

    const failure = bus.publishMany([
      { type: 'order.cancelled', data: { orderId: '1' }, options: { id: 'lost' } },
      { type: 'order.created', data: { orderId: '2' } },
    ])

    await expect(failure).rejects.toMatchObject({
      code: 'MSX_BATCH_FAILED',
      cause: { code: 'MSX_UNROUTABLE' },
      details: { failed: [{ index: 0, id: 'lost' }] },
    })
    expect(broker.published.map(({ type }) => type)).toEqual(['order.created'])
  })
})

describe('what is JSON', () => {
  test('refuses an event whose data would not be valid again at the other end', async () => {
    const dated = defineEvents({ 'order.dated': { schema: z.object({ at: z.date() }), optional: true } })
    const bus = createBus({ events: dated, transport: memory(), source: 'tests' })

    const failure = bus.publish('order.dated', { at: new Date() })

    await expect(failure).rejects.toMatchObject({ code: 'MSX_NOT_JSON', retryable: false })
  })

  test.each([
    ['a bigint', z.object({ n: z.bigint() }), { n: 1n }],
    ['undefined', z.undefined(), undefined],
    ['a number that has no JSON', z.object({ n: z.number().or(z.nan()) }), { n: Number.NaN }],
  ])('refuses %s', async (_, schema, data) => {
    const odd = defineEvents({ 'odd.one': { schema: schema as z.ZodType<unknown, unknown>, optional: true } })
    const bus = createBus({ events: odd, transport: memory(), source: 'tests' })

    await expect(bus.publish('odd.one', data)).rejects.toMatchObject({ code: 'MSX_NOT_JSON' })
  })

  test('is asked of the first event of each type only', async () => {
    let validations = 0
    const counted = z.object({ n: z.number().refine(() => ++validations > 0) })
    const bus = createBus({
      events: defineEvents({ 'count.me': { schema: counted, optional: true } }),
      transport: memory(),
      source: 'tests',
    })

    await bus.publish('count.me', { n: 1 })
    await bus.publish('count.me', { n: 2 })

    expect(validations).toBe(3)
  })
})

describe('validation', () => {
  test.each([
    ['both', 'MSX_VALIDATION', undefined],
    ['publish', 'MSX_VALIDATION', undefined],
    ['consume', 'published', 'MSX_VALIDATION'],
    ['off', 'published', 'handled'],
  ] as const)('in mode %s: publishing something invalid is %s', async (validate, outcome, afterwards) => {
    const { bus, broker } = fixture({ validate })
    let handled = false
    bus.subscribe('g', 'order.created', () => {
      handled = true
    })

    const result = await bus.publish('order.created', { orderId: 7 } as never).then(
      () => 'published',
      (error) => error.code,
    )
    await broker.drain()

    expect(result).toBe(outcome)
    expect(handled ? 'handled' : broker.deadLetters()[0]?.code).toBe(afterwards)
  })

  test('waits for schemas that answer later', async () => {
    const slow = z.object({ n: z.number().refine(async (n) => n > 0) })
    const broker = memory()
    const bus = createBus({ events: defineEvents({ 'a.b': slow }), transport: broker, source: 'tests' })
    const received: number[] = []
    bus.subscribe('g', 'a.b', (message) => void received.push(message.data.n))

    await bus.publish('a.b', { n: 1 })
    await expect(bus.publish('a.b', { n: -1 })).rejects.toMatchObject({ code: 'MSX_VALIDATION' })
    await broker.drain()

    expect(received).toEqual([1])
  })

  test('gives the key function the output of the schema', async () => {
    const keyed = defineEvents({
      'a.b': { schema: z.object({ n: z.coerce.number() }), key: ({ n }) => `k${n + 1}`, optional: true },
    })
    const broker = memory()
    const bus = createBus({ events: keyed, transport: broker, source: 'tests' })

    await bus.publish('a.b', { n: '1' })

    expect(broker.published[0]).toMatchObject({ key: 'k2', data: { n: '1' } })
  })
})

describe('cause and effect', () => {
  test('what a handler publishes names its cause and shares its correlation', async () => {
    const { bus, broker } = fixture()
    bus.subscribe('first', 'order.created', (message, context) =>
      context.publish('order.cancelled', { orderId: message.data.orderId }, { id: 'second' }),
    )
    bus.subscribe('second', 'order.cancelled', (_, context) => context.publish('order.line.added', { sku: 's' }))

    await bus.publish('order.created', { orderId: '1' }, { id: 'first' })
    await broker.drain()

    expect(broker.published.map(({ id, correlationId, causationId }) => [id, correlationId, causationId])).toEqual([
      ['first', 'first', undefined],
      ['second', 'first', 'first'],
      [expect.any(String), 'first', 'second'],
    ])
  })
})

describe('closing', () => {
  test('waits for running handlers and starts no other', async () => {
    const { bus, broker } = fixture()
    const gate = deferred()
    const log: string[] = []
    bus.subscribe(
      'g',
      'order.created',
      async (message, context) => {
        log.push(`began ${message.data.orderId}`)
        await gate.promise
        await context.publish('order.line.added', { sku: 's' })
        log.push(`done ${message.data.orderId}`)
      },
      { concurrency: 1 },
    )
    await bus.publish('order.created', { orderId: '1' })
    await bus.publish('order.created', { orderId: '2' })
    await rest()

    const closed = bus.close().then(() => log.push('closed'))
    await rest()
    gate.open()
    await closed

    expect(log).toEqual(['began 1', 'done 1', 'closed'])
    expect(broker.queues()[0]).toEqual({ name: 'g', ready: 1, unsettled: 0, consumers: 0 })
    expect(bus.health()).toMatchObject({ status: 'down' })
  })

  test('after its deadline tells the handlers, and another bus gets their messages again', async () => {
    const { bus, broker, clock } = fixture()
    const gate = deferred()
    const seen: unknown[] = []
    bus.subscribe('g', 'order.created', async (message) => {
      message.signal.addEventListener('abort', () => seen.push(message.signal.reason))
      await gate.promise
    })
    await bus.publish('order.created', { orderId: '1' })
    await rest()

    const closed = bus.close({ timeout: 100 })
    await clock.advance(100)
    await closed
    gate.open()
    await rest()
    const next = createBus({ events, transport: broker, source: 'next' })
    next.subscribe('g', 'order.created', (message) => void seen.push([message.redelivered, message.attempt]))
    await next.start()
    await broker.drain()

    expect(seen).toEqual([expect.objectContaining({ code: 'MSX_CLOSED' }), [true, 1]])
    expect(broker.deadLetters()).toEqual([])
  })

  test('detaches this bus only, and is idempotent', async () => {
    const { bus, broker } = fixture()
    const other = createBus({ events, transport: broker, source: 'other' })
    const received: string[] = []
    bus.subscribe('a', 'order.created', () => void received.push('a'))
    other.subscribe('b', 'order.created', () => void received.push('b'))
    await Promise.all([bus.start(), other.start()])

    await Promise.all([bus.close(), bus.close()])
    await bus[Symbol.asyncDispose]()
    await other.publish('order.created', { orderId: '1' })
    await broker.drain()

    expect(received).toEqual(['b'])
    expect(broker.queues().find(({ name }) => name === 'a')).toMatchObject({ ready: 1 })
  })

  test('refuses everything afterwards', async () => {
    const { bus } = fixture()
    await bus.close()

    for (const refused of [
      () => bus.publish('order.line.added', { sku: 's' }),
      () => bus.publishMany([]),
      () => bus.request('price.asked', { sku: 's' }, { reply: 'price.told', timeout: 1 }),
      () => bus.redrive('g'),
      () => bus.start(),
    ]) {
      await expect(refused()).rejects.toMatchObject({ code: 'MSX_CLOSED' })
    }
    expect(() => bus.subscribe('g', 'order.created', () => {})).toThrow(MessagingError)
  })

  test('waits for a publish that is under way', async () => {
    const { bus, broker } = fixture()
    const published = bus.publish('order.line.added', { sku: 's' })

    await bus.close()
    await published

    expect(broker.published).toHaveLength(1)
  })
})

describe('starting', () => {
  test('ends with the bus, which does not wait long for a broker that does not answer', async () => {
    const clock = virtualClock()
    const broker = memory({ clock })
    const answer = deferred()
    let isConnected = false
    const transport: Transport = {
      clock,
      async connect(options) {
        await answer.promise
        const connection = await broker.connect(options)
        isConnected = true
        const close = connection.close.bind(connection)
        connection.close = async () => {
          isConnected = false
          await close()
        }
        return connection
      },
    }
    const bus = createBus({ events, transport, source: 'tests' })
    bus.subscribe('g', 'order.created', () => {})
    const started = bus.start()

    const closed = bus.close()
    await clock.advance(1_000)
    await closed
    answer.open()

    await expect(started).rejects.toMatchObject({ code: 'MSX_CLOSED' })
    expect(isConnected).toBe(false)
    expect(broker.queues()).toEqual([])
  })

  test('rejects when there is no broker, and can be tried again', async () => {
    const broker = memory()
    let attempts = 0
    const transport = {
      ...broker,
      connect: (options: { name: string }) =>
        ++attempts === 1 ? Promise.reject(new Error('refused')) : broker.connect(options),
    }
    const bus = createBus({ events, transport, source: 'tests' })
    bus.subscribe('g', 'order.created', () => {})

    await expect(bus.start()).rejects.toThrow('refused')
    expect(bus.health()).toMatchObject({ status: 'down', subscriptions: [{ group: 'g', state: 'idle' }] })
    await bus.start()

    expect(bus.health()).toEqual({
      status: 'up',
      publisher: { status: 'up', inFlight: 0 },
      subscriptions: [{ group: 'g', state: 'running', running: 0 }],
    })
  })

  test('rejects when the broker has the queue with other options, and health says which', async () => {
    const { bus, broker } = fixture()
    const other = createBus({ events, transport: broker, source: 'other' })
    bus.subscribe('g', 'order.created', () => {})
    other.subscribe('g', 'order.created', () => {}, { deadLetter: false })
    await bus.start()

    await expect(other.start()).rejects.toMatchObject({ code: 'MSX_TOPOLOGY_MISMATCH' })

    expect(other.health()).toMatchObject({ status: 'degraded', subscriptions: [{ group: 'g', state: 'failed' }] })
  })
})

describe('events', () => {
  test('tell what happened until their listener is removed; one that throws harms nobody', async () => {
    const { bus, broker } = fixture()
    const log: unknown[] = []
    bus.on('published', () => {
      throw new Error('a bad listener')
    })
    const off = bus.on('published', ({ type, id }) => log.push(['published', type, id]))
    bus.on('handled', ({ group, type, id, attempt }) => log.push(['handled', group, type, id, attempt]))
    bus.subscribe('g', 'order.created', () => {})

    await bus.publish('order.created', { orderId: '1' }, { id: 'a' })
    await broker.drain()
    off()
    await bus.publish('order.created', { orderId: '1' }, { id: 'b' })
    await broker.drain()

    expect(log).toEqual([
      ['published', 'order.created', 'a'],
      ['handled', 'g', 'order.created', 'a', 1],
      ['handled', 'g', 'order.created', 'b', 1],
    ])
    expect(() => bus.on('nothing' as never, () => {})).toThrow(
      /event must be one of connection, blocked, published, handled/,
    )
  })
})

describe('what a transport tells', () => {
  test('of its connection and of a blocked broker becomes events', async () => {
    const broker = memory()
    let notify: ConnectOptions['notify']
    const transport: Transport = {
      connect(options) {
        notify = options.notify
        return broker.connect(options)
      },
    }
    const bus = createBus({ events, transport, source: 'tests' })
    const log: unknown[] = []
    bus.on('connection', (event) => log.push(event))
    bus.on('blocked', (event) => log.push(event))

    await bus.start()
    notify?.({ event: 'blocked', blocked: true, reason: 'low on disk' })
    notify?.({ event: 'connection', state: 'down', error: 'why' })
    notify?.({ event: 'connection', state: 'up' })
    await bus.close()

    expect(log).toEqual([
      { state: 'up' },
      { blocked: true, reason: 'low on disk' },
      { state: 'down', error: 'why' },
      { state: 'up' },
      { state: 'closed' },
    ])
  })

  test('of a refused consumer lets the bus be started again', async () => {
    const broker = memory()
    let refusals = 1
    const transport: Transport = {
      async connect(options) {
        const connection = await broker.connect(options)
        const consume = connection.consume.bind(connection)
        connection.consume = async (...terms) => {
          if (refusals-- > 0) throw new Error('not now')
          return consume(...terms)
        }
        return connection
      },
    }
    const bus = createBus({ events, transport, source: 'tests' })
    const got: string[] = []
    bus.subscribe('g', 'order.created', ({ id }) => {
      got.push(id)
    })
    await expect(bus.start()).rejects.toThrow('not now')

    await bus.start()
    await bus.publish('order.created', { orderId: '1' }, { id: 'a' })
    await broker.drain()

    expect(got).toEqual(['a'])
    expect(bus.health().status).toBe('up')
  })
})

describe('wrong options', () => {
  const ORDER = { orderId: '1' }
  const transport = memory()

  test.each([
    [{ transport, source: 'x' }, /events must be what defineEvents returns, got undefined/],
    [{ events, source: 'x' }, /transport.connect must be a function/],
    [{ events, transport }, /source must be a string/],
    [{ events, transport, source: '' }, /source must be .* got ''/],
    [{ events, transport, source: 'x', validate: 'yes' }, /validate must be both, publish, consume, off, got 'yes'/],
    [{ events, transport, source: 'x', use: [1] }, /use\[0\] must be a function, got 1/],
  ])('are refused by createBus: %#', (options, message) => {
    expect(() => createBus(options as never)).toThrow(TypeError)
    expect(() => createBus(options as never)).toThrow(message)
  })

  test.each([
    ['', 'order.*', {}, /group must be a string/],
    ['g', 'ordr.*', {}, /pattern must be one that matches an event of the catalogue, got 'ordr\.\*'/],
    ['g', [], {}, /patterns must be a pattern or an array with at least one/],
    ['g', 'order.*', { concurrency: 0 }, /concurrency must be an integer from 1, got 0/],
    ['g', 'order.*', { prefetch: 1.5 }, /prefetch must be an integer from 1, got 1\.5/],
    ['g', 'order.*', { timeout: Number.POSITIVE_INFINITY }, /timeout must be a number of milliseconds/],
    ['g', 'order.*', { retry: 3 }, /retry must be \{ immediate, delays \} or false, got 3/],
    ['g', 'order.*', { retry: { immediate: -1 } }, /retry\.immediate must be an integer from 0/],
    ['g', 'order.*', { retry: { delays: [1, Number.NaN] } }, /retry\.delays\[1\] must be/],
    ['g', 'order.*', { deadLetter: 'yes' }, /deadLetter must be true or false/],
    ['g', 'order.*', { queue: { name: '' } }, /queue\.name must be a string/],
    ['g', 'order.*', { queue: 5 }, /queue must be \{ name, existing \}, got 5/],
    ['g', 'order.*', { queue: 'orders' }, /queue must be \{ name, existing \}, got 'orders'/],
    ['g', 'order.*', { queue: null }, /queue must be \{ name, existing \}, got null/],
    ['g', 'order.*', { ordered: 5 }, /ordered must be \{ partitions, onFailure \}, got 5/],
    ['g', 'order.*', { ordered: null }, /ordered must be \{ partitions, onFailure \}, got null/],
    ['g', 'order.*', null, /options must be an object, got null/],
    ['g', null, {}, /patterns must be a pattern or an array with at least one, got null/],
    ['g', undefined, {}, /patterns must be a pattern or an array with at least one, got undefined/],
    ['g', 5, {}, /patterns must be a pattern or an array with at least one, got 5/],
    ['g', [null], {}, /pattern must be a string that is not empty, got null/],
    ['g', `${'#.'.repeat(130)}#`, {}, /pattern must be a string of at most 255 bytes/],
    ['ä'.repeat(126), 'order.*', {}, /group must be a string of at most 251 bytes/],
    ['g'.repeat(219), 'order.*', { ephemeral: true }, /group must be a string of at most 218 bytes/],
    ['g'.repeat(248), 'order.*', { ordered: { partitions: 2 } }, /group must be a string of at most 247 bytes/],
    ['g', 'order.*', { queue: { name: 'q'.repeat(300) } }, /queue\.name must be a string of at most 251 bytes/],
  ])('are refused by subscribe: %j %j %j', (group, pattern, options, message) => {
    const { bus } = fixture()

    expect(() => bus.subscribe(group, pattern as never, () => {}, options as never)).toThrow(TypeError)
    expect(() => bus.subscribe(group, pattern as never, () => {}, options as never)).toThrow(message)
  })

  test.each([
    [{ 'order.*': z.string() }, /event name must be words separated by dots/],
    [{ 'a..b': z.string() }, /event name must be/],
    [{ 'a.b': {} }, /schema must be a Standard Schema/],
    [{ 'a.b': { schema: z.string(), version: 0 } }, /version must be an integer from 1/],
    [
      { 'a.b': { schema: z.string(), version: 2, upcast: { 2: () => 1 } } },
      /upcast must be a version below 2, got '2'/,
    ],
    [{ 'a.b': { schema: z.string(), ttl: -5 } }, /ttl must be/],
  ])('are refused by defineEvents: %#', (specs, message) => {
    expect(() => defineEvents(specs as never)).toThrow(TypeError)
    expect(() => defineEvents(specs as never)).toThrow(message)
  })

  test.each<[string, (bus: ReturnType<typeof fixture>['bus']) => unknown, RegExp]>([
    [
      'publish',
      (bus) => bus.publish('order.created', ORDER, null as never),
      /publish 'order\.created': options must be an object, got null/,
    ],
    ['publish', (bus) => bus.publish('order.created', ORDER, 5 as never), /options must be an object, got 5/],
    [
      'publish',
      (bus) => bus.publish('order.created', ORDER, { id: 'ä'.repeat(128) }),
      /id must be a string of at most 255 bytes/,
    ],
    [
      'publish',
      (bus) => bus.publish('order.created', ORDER, { correlationId: 'c'.repeat(256) }),
      /correlationId must be a string of at most 255 bytes/,
    ],
    [
      'publish',
      (bus) => bus.publish('order.created', ORDER, { headers: null as never }),
      /headers must be an object, got null/,
    ],
    [
      'publish',
      (bus) => bus.publish('order.created', ORDER, { headers: 'a' as never }),
      /headers must be an object, got 'a'/,
    ],
    [
      'publish',
      (bus) => bus.publish('order.created', ORDER, { headers: { ['n'.repeat(256)]: 1 } }),
      /header name must be a string of at most 255 bytes/,
    ],
    [
      'publishMany',
      (bus) => bus.publishMany(null as never),
      /publishMany: batch must be an iterable of \{ type, data, options \}, got null/,
    ],
    [
      'publishMany',
      (bus) => bus.publishMany([null] as never),
      /publishMany: item 0 must be \{ type, data, options \}, got null/,
    ],
    [
      'publishMany',
      (bus) => bus.publishMany([{ type: 'order.created', data: ORDER, options: null as never }]),
      /options must be an object, got null/,
    ],
    [
      'request',
      (bus) => bus.request('order.created', ORDER, undefined as never),
      /request 'order\.created': options must be \{ reply, timeout \}, got undefined/,
    ],
    ['redrive', (bus) => bus.redrive('g', null as never), /redrive 'g': options must be an object, got null/],
    ['close', (bus) => bus.close(null as never), /close: options must be an object, got null/],
  ])('reject what %s returns, and say which: %#', async (_name, call, message) => {
    const { bus } = fixture()
    bus.subscribe('g', 'order.created', () => {})

    const called = call(bus)

    await expect(called).rejects.toThrow(message)
    await expect(called).rejects.toThrow(TypeError)
  })

  test('a clock without now is refused by memory', () => {
    expect(() => memory({ clock: {} as never })).toThrow(/clock\.now must be a function/)
  })
})

test('errors are known by their brand, not by their class', () => {
  const copy = Object.assign(new Error('of another copy'), { [Symbol.for('msx.messaging.error')]: true })

  expect(isMessagingError(copy)).toBe(true)
  expect(isMessagingError(new Error('another one'))).toBe(false)
})

describe('a broker that takes its time', () => {
  /** The broker, with one method of its connections changed. */
  function altered(broker: Transport, alter: (connection: TransportConnection) => void): Transport {
    return {
      clock: broker.clock,
      async connect(options) {
        const connection = await broker.connect(options)
        alter(connection)
        return connection
      },
    }
  }

  test('is waited for with the queues of the own groups before anything is published', async () => {
    const { broker } = fixture()
    const transport = altered(broker, (connection) => {
      const declare = connection.declare.bind(connection)
      connection.declare = async (queue) => {
        await rest()
        await declare(queue)
      }
    })
    const bus = createBus({ events, transport, source: 'tests' })
    await bus.start()

    bus.subscribe('g', 'order.created', () => {})
    await bus.publish('order.created', { orderId: '1' })

    expect(broker.published).toHaveLength(1)
  })

  test('is waited for with a publish under way before the bus closes', async () => {
    const { broker } = fixture()
    const gate = deferred()
    const log: string[] = []
    const transport = altered(broker, (connection) => {
      connection.publish = () => gate.promise
    })
    const bus = createBus({ events, transport, source: 'tests' })
    await bus.start()
    const published = bus.publish('order.line.added', { sku: 's' }).then(() => log.push('published'))

    const closed = bus.close().then(() => log.push('closed'))
    await rest()
    gate.open()
    await Promise.all([published, closed])

    expect(log).toEqual(['published', 'closed'])
  })

  test('gets what was published early before what was published once started', async () => {
    const { bus, broker } = fixture()
    bus.subscribe('g', 'order.created', () => {})
    const ids = ['1', '2', '3', '4', '5', '6']

    const early = ids.map((id) => bus.publish('order.created', { orderId: id }, { id: `early ${id}` }))
    await bus.start()
    await Promise.all([...early, bus.publish('order.created', { orderId: '' }, { id: 'late' })])

    expect(broker.published.map(({ id }) => id)).toEqual([...ids.map((id) => `early ${id}`), 'late'])
  })
})

test('a publish leaves no listener on its signal', async () => {
  const { bus } = fixture()
  const { signal } = new AbortController()

  await bus.publish('order.line.added', { sku: 's' }, { signal })

  expect(getEventListeners(signal, 'abort')).toEqual([])
})

test('what a handler does after the bus stopped waiting for it counts for nothing', async () => {
  const { bus, clock } = fixture()
  const log: string[] = []
  bus.on('retry', () => log.push('retry'))
  bus.on('deadLetter', () => log.push('deadLetter'))
  let attempts = 0
  bus.subscribe('g', 'order.created', (message) => {
    attempts += 1
    return new Promise((_, reject) => message.signal.addEventListener('abort', () => reject(new Error('stopped'))))
  })
  await bus.publish('order.created', { orderId: '1' })
  await rest()

  const closed = bus.close({ timeout: 10 })
  await clock.advance(10_000)
  await closed

  expect(log).toEqual([])
  expect(attempts).toBe(1)
})
