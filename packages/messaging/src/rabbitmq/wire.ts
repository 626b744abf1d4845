import type { Message, Options, XDeath } from 'amqplib'
import { withFailure } from '../dead-letter.js'
import type { MessagingErrorCode } from '../errors.js'
import { HEADER, readCount, readText } from '../internal/envelope.js'
import type { WireMessage } from '../transport.js'
import { HeaderTable } from './header-table.js'
import type { Names } from './names.js'

/** Carries the type of a message whose routing key is the queue it was sent to. */
const TYPE = 'msx-type'

/** Where the broker writes why it moved a message. */
const DEATHS = 'x-death'

/** Timestamps count seconds. Whoever writes milliseconds means no year above 5000. */
const LATEST_SECOND = 99_999_999_999

const WHY: Readonly<Record<string, readonly [MessagingErrorCode, string]>> = {
  expired: ['MSX_EXPIRED', 'waited longer than its ttl'],
  rejected: ['MSX_REJECTED', 'rejected by its consumer'],
  delivery_limit: ['MSX_DELIVERY_LIMIT', 'given out too often without being settled: its consumers may crash on it'],
}

/**
 * How a message is published. `sent`: it goes to one queue, whose name takes the place of its type. The headers are good
 * until the table is filled again.
 */
export function toProperties(
  message: WireMessage,
  sent: boolean,
  mandatory: boolean,
  table: HeaderTable = new HeaderTable(),
): Options.Publish {
  const headers = table.fill(message.headers)
  if (sent) table.set(TYPE, message.type)

  // What is undefined is not written, and an object of one shape is made faster.
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
  }
  return properties as Options.Publish
}

type Undefinable<T> = { [K in keyof T]?: T[K] | undefined }

/** A message as the broker gave it. The broker's own dead letters get the story of their failure written on them. */
export function fromAmqp({ content, fields, properties }: Message, names: Names): WireMessage {
  const raw = (properties.headers ?? {}) as Record<string, unknown>
  const death = latestDeath(raw)

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
  }
  if (death === undefined || names.isWait(death.queue) || readText(message.headers, HEADER.errorCode) !== undefined) {
    return message
  }

  const [code, reason] = WHY[death.reason] ?? ['MSX_REJECTED', `dead-lettered by the broker: ${death.reason}`]
  const attempts = readCount(message.headers, HEADER.attempts) ?? 0
  return withFailure(message, { group: death.queue, code, reason, attempts, at: new Date(death.time.value * 1_000) })
}

/** The latest comes first. Time spent in a wait queue is no death. */
function latestDeath(headers: WireMessage['headers']): XDeath | undefined {
  return (headers[DEATHS] as readonly XDeath[] | undefined)?.[0]
}

function typeOf(headers: WireMessage['headers'], routingKey: string): string {
  const type = headers[TYPE]
  if (typeof type === 'string') return type

  return (headers[DEATHS] as readonly XDeath[] | undefined)?.at(-1)?.['routing-keys'][0] ?? routingKey
}

function withoutOurs({ [TYPE]: _type, [DEATHS]: _deaths, ...headers }: WireMessage['headers']): WireMessage['headers'] {
  return headers
}

function readTimestamp(value: unknown): number | undefined {
  if (typeof value !== 'number') return undefined

  return value > LATEST_SECOND ? value : value * 1_000
}

function textOr(value: unknown): string | undefined {
  return typeof value === 'string' ? value : undefined
}
