import type { Message, Options, XDeath } from 'amqplib'
import { withFailure } from '../dead-letter.js'
import type { MessagingErrorCode } from '../errors.js'
import { HEADER, readCount, readText } from '../internal/envelope.js'
import type { WireMessage } from '../transport.js'
import type { Names } from './names.js'

/** Carries the type of a message whose routing key is the queue it was sent to. */
const TYPE = 'msx-type'

/** Written by the broker, or read by it: none is ours to hand on. */
const BROKERS_OWN = /^(x-(death|(first|last)-death-.*|delivery-count|acquired-count)|B?CC)$/

/** Timestamps count seconds. Whoever writes milliseconds means no year above 5000. */
const LATEST_SECOND = 99_999_999_999

const WHY: Readonly<Record<string, readonly [MessagingErrorCode, string]>> = {
  expired: ['MSX_EXPIRED', 'waited longer than its ttl'],
  rejected: ['MSX_REJECTED', 'rejected by its consumer'],
  delivery_limit: ['MSX_DELIVERY_LIMIT', 'given out too often without being settled: its consumers may crash on it'],
}

/** How a message is published. `sent`: it goes to one queue, whose name takes the place of its type. */
export function toProperties(message: WireMessage, sent: boolean, mandatory: boolean): Options.Publish {
  const headers: Record<string, unknown> = {}
  for (const name in message.headers) {
    if (!BROKERS_OWN.test(name)) headers[name] = message.headers[name]
  }
  if (sent) headers[TYPE] = message.type

  const properties: Options.Publish = { headers, persistent: true, mandatory }
  if (message.id !== undefined) properties.messageId = message.id
  if (message.contentType !== undefined) properties.contentType = message.contentType
  if (message.timestamp !== undefined) properties.timestamp = Math.floor(message.timestamp / 1_000)
  if (message.correlationId !== undefined) properties.correlationId = message.correlationId
  if (message.replyTo !== undefined) properties.replyTo = message.replyTo
  if (message.ttl !== undefined) properties.expiration = String(Math.ceil(message.ttl))

  return properties
}

/** A message as the broker gave it. The broker's own dead letters get the story of their failure written on them. */
export function fromAmqp({ content, fields, properties }: Message, names: Names): WireMessage {
  const { [TYPE]: type, 'x-death': deaths, ...headers } = (properties.headers ?? {}) as Record<string, unknown>
  // The latest comes first. Time spent in a wait queue is no death.
  const death = (deaths as readonly XDeath[] | undefined)?.[0]
  const firstKey = (deaths as readonly XDeath[] | undefined)?.at(-1)?.['routing-keys'][0]

  const message: WireMessage = {
    type: typeof type === 'string' ? type : (firstKey ?? fields.routingKey),
    body: content,
    headers,
    id: textOr(properties.messageId),
    contentType: textOr(properties.contentType),
    timestamp: readTimestamp(properties.timestamp),
    correlationId: textOr(properties.correlationId),
    replyTo: textOr(properties.replyTo),
    ttl: properties.expiration === undefined ? undefined : Number(properties.expiration),
  }
  if (death === undefined || names.isWait(death.queue) || readText(headers, HEADER.errorCode) !== undefined) {
    return message
  }

  const [code, reason] = WHY[death.reason] ?? ['MSX_REJECTED', `dead-lettered by the broker: ${death.reason}`]
  const attempts = readCount(headers, HEADER.attempts) ?? 0
  return withFailure(message, { group: death.queue, code, reason, attempts, at: new Date(death.time.value * 1_000) })
}

function readTimestamp(value: unknown): number | undefined {
  if (typeof value !== 'number') return undefined

  return value > LATEST_SECOND ? value : value * 1_000
}

function textOr(value: unknown): string | undefined {
  return typeof value === 'string' ? value : undefined
}
