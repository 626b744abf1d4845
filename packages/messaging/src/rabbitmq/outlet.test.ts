import { EventEmitter } from 'node:events'
import { PassThrough } from 'node:stream'
import { type ConfirmChannel, connect, type GetMessage } from 'amqplib'
import { afterAll, describe, expect, onTestFinished, test } from 'vitest'
import type { WireMessage } from '../transport.js'
import { testBroker } from './fixture.js'
import { FrameOutlet, insidesOf, type Outlet, openOutlet, PlainOutlet } from './outlet.js'
import type { Parcel } from './parcel.js'

const broker = await testBroker()

const EVERYTHING: WireMessage = {
  type: 'order.created',
  body: Buffer.from('{"ä":1}'),
  headers: {
    text: 'ä€',
    numbers: [0, -1, 200, 40_000, 3e9, -3e9, 1.5, 2 ** 53],
    truth: [true, false, null],
    nested: { a: { b: [Buffer.from('bytes')] } },
    at: { '!': 'timestamp', value: 1_700_000_000 },
    price: { '!': 'decimal', value: { places: 2, digits: 1_999 } },
    'x-death': [{ queue: 'elsewhere' }],
  },
  id: 'id-1',
  contentType: 'application/json',
  timestamp: 1_700_000_000_123,
  correlationId: 'correlation-1',
  replyTo: 'answers',
  ttl: 60_000.5,
}
const BARE: WireMessage = { type: 'order.created', body: Buffer.from('{}'), headers: {} }
const MESSAGES: readonly WireMessage[] = [
  EVERYTHING,
  BARE,
  { ...BARE, body: Buffer.alloc(0) },
  // Three frames, then pieces that no message begins or ends with.
  { ...BARE, body: Buffer.alloc(300_000, 'large ') },
  ...Array.from({ length: 300 }, (_, at) => ({ ...EVERYTHING, id: `id-${at}`, body: Buffer.from(`{"n":${at}}`) })),
]

describe.skipIf(broker === undefined)('with RabbitMQ', () => {
  afterAll(() => broker?.close())

  /** What comes out of a queue when all of them went into it. */
  async function received(queue: string, outletOf: (channel: ConfirmChannel) => Outlet): Promise<unknown[]> {
    const channel = await broker!.admin.createConfirmChannel()
    await channel.assertQueue(queue)
    broker!.adopt(queue)
    const outlet = outletOf(channel)
    let confirmed = 0
    const all = new Promise<void>((resolve) => {
      channel.on('ack', ({ deliveryTag, multiple }) => {
        confirmed = multiple ? deliveryTag : confirmed + 1
        if (deliveryTag === MESSAGES.length) resolve()
      })
    })
    for (const [at, message] of MESSAGES.entries()) {
      const parcel = { exchange: '', key: queue, message, sent: at % 2 === 0, onReturned: undefined }
      outlet.write(parcel)
    }
    await all

    const messages: unknown[] = []
    for (let raw = await channel.get(queue); raw !== false; raw = await channel.get(queue)) {
      messages.push(contentOf(raw))
    }
    await channel.close()
    return messages
  }

  function contentOf({ content, properties }: GetMessage): unknown {
    return { content: content.toString(), properties }
  }

  test('puts the same messages into a queue as amqplib does', async () => {
    const byFrames = await received(broker!.name('frames'), openOutlet)
    const byName = await received(broker!.name('plain'), (channel) => new PlainOutlet(channel))

    expect(byFrames).toHaveLength(MESSAGES.length)
    expect(byFrames).toEqual(byName)
  })

  test('is the fast one with this amqplib, and leaves it nothing to settle', async () => {
    const channel = await broker!.admin.createConfirmChannel()

    expect(openOutlet(channel)).toBeInstanceOf(FrameOutlet)
    expect(channel.listenerCount('ack')).toBe(0)
    expect(await channel.waitForConfirms()).toEqual([])
    await channel.close()
  })

  test('refuses what is written on a channel that is closing, as amqplib does', async () => {
    const channel = await broker!.admin.createConfirmChannel()
    const outlet = openOutlet(channel)
    const closed = channel.close()

    expect(() => outlet.write(parcelOf(BARE))).toThrow(/Channel closing/)
    await closed
  })

  test('tells when the goodbye of a closed channel is on its way, and its number can be used again', async () => {
    const model = await connect(broker!.url)
    onTestFinished(() => model.close().catch(() => {}))
    const problems: unknown[] = []
    model.on('error', (error) => problems.push(error))
    for (let round = 0; round < 5; round += 1) {
      const channel = await model.createConfirmChannel()
      const outlet = openOutlet(channel)
      channel.on('error', () => {})
      const closed = new Promise((resolve) => channel.once('close', resolve)).then(() => outlet.emptied())
      // The broker closes the channel over each, while the rest is still to be written.
      const body = Buffer.alloc(200_000)
      for (let at = 0; at < 100; at += 1) outlet.write({ ...parcelOf({ ...BARE, body }), exchange: 'no-such-exchange' })
      await closed
    }
    await (await model.createChannel()).close()

    expect(problems).toEqual([])
  })

  test.each([
    ['no number', { ch: undefined }],
    ['no connection', { connection: null }],
    ['another connection', { connection: {} }],
    ['a connection without channels', { connection: { frameMax: 4_096, sentSinceLastCheck: true, sendMessage: sink } }],
    ['no way to send', { sendMessage: undefined }],
    ['something that is not confirmed', { unconfirmed: [false] }],
  ])('lets amqplib publish when its channel has %s', async (_what, changes) => {
    const channel = await broker!.admin.createConfirmChannel()
    const changed = Object.create(channel) as ConfirmChannel
    for (const [name, value] of Object.entries(changes)) Object.defineProperty(changed, name, { value })

    expect(openOutlet(changed)).toBeInstanceOf(PlainOutlet)
    expect(insidesOf(channel)).toBeDefined()
    await channel.close()
  })
})

function sink(): void {}

/** A channel whose bytes go nowhere yet. */
function pending(highWaterMark: number) {
  const buffer = new PassThrough({ objectMode: true, highWaterMark })
  const channel = new EventEmitter()
  const channels = [null, { channel, buffer }]
  const connection = { frameMax: 4_096, sentSinceLastCheck: false, sendMessage: sink, channels }
  Object.assign(channel, { ch: 1, connection, sendMessage: sink, unconfirmed: [] })
  buffer.on('drain', () => channel.emit('drain'))

  const close = (): void => {
    Object.assign(channel, { sendMessage: () => {} })
  }
  return { outlet: openOutlet(channel as unknown as ConfirmChannel), buffer, close }
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

test('hands on what is written in one turn at its end, all together', async () => {
  const { outlet, buffer } = pending(16)

  for (let at = 0; at < 20; at += 1) outlet.write(parcelOf(BARE))
  expect(buffer.writableLength + buffer.readableLength).toBe(0)
  await turn()

  expect(buffer.writableLength + buffer.readableLength).toBe(1)
})

test('says nothing more on a channel that was closed in the same turn', async () => {
  const { outlet, buffer, close } = pending(16)

  outlet.write(parcelOf(BARE))
  close()
  await turn()

  expect(buffer.writableLength + buffer.readableLength).toBe(0)
})

test('tells the writer when the channel has enough, until it has less', async () => {
  const { outlet, buffer } = pending(1)

  expect(outlet.write(parcelOf(BARE))).toBe(true)
  await turn()
  expect(outlet.write(parcelOf(BARE))).toBe(false)
  await turn()
  buffer.resume()
  await turn()

  expect(outlet.write(parcelOf(BARE))).toBe(true)
})

function parcelOf(message: WireMessage): Parcel {
  return { exchange: 'events', key: message.type, message, sent: false, onReturned: undefined }
}
