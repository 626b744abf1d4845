import { setTimeout as wait } from 'node:timers/promises'
import type { Options } from 'amqplib'
import { afterAll, afterEach, describe, expect, test } from 'vitest'
import { z } from 'zod'
import { type Bus, createBus } from '../bus.js'
import { defineEvents, type SchemasOf } from '../catalogue.js'
import type { SubscribeOptions } from '../subscribe-options.js'
import { onChannel } from './channels.js'
import { type TestBroker, testBroker } from './fixture.js'
import type { RabbitmqOptions } from './options.js'
import { proxyTo } from './proxy.js'

const available = await testBroker()
const broker = available as TestBroker
const opened: { close(): Promise<unknown> }[] = []

const events = defineEvents({
  'order.created': z.object({ orderId: z.string() }),
  'order.paid': { schema: z.object({ orderId: z.string(), cents: z.number() }), version: 2 },
})

afterEach(async () => {
  for (const thing of opened.splice(0).reverse()) await thing.close()
})
afterAll(() => available?.close())

describe.skipIf(available === undefined)('beside others on the same broker', { timeout: 20_000 }, () => {
  test.each([
    ['and declares the rest', {}, { existing: true }],
    ['and leaves the rest to its owner', { topology: 'none' as const }, {}],
  ])(
    'takes over an exchange and a queue that somebody else made and publishes to, %s',
    async (_, options, existing) => {
      const exchange = `${broker.exchange}.orders`
      const queue = broker.name('email-queue')
      await onChannel(broker.admin, async (channel) => {
        await channel.assertExchange(exchange, 'topic', { durable: true })
        await channel.assertQueue(queue, { durable: true })
        await channel.bindQueue(queue, exchange, 'order.*')
      })
      const bus = busOn({ exchange, ...options })
      const got: unknown[] = []
      bus.subscribe(
        'emails',
        'order.*',
        ({ type, data, source }) => {
          got.push({ type, data, source })
        },
        { queue: { name: queue, ...existing } },
      )
      await bus.start()

      await publishRaw('order.created', '{"orderId":"1"}', {}, exchange)
      await until(() => got.length === 1)
      await bus.publish('order.created', { orderId: '2' })

      await until(() => got.length === 2)
      expect(got).toEqual([
        { type: 'order.created', data: { orderId: '1' }, source: 'unknown' },
        { type: 'order.created', data: { orderId: '2' }, source: 'tests' },
      ])
      await onChannel(broker.admin, (channel) => channel.deleteQueue(queue))
    },
  )

  test('tries again later, and keeps as dead letters, what came through a queue it took over', async () => {
    const exchange = `${broker.exchange}.orders`
    const queue = broker.name('taken')
    await onChannel(broker.admin, (channel) => channel.assertQueue(queue, { durable: true }))
    const bus = busOn({ exchange })
    const attempts: number[] = []
    const letters: string[] = []
    bus.on('deadLetter', ({ code }) => letters.push(code))
    bus.subscribe(
      'emails',
      'order.*',
      ({ attempt }) => {
        attempts.push(attempt)
        throw new Error('no')
      },
      { queue: { name: queue, existing: true }, retry: { immediate: 0, delays: [1] } },
    )
    await bus.start()

    await publishRaw('order.created', '{"orderId":"1"}', {}, exchange)

    await until(() => letters.length === 1)
    expect(attempts).toEqual([1, 2])
    await until(async () => (await bus.redrive('emails', { dryRun: true })).moved === 1)
  })

  test('keeps on retries and dead letters what a foreign publisher wrote on the message', async () => {
    const properties = { contentEncoding: 'identity', priority: 4, appId: 'shop', type: 'Order' }
    const { bus, group, letters } = await listening({ retry: { immediate: 0, delays: [1] } }, {}, () => {
      throw new Error('no')
    })

    await publishRaw('order.created', '{"orderId":"1"}', { ...properties, messageId: 'm-1' })

    await until(() => letters.length === 1)
    await bus.close()
    const letter = await onChannel(broker.admin, (channel) => channel.get(`${group}.dlq`))
    expect(letter).toMatchObject({ properties: { ...properties, messageId: 'm-1' } })
  })

  test('publishes what others understand: a CloudEvent in binary mode, bare JSON, persistent also for classic queues', async () => {
    const group = broker.name('classic')
    const bus = busOn({ queueType: 'classic' })
    const subscription = bus.subscribe(group, 'order.paid', () => {})
    await bus.start()
    await subscription.pause()

    await bus.publish('order.paid', { orderId: '1', cents: 5 }, { id: 'e-1', key: '1', headers: { tenant: 'acme' } })

    const raw = await onChannel(broker.admin, (channel) => channel.get(group, { noAck: true }))
    if (raw === false) throw new Error('nothing there')
    expect(raw.content.toString()).toBe('{"orderId":"1","cents":5}')
    expect(raw.fields).toMatchObject({ exchange: broker.exchange, routingKey: 'order.paid' })
    expect(raw.properties).toMatchObject({
      deliveryMode: 2,
      messageId: 'e-1',
      contentType: 'application/json',
      headers: {
        tenant: 'acme',
        cloudEvents_specversion: '1.0',
        cloudEvents_id: 'e-1',
        cloudEvents_source: 'tests',
        cloudEvents_type: 'order.paid',
        cloudEvents_time: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/),
        cloudEvents_partitionkey: '1',
        'msx-version': 2,
      },
    })
  })

  test.each<[string, string, string, Options.Publish]>([
    ['a body that is no JSON', 'MSX_DECODE', '{', {}],
    ['a body that is no text', 'MSX_DECODE', '\u0000\u0001', {}],
    ['no body', 'MSX_DECODE', '', {}],
    ['data of another shape', 'MSX_VALIDATION', '{"orderId":7}', {}],
    ['a newer version', 'MSX_UNSUPPORTED_VERSION', '{"orderId":"1"}', { headers: { 'msx-version': 9 } }],
  ])(
    'puts away %s with its reason, at once and once, and handles its neighbours',
    async (_, code, body, properties) => {
      const { bus, group, got, letters } = await listening()

      await publishRaw('order.created', '{"orderId":"before"}')
      await publishRaw('order.created', body, properties)
      await publishRaw('order.created', '{"orderId":"after"}')

      await until(() => got.length === 2 && letters.length === 1)
      expect(got).toEqual(['before', 'after'])
      expect(letters).toEqual([{ code, attempt: 0 }])
      const reasons: string[] = []
      await bus.redrive(group, { dryRun: true, filter: ({ reason }) => reasons.push(reason) > 0 })
      expect(reasons[0]).toContain("'order.created'")
    },
  )

  test.each([
    ['deaths that are a text', { 'x-death': 'abc' }],
    ['deaths of nothing', { 'x-death': [{}] }],
    ['attempts that are no number', { 'msx-attempts': { toString: 'x', valueOf: 'y' } }],
    ['more attempts than can be counted', { 'msx-attempts': Number.MAX_SAFE_INTEGER }],
    ['an envelope of tables', { cloudEvents_id: { a: 1 }, cloudEvents_time: ['x'], 'msx-version': { valueOf: 1 } }],
  ])('goes on after a message with forged headers: %s', async (_, headers) => {
    const { bus, got } = await listening()

    await publishRaw('order.created', '{"orderId":"forged"}', { headers })
    await publishRaw('order.created', '{"orderId":"after"}')

    await until(() => got.length === 2)
    expect(got).toEqual(['forged', 'after'])
    expect(bus.health().status).toBe('up')
  })

  test('takes an empty id for none, so that what follows from it can be published', async () => {
    const { bus, group } = await listening()
    const ids: string[] = []
    bus.subscribe(broker.name('chain'), 'order.paid', ({ causationId = '' }) => void ids.push(causationId))
    bus.subscribe(broker.name('again'), 'order.created', ({ data }, context) =>
      context.publish('order.paid', { ...data, cents: 1 }),
    )
    await bus.start()

    await publishRaw('order.created', '{"orderId":"1"}', { messageId: '', correlationId: '' }, group)

    await until(() => ids.length === 1)
    expect(ids[0]).toHaveLength(36)
  })

  test('redrives to the queue of the group, whatever other queue the publisher named', async () => {
    const { bus, group, letters } = await listening()
    const victim = broker.name('victim')
    await onChannel(broker.admin, (channel) => channel.assertQueue(victim, { durable: true }))
    for (const queue of [victim, `${group}.7`]) {
      await publishRaw('order.created', 'no json', { headers: { 'msx-queue': queue } })
    }
    await until(() => letters.length === 2)

    expect(await bus.redrive(group)).toEqual({ moved: 2, left: 0 })

    await until(() => letters.length === 4)
    await onChannel(broker.admin, async (channel) => {
      expect((await channel.checkQueue(victim)).messageCount).toBe(0)
    })
  })

  test.each([
    ['its id is longer than AMQP can say', { cloudEvents_id: 'x'.repeat(300) }, 'x'],
    [
      'its many headers leave no room for its story',
      Object.fromEntries(Array.from({ length: 130 }, (_, n) => [`h${n}`, 'x'.repeat(494)])),
      undefined,
    ],
  ])('loses no message of a queue without dead letters of its own when %s', async (_, headers, filler) => {
    const exchange = `${broker.exchange}.orders`
    const queue = broker.name(`bare-${filler}`)
    await onChannel(broker.admin, (channel) => channel.assertQueue(queue, { durable: true }))
    const bus = busOn({ exchange })
    const letters: string[] = []
    bus.on('deadLetter', ({ code }) => letters.push(code))
    bus.subscribe('emails', 'order.*', () => Promise.reject(new Error('no')), {
      queue: { name: queue, existing: true },
      retry: { immediate: 0, delays: [1_000] },
    })
    await bus.start()

    await publishRaw('order.created', '{"orderId":"1"}', { headers, messageId: 'm' }, exchange)

    await until(() => letters.length === 1)
    await until(() =>
      onChannel(broker.admin, async (channel) => (await channel.checkQueue(`${queue}.dlq`)).messageCount === 1),
    )
    expect(letters).toEqual(['MSX_HANDLER_FAILED'])
  })

  test('puts away an event that the catalogue does not know', async () => {
    const { got, letters } = await listening()

    await publishRaw('order.shipped', '{}')
    await publishRaw('order.created', '{"orderId":"after"}')

    await until(() => got.length === 1 && letters.length === 1)
    expect(letters).toEqual([{ code: 'MSX_UNKNOWN_EVENT', attempt: 0 }])
  })

  test('puts away what is poison and has no room for its reason, without the header that is in the way', async () => {
    const { bus, group, letters } = await listening({ retry: { immediate: 0, delays: [1_000] } })
    // With one more header amqplib could not write it again.
    const headers = { filler: 'x'.repeat(65_500), tenant: 'acme' }

    await publishRaw('order.created', '{', { headers, messageId: 'fat' })
    await publishRaw('order.created', '{', { messageId: 'thin' })

    await until(() => letters.length === 2)
    expect(letters).toEqual([
      { code: 'MSX_DECODE', attempt: 0 },
      { code: 'MSX_DECODE', attempt: 0 },
    ])
    const found: unknown[] = []
    await bus.redrive(group, {
      dryRun: true,
      filter: ({ id, code, headers: kept }) => found.push([id, code, kept]) > 0,
    })
    expect(found.sort()).toEqual([
      ['fat', 'MSX_DECODE', { tenant: 'acme' }],
      ['thin', 'MSX_DECODE', {}],
    ])
  })

  test('puts away at once what has no room for the count of its attempts', async () => {
    const { group, bus, letters } = await listening({ retry: { immediate: 0, delays: [1_000] } }, {}, () => {
      throw new Error('no')
    })

    await publishRaw('order.created', '{"orderId":"1"}', { headers: { filler: 'x'.repeat(65_500) } })

    await until(() => letters.length === 1)
    expect(letters).toEqual([{ code: 'MSX_HANDLER_FAILED', attempt: 1 }])
    expect(await bus.redrive(group, { dryRun: true })).toEqual({ moved: 1, left: 0 })
  })

  test('redrives around a dead letter of the broker that has no room for one header more', async () => {
    const { group, bus, subscription, got } = await listening()
    await subscription.pause()
    await publishRaw('order.created', '{"orderId":"1"}', { headers: { filler: 'x'.repeat(65_500) }, expiration: '1' })
    await publishRaw('order.created', '{"orderId":"2"}', { expiration: '1' })
    await until(async () => (await bus.redrive(group, { dryRun: true })).moved === 2)
    await subscription.resume()

    expect(await bus.redrive(group)).toEqual({ moved: 1, left: 1 })

    await until(() => got.length === 1)
    expect(got).toEqual(['2'])
  })

  test('says that a vhost is unknown, or a user may not use it', async () => {
    const url = new URL(broker.url)
    url.pathname = '/msx-no-such-vhost'

    await expect(broker.transport({ url: url.href }).connect({ name: 'tests' })).rejects.toMatchObject({
      code: 'MSX_ACCESS_REFUSED',
      retryable: false,
      message: expect.stringContaining('msx-no-such-vhost'),
    })
  })

  test('goes over to another node when its own is gone', async () => {
    const [first, second] = [await proxyTo(broker.url), await proxyTo(broker.url)]
    opened.push(first, second)
    const { bus, got } = await listening({}, { url: [first.url, second.url] })
    // One of the two connections each.
    const made = [first.made, second.made]
    expect(made).toEqual([1, 1])

    first.refuse(true)
    first.cut()
    await bus.publish('order.created', { orderId: '1' })
    await until(() => got.length === 1)

    expect(first.made).toBe(1)
    expect(second.made).toBe(2)
  })
})

/** A group that handles every order, and what became of its messages. */
async function listening(
  options: SubscribeOptions = {},
  transport: Partial<RabbitmqOptions> = {},
  handle: () => void = () => {},
) {
  const group = broker.name(`g-${opened.length}-${Math.random().toString(36).slice(2, 8)}`)
  const bus = busOn({ ...transport, exchange: group })
  const got: string[] = []
  const letters: { code: string; attempt: number }[] = []
  bus.on('deadLetter', ({ code, attempt }) => letters.push({ code, attempt }))
  const subscription = bus.subscribe(
    group,
    'order.*',
    ({ data }) => {
      got.push(data.orderId)
      handle()
    },
    { concurrency: 1, ...options },
  )
  await bus.start()
  lastExchange = group

  return { bus, group, subscription, got, letters }
}

let lastExchange = ''

function busOn(options: Partial<RabbitmqOptions>): Bus<SchemasOf<typeof events>> {
  const bus = createBus({ events, transport: broker.transport(options), source: 'tests' })
  opened.push({
    async close() {
      await bus.close()
      const { exchange } = options
      if (exchange !== undefined) await deleteAll(exchange)
    },
  })

  return bus
}

async function deleteAll(exchange: string): Promise<void> {
  await onChannel(broker.admin, async (channel) => {
    for (const queue of ['unclaimed', 'nowhere', 'retry.1000']) await channel.deleteQueue(`${exchange}.${queue}`)
    for (const name of ['', '.retry', '.delay', '.unclaimed', '.nowhere', '.retry.1000']) {
      await channel.deleteExchange(`${exchange}${name}`)
    }
  })
}

/** As any program with an AMQP library does it. */
async function publishRaw(
  key: string,
  body: string,
  properties: Options.Publish = {},
  exchange = lastExchange,
): Promise<void> {
  await onChannel(broker.admin, async (channel) => {
    channel.publish(exchange, key, Buffer.from(body), properties)
  })
}

async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = performance.now() + 10_000
  while (!(await holds())) {
    if (performance.now() > deadline) throw new Error(`waited too long for ${holds}`)
    await wait(5)
  }
}
