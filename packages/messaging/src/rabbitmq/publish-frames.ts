import { AmqpBytes } from './amqp-bytes.js'
import type { Parcel } from './parcel.js'
import { isBrokersOwn, TYPE } from './wire.js'

const FRAME = { method: 1, header: 2, body: 3, end: 0xce } as const

/** Kind, channel and size in front of the payload of a frame. */
const FRAME_HEAD = 7

/** What a frame has besides its payload. */
const FRAME_OVERHEAD = FRAME_HEAD + 1

const BASIC = 60
const PUBLISH = 40
const MANDATORY = 1
const PERSISTENT = 2

/** Which properties follow, in this order. */
const FLAG = {
  contentType: 0x8000,
  contentEncoding: 0x4000,
  headers: 0x2000,
  deliveryMode: 0x1000,
  priority: 0x0800,
  correlationId: 0x0400,
  replyTo: 0x0200,
  expiration: 0x0100,
  messageId: 0x0080,
  timestamp: 0x0040,
  type: 0x0020,
  appId: 0x0008,
} as const

/** Of so many types the last message is kept, when its frames have no more bytes than these. */
const MOST_TYPES = 128
const LARGEST_KEPT = 4_096

/** The frames in front of a body, and where in them is what differs from one message of a type to the next. */
interface Head {
  readonly bytes: Buffer
  readonly exchange: string
  readonly isMandatory: boolean
  readonly contentType: string | undefined
  readonly replyTo: string | undefined
  readonly ttl: number | undefined
  readonly names: readonly string[]
  readonly values: unknown[]
  /** Where the value of each header is, when another of the same length can be written over it. */
  readonly places: readonly (number | undefined)[]
  readonly sizeAt: number
  readonly id: Changing<string>
  readonly correlationId: Changing<string>
  readonly seconds: Changing<number>
}

/** A property, and where it is if it can be written over. */
interface Changing<T> {
  value: T | undefined
  readonly at: number | undefined
}

/**
 * A message as frames of AMQP 0-9-1, byte for byte what amqplib makes of it, in a tenth of the time: messages of one type
 * differ in their ids, their time and their body, so the frames of the last one are kept, and what differs is written
 * over.
 */
export class PublishFrames {
  readonly #channel: number
  readonly #largestPayload: number
  readonly #draft = new AmqpBytes()
  /** By routing key. */
  readonly #heads = new Map<string, Head>()

  /** @param frameMax The most bytes that a frame may have, as agreed with the broker. */
  constructor(channel: number, frameMax: number) {
    this.#channel = channel
    this.#largestPayload = frameMax - FRAME_OVERHEAD
  }

  /**
   * The frames in front of the body, good until the next call.
   *
   * @throws RangeError or TypeError when there is no room for something in them, or no form.
   */
  head(parcel: Parcel): Buffer {
    const known = this.#heads.get(parcel.key)
    if (known !== undefined && fits(known, parcel) && rewrite(known, parcel)) return known.bytes

    // What could be rewritten only in part is no message.
    this.#heads.delete(parcel.key)
    const made = this.#write(parcel)
    if (isUsual(parcel) && made.bytes.length <= LARGEST_KEPT) {
      if (this.#heads.size >= MOST_TYPES) this.#heads.clear()
      this.#heads.set(parcel.key, made)
    }
    return made.bytes
  }

  /** How many bytes the frames of a body have. */
  sizeOf(body: Uint8Array): number {
    return body.length + Math.ceil(body.length / this.#largestPayload) * FRAME_OVERHEAD
  }

  /** Writes the frames of a body. Returns where they end. */
  writeBody(body: Uint8Array, into: Uint8Array, at: number): number {
    let end = at
    for (let start = 0; start < body.length; start += this.#largestPayload) {
      const isWhole = body.length <= this.#largestPayload
      const part = isWhole ? body : body.subarray(start, start + this.#largestPayload)
      into[end] = FRAME.body
      into[end + 1] = this.#channel >>> 8
      into[end + 2] = this.#channel
      putLong(into, end + 3, part.length)
      into.set(part, end + FRAME_HEAD)
      end += FRAME_HEAD + part.length
      into[end++] = FRAME.end
    }

    return end
  }

  #write({ exchange, key, message, sent, onReturned }: Parcel): Head {
    const out = this.#draft
    const isMandatory = onReturned !== undefined
    out.clear()

    const method = this.#open(FRAME.method)
    out.short(BASIC)
    out.short(PUBLISH)
    out.short(0)
    out.shortText(exchange, 'the name of the exchange')
    out.shortText(key, sent ? 'the name of the queue' : 'the type')
    out.octet(isMandatory ? MANDATORY : 0)
    this.#close(method)

    const { contentType, correlationId, replyTo, ttl, id, timestamp, body, properties = {} } = message
    const { contentEncoding, priority, type, appId } = properties
    const seconds = secondsOf(timestamp)
    const header = this.#open(FRAME.header)
    out.short(BASIC)
    out.short(0)
    const sizeAt = out.length
    out.longlong(body.length)
    out.short(
      FLAG.headers |
        FLAG.deliveryMode |
        (contentType === undefined ? 0 : FLAG.contentType) |
        (contentEncoding === undefined ? 0 : FLAG.contentEncoding) |
        (priority === undefined ? 0 : FLAG.priority) |
        (correlationId === undefined ? 0 : FLAG.correlationId) |
        (replyTo === undefined ? 0 : FLAG.replyTo) |
        (ttl === undefined ? 0 : FLAG.expiration) |
        (id === undefined ? 0 : FLAG.messageId) |
        (seconds === undefined ? 0 : FLAG.timestamp) |
        (type === undefined ? 0 : FLAG.type) |
        (appId === undefined ? 0 : FLAG.appId),
    )
    if (contentType !== undefined) out.shortText(contentType, 'contentType')
    if (contentEncoding !== undefined) out.shortText(contentEncoding, 'contentEncoding')
    const names: string[] = []
    const values: unknown[] = []
    const places: (number | undefined)[] = []
    const headers = sent ? { ...message.headers, [TYPE]: message.type } : message.headers
    out.table(headers, isBrokersOwn, (name, value, at) => {
      names.push(name)
      values.push(value)
      places.push(isAscii(value) ? at : undefined)
    })
    out.octet(PERSISTENT)
    if (priority !== undefined) out.octet(priority)
    const correlationAt = correlationId === undefined ? 0 : out.shortText(correlationId, 'correlationId')
    if (replyTo !== undefined) out.shortText(replyTo, 'replyTo')
    if (ttl !== undefined) out.shortText(String(Math.ceil(ttl)), 'ttl')
    const idAt = id === undefined ? 0 : out.shortText(id, 'id')
    const secondsAt = out.length
    if (seconds !== undefined) out.longlong(seconds)
    if (type !== undefined) out.shortText(type, 'properties.type')
    if (appId !== undefined) out.shortText(appId, 'properties.appId')
    this.#close(header)

    return {
      bytes: out.copy(),
      exchange,
      isMandatory,
      contentType,
      replyTo,
      ttl,
      names,
      values,
      places,
      sizeAt,
      id: { value: id, at: isAscii(id) ? idAt : undefined },
      correlationId: { value: correlationId, at: isAscii(correlationId) ? correlationAt : undefined },
      seconds: { value: seconds, at: seconds === undefined ? undefined : secondsAt },
    }
  }

  /** Returns where the frame begins. */
  #open(kind: number): number {
    const start = this.#draft.length
    this.#draft.octet(kind)
    this.#draft.short(this.#channel)
    this.#draft.long(0)

    return start
  }

  #close(start: number): void {
    const size = this.#draft.length - start - FRAME_HEAD
    if (size > this.#largestPayload) {
      throw new RangeError(`its headers have ${size} bytes, and a frame has room for ${this.#largestPayload}`)
    }
    this.#draft.longAt(start + 3, size)
    this.#draft.octet(FRAME.end)
  }
}

/** What goes to a queue, or was made by others, has more on it, and is rare. */
function isUsual({ sent, message }: Parcel): boolean {
  return !sent && message.properties === undefined
}

function fits(head: Head, parcel: Parcel): boolean {
  const { exchange, message, onReturned } = parcel

  return (
    isUsual(parcel) &&
    head.exchange === exchange &&
    head.isMandatory === (onReturned !== undefined) &&
    head.contentType === message.contentType &&
    head.replyTo === message.replyTo &&
    head.ttl === message.ttl
  )
}

/** False when something of it does not fit in the place of what was there. */
function rewrite(head: Head, { message }: Parcel): boolean {
  const { bytes, names, values, places } = head
  const { headers } = message
  let index = 0
  for (const name in headers) {
    if (names[index] !== name) return false
    const value = headers[name]
    // An object may have changed without being another one.
    if (value !== values[index] || typeof value === 'object') {
      if (!rewriteText(bytes, places[index], values[index], value)) return false
      values[index] = value
    }
    index += 1
  }
  if (index !== names.length) return false

  if (message.id !== head.id.value) {
    if (!rewriteText(bytes, head.id.at, head.id.value, message.id)) return false
    head.id.value = message.id
  }
  if (message.correlationId !== head.correlationId.value) {
    const { at, value } = head.correlationId
    if (!rewriteText(bytes, at, value, message.correlationId)) return false
    head.correlationId.value = message.correlationId
  }
  const seconds = secondsOf(message.timestamp)
  if (seconds !== head.seconds.value) {
    if (seconds === undefined || head.seconds.at === undefined || seconds < 0) return false
    putLonglong(bytes, head.seconds.at, seconds)
    head.seconds.value = seconds
  }
  putLonglong(bytes, head.sizeAt, message.body.length)
  return true
}

/** Such a text has as many bytes as characters. */
function isAscii(value: unknown): boolean {
  return typeof value === 'string' && Buffer.byteLength(value) === value.length
}

/** `at` is where an old text of ASCII is. */
function rewriteText(bytes: Buffer, at: number | undefined, old: unknown, text: unknown): boolean {
  if (at === undefined || typeof text !== 'string' || typeof old !== 'string' || text.length !== old.length)
    return false

  for (let index = 0; index < text.length; index += 1) {
    const code = text.charCodeAt(index)
    if (code > 0x7f) return false
    bytes[at + index] = code
  }
  return true
}

function secondsOf(timestamp: number | undefined): number | undefined {
  return timestamp === undefined ? undefined : Math.floor(timestamp / 1_000)
}

function putLonglong(bytes: Uint8Array, at: number, value: number): void {
  putLong(bytes, at, Math.floor(value / 2 ** 32))
  putLong(bytes, at + 4, value >>> 0)
}

function putLong(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 24
  bytes[at + 1] = value >>> 16
  bytes[at + 2] = value >>> 8
  bytes[at + 3] = value
}
