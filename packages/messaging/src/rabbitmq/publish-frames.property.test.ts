import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { WireMessage } from '../transport.js'
import type { Parcel } from './parcel.js'
import { PublishFrames } from './publish-frames.js'
import { toProperties } from './wire.js'

/** amqplib's own encoder, which it does not export. */
interface Encoder {
  readonly BasicPublish: number
  readonly BasicProperties: number
  encodeMethod(id: number, channel: number, fields: object): Buffer
  encodeProperties(id: number, channel: number, size: number, fields: object): Buffer
  decode(id: number, bytes: Buffer): object
}

const require = createRequire(import.meta.url)
const folder = join(dirname(require.resolve('amqplib')), 'lib')
const encoder: Encoder = require(join(folder, 'defs.js'))
const { decode } = encoder
const { makeBodyFrame }: { makeBodyFrame(channel: number, part: Buffer): Buffer } = require(join(folder, 'frame.js'))
const { publish: fieldsOf }: { publish(exchange: string, key: string, options: object): object } = require(
  join(folder, 'api_args.js'),
)

const CHANNEL = 300

/** What amqplib writes for the same message. */
function byAmqplib({ exchange, key, message, sent, onReturned }: Parcel, frameMax: number): Buffer {
  const body = Buffer.from(message.body)
  const fields = fieldsOf(exchange, key, toProperties(message, sent, onReturned !== undefined))
  const frames = [
    encoder.encodeMethod(encoder.BasicPublish, CHANNEL, fields),
    encoder.encodeProperties(encoder.BasicProperties, CHANNEL, body.length, fields),
  ]
  const most = frameMax - 8
  for (let at = 0; at < body.length; at += most) frames.push(makeBodyFrame(CHANNEL, body.subarray(at, at + most)))

  return Buffer.concat(frames)
}

function byUs(frames: PublishFrames, parcel: Parcel): Buffer {
  const head = frames.head(parcel)
  const { body } = parcel.message
  const bytes = Buffer.alloc(head.length + frames.sizeOf(body))
  bytes.set(head)
  expect(frames.writeBody(body, bytes, head.length)).toBe(bytes.length)

  return bytes
}

const text = (most: number) => fc.oneof(fc.string({ maxLength: most }), fc.string({ unit: 'binary', maxLength: most }))
/** Texts of the same length, of which some have more bytes. */
const alike = fc.oneof(fc.uuid(), fc.constantFrom('a', 'b', 'ä', '€', ''))
const number = fc.oneof(
  fc.integer(),
  fc.maxSafeInteger(),
  fc.double({ noNaN: true, min: -(2 ** 50), max: 2 ** 50 }),
  fc.constantFrom(0, -0, 127, 128, -128, -129, 32_767, 32_768, -32_768, -32_769, 2 ** 31 - 1, 2 ** 31, -(2 ** 31)),
  fc.constantFrom(-(2 ** 31) - 1, 2 ** 53, 2 ** 62, 2 ** 63, 2 ** 64, 1e300, Number.POSITIVE_INFINITY),
)
/** Also what amqplib makes of what a foreign publisher wrote. */
const { value } = fc.letrec<{ value: unknown }>((tie) => ({
  value: fc.oneof(
    { depthSize: 'small' },
    text(60),
    alike,
    number,
    fc.boolean(),
    fc.constantFrom(null, undefined),
    fc.uint8Array({ maxLength: 20 }).map((bytes) => Buffer.from(bytes)),
    fc.record({ '!': fc.constant('timestamp'), value: fc.nat(2 ** 45) }),
    fc.record({ '!': fc.constant('decimal'), value: fc.record({ places: fc.nat(255), digits: fc.nat(2 ** 32 - 1) }) }),
    fc.array(
      tie('value').filter((item) => item !== undefined),
      { maxLength: 4 },
    ),
    // What amqplib takes for a type of its own is for another test.
    fc.dictionary(
      text(10).filter((name) => name !== '!'),
      tie('value'),
      { maxKeys: 4 },
    ),
  ),
}))

const name = fc.oneof(
  fc.constantFrom('cloudEvents_id', 'cloudEvents_time', 'ä', '7', 'x-death', 'x-own', 'CC', 'BCC', 'Copy', 'msx-type'),
  text(20),
)
const message = fc.record<WireMessage>(
  {
    type: fc.constantFrom('order.created', 'order.paid', 'ö'),
    body: fc.uint8Array({ maxLength: 300 }),
    headers: fc.dictionary(name, value, { maxKeys: 8 }),
    id: fc.option(alike, { nil: undefined }),
    contentType: fc.constantFrom('application/json', 'text/plain', undefined),
    timestamp: fc.option(fc.nat(2 ** 45), { nil: undefined }),
    correlationId: fc.option(alike, { nil: undefined }),
    replyTo: fc.constantFrom('answers', 'ä', undefined),
    ttl: fc.option(fc.double({ noNaN: true, min: 0, max: 1e9 }), { nil: undefined }),
    properties: fc.option(
      fc.record({ contentEncoding: alike, priority: fc.nat(255), appId: alike, type: alike }, { requiredKeys: [] }),
      { nil: undefined },
    ),
  },
  { requiredKeys: ['type', 'body', 'headers'] },
)
const mandatory = (): never => {
  throw new Error('nobody asks')
}
const parcel = fc
  .record({ message, sent: fc.boolean(), isMandatory: fc.boolean(), exchange: fc.constantFrom('', 'events', 'ä') })
  .map(({ message, sent, isMandatory, exchange }): Parcel => {
    const onReturned = isMandatory ? mandatory : undefined
    return { exchange, key: sent ? 'a-queue' : message.type, message, sent, onReturned }
  })

/** Some of what differs from one message of a type to the next. */
const difference = fc.record<Partial<WireMessage>>(
  {
    body: fc.constantFrom(Buffer.from('{}'), Buffer.from('[1]'), Buffer.alloc(4_088, 1), Buffer.alloc(9_000, 2)),
    id: alike,
    correlationId: alike,
    timestamp: fc.nat(5_000),
    ttl: fc.constantFrom(1, 1.5, 2, 1_000),
    properties: fc.constantFrom({ priority: 1 }, { priority: 2 }, undefined),
  },
  { requiredKeys: [] },
)
/** Undefined: without this header. */
const headerChange = fc.option(fc.tuple(fc.nat(7), fc.oneof(alike, value, fc.constant(undefined))), { freq: 1 })

function changed(parcel: Parcel, difference: Partial<WireMessage>, header: [number, unknown] | null): Parcel {
  const message = { ...parcel.message, ...difference }
  if (header === null) return { ...parcel, message }

  const [at, value] = header
  const names = Object.keys(message.headers)
  const headers = { ...message.headers, [names[at % names.length] ?? 'added']: value }
  return { ...parcel, message: { ...message, headers } }
}

/** A message, then others of its type, each made of the one before or of the first. */
const series = fc
  .tuple(parcel, fc.array(fc.tuple(difference, headerChange, fc.boolean()), { maxLength: 6 }))
  .map(([first, changes]) => {
    const all = [first]
    for (const [difference, header, isOfFirst] of changes) {
      all.push(changed(isOfFirst ? first : all.at(-1)!, difference, header))
    }
    return all
  })

test('writes each message, byte for byte, as amqplib does, whatever came before it', () => {
  const property = fc.property(series, series, fc.constantFrom(4_096, 131_072), (some, others, frameMax) => {
    const frames = new PublishFrames(CHANNEL, frameMax)
    for (const each of [...some, ...others, ...some]) {
      expect(byUs(frames, each).equals(byAmqplib(each, frameMax))).toBe(true)
    }
  })

  fc.assert(property, { numRuns: 400 })
})

const PLAIN: WireMessage = { type: 't', body: Buffer.from('{}'), headers: { a: 'one' }, id: 'x' }

function parcelOf(message: Partial<WireMessage>): Parcel {
  return { exchange: 'e', key: 't', message: { ...PLAIN, ...message }, sent: false, onReturned: undefined }
}

test.each([
  ['an id', { id: 'ä'.repeat(128) }, /id has 256 bytes, AMQP has room for 255/],
  ['a correlation id', { correlationId: 'c'.repeat(300) }, /correlationId has 300 bytes/],
  ['the name of a header', { headers: { ['n'.repeat(256)]: 1 } }, /name of a header has 256 bytes/],
  ['a table', { headers: { a: 'x'.repeat(65_536) } }, /more than the 65536 bytes/],
  ['many headers', { headers: Object.fromEntries(Array.from({ length: 9_000 }, (_, at) => [`n-${at}`, at])) }, /65536/],
  ['a form that AMQP does not have', { headers: { a: 1n } }, /a header cannot be a bigint/],
])('refuses %s without room for it, and writes the next message whole', (_what, message, problem) => {
  const frames = new PublishFrames(CHANNEL, 131_072)
  frames.head(parcelOf({}))

  // What it has in common with the last one is written over before the rest turns out not to fit.
  expect(() => frames.head(parcelOf({ headers: { a: 'xyä' }, ...(message as Partial<WireMessage>) }))).toThrow(problem)

  expect(byUs(frames, parcelOf({})).equals(byAmqplib(parcelOf({}), 131_072))).toBe(true)
})

test('sees that a header has changed inside', () => {
  const frames = new PublishFrames(CHANNEL, 131_072)
  const list = ['a']
  const parcel = parcelOf({ headers: { list } })
  frames.head(parcel)

  list.push('b')

  expect(byUs(frames, parcel).equals(byAmqplib(parcel, 131_072))).toBe(true)
})

test('writes numbers and tables of foreign messages that amqplib reads and does not write', () => {
  const headers = { a: [Number.NaN, Number.NEGATIVE_INFINITY, -(2 ** 64), 2 ** 50 + 0.5], b: { '!': 'x', value: 1 } }

  const frame = new PublishFrames(CHANNEL, 131_072).head(parcelOf({ headers }))

  const method = encoder.encodeMethod(encoder.BasicPublish, CHANNEL, { exchange: 'e', routingKey: 't' })
  const properties = decode(encoder.BasicProperties, frame.subarray(method.length + 7 + 12))
  expect(properties).toMatchObject({ headers, messageId: 'x' })
})

test('refuses headers that do not fit a frame, over which the broker would end the connection', () => {
  const frames = new PublishFrames(CHANNEL, 4_096)

  expect(() => frames.head(parcelOf({ headers: { a: 'x'.repeat(4_096) } }))).toThrow(/a frame has room for 4088/)
})

test('writes more types than it remembers', () => {
  const frames = new PublishFrames(CHANNEL, 131_072)

  for (let at = 0; at < 2_000; at += 1) {
    const other = { ...parcelOf({ type: `t.${at}` }), key: `t.${at}` }
    expect(byUs(frames, other).equals(byAmqplib(other, 131_072))).toBe(true)
  }
})
