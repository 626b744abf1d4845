import type { MessageHeaders } from '../message.js'
import type { WireHeaders, WireMessage } from '../transport.js'

/**
 * The envelope: CloudEvents 1.0 attributes as message headers, the body being the event's bare JSON. AMQP 0-9-1 has
 * no binding of its own; this is the binary mode of the AMQP 1.0 binding, with its `cloudEvents_` prefix. What
 * CloudEvents has no attribute for travels as `msx-…`.
 */
export const HEADER = {
  specversion: 'cloudEvents_specversion',
  id: 'cloudEvents_id',
  source: 'cloudEvents_source',
  type: 'cloudEvents_type',
  time: 'cloudEvents_time',
  key: 'cloudEvents_partitionkey',
  /** Which of the slots that keys are spread over. */
  slot: 'msx-slot',
  version: 'msx-version',
  causation: 'msx-causation-id',
  /** How many attempts to handle the message were made. */
  attempts: 'msx-attempts',
  group: 'msx-group',
  /** The partition it came from. */
  queue: 'msx-queue',
  errorCode: 'msx-error-code',
  errorMessage: 'msx-error-message',
  firstFailedAt: 'msx-first-failed-at',
  failedAt: 'msx-failed-at',
  /** How often it was taken back from the dead letters. */
  redriven: 'msx-redriven',
} as const

/** An attribute as a header, in the two ways that the binding allows. */
const SPELLINGS = {
  id: [HEADER.id, 'cloudEvents:id'],
  source: [HEADER.source, 'cloudEvents:source'],
  time: [HEADER.time, 'cloudEvents:time'],
  partitionkey: [HEADER.key, 'cloudEvents:partitionkey'],
} as const

type AttributeName = keyof typeof SPELLINGS

/** An envelope as it was read. The data is not validated yet. */
export interface Envelope {
  readonly id: string | undefined
  readonly source: string
  readonly time: Date
  readonly key: string | undefined
  readonly version: number
  readonly correlationId: string | undefined
  readonly causationId: string | undefined
  readonly headers: MessageHeaders
}

const STRUCTURED = 'application/cloudevents+json'

/**
 * The envelope's own; `cloudEvents:` is the other spelling the binding allows. RabbitMQ routes by CC and BCC, and keeps
 * its own account of a message in `x-death` and the like.
 */
const RESERVED = /^(msx-|cloudEvents[_:]|x-(death|delivery-count|acquired-count)$|x-(first|last)-death-|B?CC$)/

export function isReserved(header: string): boolean {
  return RESERVED.test(header)
}

/** The names that every message of ours has, told without looking at them letter by letter. */
const OURS: ReadonlySet<string> = new Set(Object.values(HEADER))

/** Reads the envelope of any publisher: ours, a CloudEvent in either mode, or a plain JSON message. */
export function readEnvelope(wire: WireMessage, json: unknown): Envelope {
  const isInBody = isStructured(wire)
  const attribute = (name: AttributeName): string | undefined =>
    isInBody ? bodyAttribute(json, name) : headerAttribute(wire.headers, name)

  return {
    id: attribute('id') ?? wire.id,
    source: attribute('source') ?? 'unknown',
    time: readTime(attribute('time'), wire.timestamp),
    key: attribute('partitionkey'),
    version: readCount(wire.headers, HEADER.version) ?? 1,
    correlationId: wire.correlationId,
    causationId: readText(wire.headers, HEADER.causation),
    headers: applicationHeaders(wire.headers),
  }
}

/** The id its publisher gave it, without reading the body of a message that has none in there. */
export function readId(wire: WireMessage): string | undefined {
  if (!isStructured(wire)) return headerAttribute(wire.headers, 'id') ?? wire.id

  try {
    return bodyAttribute(parseBody(wire), 'id') ?? wire.id
  } catch {
    return wire.id
  }
}

/** The JSON of the event, out of a body that a structured CloudEvent shares with its attributes. */
export function readData(wire: WireMessage, json: unknown): unknown {
  return isStructured(wire) ? (json as { data?: unknown } | null)?.data : json
}

/** Throws a SyntaxError for a body that is no JSON. */
export function parseBody(wire: WireMessage): unknown {
  const { body } = wire
  const bytes = Buffer.isBuffer(body) ? body : Buffer.from(body.buffer, body.byteOffset, body.byteLength)

  return JSON.parse(bytes.toString())
}

export function readText(headers: WireHeaders, name: string): string | undefined {
  const value = headers[name]

  return typeof value === 'string' ? value : undefined
}

export function readCount(headers: WireHeaders, name: string): number | undefined {
  const given = headers[name]
  // Some tables of a hostile publisher cannot even be made a number.
  const value = typeof given === 'string' ? Number(given) : given

  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 ? value : undefined
}

function isStructured(wire: WireMessage): boolean {
  return wire.contentType?.startsWith(STRUCTURED) ?? false
}

function headerAttribute(headers: WireHeaders, name: AttributeName): string | undefined {
  const [usual, other] = SPELLINGS[name]

  // An attribute that is empty is none, says CloudEvents, and an id that many messages share would make one of them.
  return readText(headers, usual) || readText(headers, other) || undefined
}

function bodyAttribute(json: unknown, name: AttributeName): string | undefined {
  return typeof json === 'object' && json !== null ? readText(json as WireHeaders, name) || undefined : undefined
}

function readTime(iso: string | undefined, timestamp: number | undefined): Date {
  return validDate(iso) ?? validDate(timestamp) ?? new Date()
}

export function validDate(given: string | number | undefined): Date | undefined {
  const date = given === undefined ? undefined : new Date(given)

  return date === undefined || Number.isNaN(date.getTime()) ? undefined : date
}

export function applicationHeaders(headers: WireHeaders): MessageHeaders {
  const own: Record<string, string | number | boolean> = {}
  for (const name in headers) {
    const value = headers[name]
    const isPlain = typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean'
    if (isPlain && !OURS.has(name) && !RESERVED.test(name)) own[name] = value
  }

  return own
}
