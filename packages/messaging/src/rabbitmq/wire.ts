import type { Message, Options } from 'amqplib'
import { withFailure } from '../dead-letter.js'
import type { MessagingErrorCode } from '../errors.js'
import { HEADER, readCount, readText } from '../internal/envelope.js'
import type { WireMessage } from '../transport.js'
import type { Names } from './names.js'

/** Carries the type of a message whose routing key is the queue it was sent to. */
export const TYPE = 'msx-type'

/** Where the broker writes why it moved a message. */
const DEATHS = 'x-death'

/** Timestamps count seconds. Whoever writes milliseconds means no year above 5000. */
const LATEST_SECOND = 99_999_999_999

const WHY: ReadonlyMap<string, readonly [MessagingErrorCode, string]> = new Map([
  ['expired', ['MSX_EXPIRED', 'waited longer than its ttl']],
  ['rejected', ['MSX_REJECTED', 'rejected by its consumer']],
  [
    'delivery_limit',
    ['MSX_DELIVERY_LIMIT', 'given out too often without being settled: its consumers may crash on it'],
  ],
])

/** How a message is published. `sent`: it goes to one queue, whose name takes the place of its type. */
export function toProperties(message: WireMessage, sent: boolean, mandatory: boolean): Options.Publish {
  const headers: Record<string, unknown> = Object.create(null)
  for (const name in message.headers) if (!isBrokersOwn(name)) headers[name] = message.headers[name]
  if (sent) headers[TYPE] = message.type

  // What is undefined is not written.
  const properties: Undefinable<Options.Publish> = {
    headers,
    persistent: true,
    mandatory,
    messageId: message.id,
    contentType: message.contentType,
    timestamp: message.timestamp === undefined ? undefined : Math.floor(message.timestamp / 1_000),
    correlationId: message.correlationId,
    replyTo: message.replyTo,
    expiration: message.ttl === undefined ? undefined : String(Math.ceil(message.ttl)),
    ...message.properties,
  }
  return properties as Options.Publish
}

/** Written by the broker, or read by it: none is ours to hand on. */
const BROKERS_OWN = /^(x-(death|(first|last)-death-.*|delivery-count|acquired-count)|B?CC)$/

export function isBrokersOwn(name: string): boolean {
  const first = name[0]

  // Nearly every name is told by its first letter.
  return (first === 'x' || first === 'C' || first === 'B') && BROKERS_OWN.test(name)
}

type Undefinable<T> = { [K in keyof T]?: T[K] | undefined }

/** A message as the broker gave it. The broker's own dead letters get the story of their failure written on them. */
export function fromAmqp({ content, fields, properties }: Message, names: Names): WireMessage {
  const raw = (properties.headers ?? {}) as Record<string, unknown>
  const deaths = raw[DEATHS]
  // The latest comes first. Time spent in a wait queue is no death.
  const death = Array.isArray(deaths) ? readDeath(deaths[0]) : undefined

  const message: WireMessage = {
    type: typeOf(raw, fields.routingKey),
    body: content,
    // Most messages have neither, and their headers are nobody else's.
    headers: TYPE in raw || DEATHS in raw ? withoutOurs(raw) : raw,
    id: textOr(properties.messageId),
    contentType: textOr(properties.contentType),
    timestamp: readTimestamp(properties.timestamp),
    correlationId: textOr(properties.correlationId),
    replyTo: textOr(properties.replyTo),
    ttl: properties.expiration === undefined ? undefined : Number(properties.expiration),
    properties: foreignOf(properties),
  }
  if (death === undefined || names.isWait(death.queue) || readText(message.headers, HEADER.errorCode) !== undefined) {
    return message
  }

  const { queue, at } = death
  const [code, reason] = WHY.get(death.reason) ?? ['MSX_REJECTED', `dead-lettered by the broker: ${death.reason}`]
  const attempts = readCount(message.headers, HEADER.attempts) ?? 0
  const letter = { ...message, headers: { ...message.headers, [HEADER.queue]: queue } }
  return withFailure(letter, { group: queue, code, reason, attempts, at })
}

function foreignOf({ contentEncoding, priority, appId, type }: Message['properties']): WireMessage['properties'] {
  const isNone = contentEncoding === undefined && priority === undefined && appId === undefined && type === undefined

  return isNone ? undefined : { contentEncoding, priority, appId, type }
}

interface Death {
  readonly queue: string
  readonly reason: string
  /** With which it came into that queue. */
  readonly key: string | undefined
  readonly at: Date | undefined
}

/** Anybody can send a header of this name, and what is thrown while a message comes in would end the channel. */
function readDeath(value: unknown): Death | undefined {
  if (typeof value !== 'object' || value === null) return undefined

  const { queue, reason, 'routing-keys': keys, time } = value as Readonly<Record<string, unknown>>
  if (typeof queue !== 'string' || typeof reason !== 'string') return undefined

  const key: unknown = Array.isArray(keys) ? keys[0] : undefined
  const seconds = (time as { value?: unknown } | null | undefined)?.value
  const at = new Date(typeof seconds === 'number' ? seconds * 1_000 : Number.NaN)
  return { queue, reason, key: textOr(key), at: Number.isNaN(at.getTime()) ? undefined : at }
}

function typeOf(headers: WireMessage['headers'], routingKey: string): string {
  const type = headers[TYPE]
  if (typeof type === 'string') return type

  const deaths = headers[DEATHS]
  return (Array.isArray(deaths) ? readDeath(deaths.at(-1))?.key : undefined) ?? routingKey
}

function withoutOurs({ [TYPE]: _type, [DEATHS]: _deaths, ...headers }: WireMessage['headers']): WireMessage['headers'] {
  return headers
}

function readTimestamp(value: unknown): number | undefined {
  if (typeof value !== 'number') return undefined

  return value > LATEST_SECOND ? value : value * 1_000
}

/** Many a client sends an empty text for what it does not say. */
function textOr(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined
}
