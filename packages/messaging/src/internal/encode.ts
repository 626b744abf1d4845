import { randomUUID } from 'node:crypto'
import type { StandardSchemaV1 } from '@standard-schema/spec'
import type { Catalogue, EventSpec } from '../catalogue.js'
import { MessagingError } from '../errors.js'
import type { MessageHeaders, PublishOptions } from '../message.js'
import { slotOf } from '../partitions.js'
import type { WireMessage } from '../transport.js'
import {
  checkDuration,
  checkLength,
  checkObject,
  checkOptionalText,
  checkSignal,
  LONGEST_TEXT,
  refuse,
} from './check.js'
import { HEADER, isReserved } from './envelope.js'
import { invalid, summary, validate } from './schema.js'

export interface Prepared {
  readonly wire: WireMessage
  readonly mandatory: boolean
  readonly delay: number | undefined
}

export interface Encoder {
  /** Answers at once when the event's schema does. */
  encode(type: string, data: unknown, options: PublishOptions): Prepared | Promise<Prepared>
}

/** Publishing without options: nothing to check, nothing to make. */
export const NO_OPTIONS: PublishOptions = {}

type Result = StandardSchemaV1.Result<unknown>

/** Turns an event into what travels: validated, keyed, encoded. */
export function createEncoder({ events }: Catalogue, source: string, validates: boolean): Encoder {
  const specs = new Map<string, EventSpec>(Object.entries(events))
  const knownToBeJson = new Set<string>()
  const clock = createWallClock()

  function finish(type: string, spec: EventSpec, body: string, options: PublishOptions, valid: unknown): Prepared {
    const key = options.key ?? (spec.key as ((data: unknown) => string) | undefined)?.(valid)

    return {
      wire: wireMessage(type, spec, source, body, key, options, clock()),
      mandatory: spec.optional !== true,
      delay: options.delay,
    }
  }

  async function validateAndFinish(
    type: string,
    spec: EventSpec,
    body: string,
    options: PublishOptions,
    pending: Promise<Result>,
  ): Promise<Prepared> {
    const prepared = finish(type, spec, body, options, outputOf(type, await pending))
    if (!knownToBeJson.has(type)) checkRoundTrip(type, await validate(spec.schema, JSON.parse(body)))

    return prepared
  }

  /** For the first event of a type: what the consumer will parse must be valid too. */
  function checkRoundTrip(type: string, travelled: Result): void {
    if (travelled.issues !== undefined) throw notJson(type, summary(travelled))

    knownToBeJson.add(type)
  }

  return {
    encode(type, data, options) {
      const spec = specs.get(type)
      if (spec === undefined) throw unknownEvent(type)
      checkPublishOptions(type, options)

      const body = stringify(type, data)
      if (!validates) return finish(type, spec, body, options, data)

      const result = validate(spec.schema, data)
      if (result instanceof Promise) return validateAndFinish(type, spec, body, options, result)

      const prepared = finish(type, spec, body, options, outputOf(type, result))
      if (knownToBeJson.has(type)) return prepared

      const travelled = validate(spec.schema, JSON.parse(body))
      if (!(travelled instanceof Promise)) checkRoundTrip(type, travelled)
      else return travelled.then((settled) => checkRoundTrip(type, settled)).then(() => prepared)

      return prepared
    },
  }
}

function outputOf(type: string, result: Result): unknown {
  if (result.issues !== undefined) throw invalid(type, 'published', result)

  return result.value
}

interface Instant {
  readonly ms: number
  readonly iso: string
}

/** The time of day. Messages of the same millisecond share its text. */
function createWallClock(): () => Instant {
  let last: Instant = { ms: Number.NaN, iso: '' }

  return () => {
    const ms = Date.now()
    if (ms !== last.ms) last = { ms, iso: new Date(ms).toISOString() }

    return last
  }
}

function wireMessage(
  type: string,
  spec: EventSpec,
  source: string,
  body: string,
  key: string | undefined,
  options: PublishOptions,
  now: Instant,
): WireMessage {
  const id = options.id ?? randomUUID()
  const headers: Record<string, unknown> = {
    ...options.headers,
    [HEADER.specversion]: '1.0',
    [HEADER.id]: id,
    [HEADER.source]: source,
    [HEADER.type]: type,
    [HEADER.time]: now.iso,
  }
  if (spec.version !== undefined && spec.version !== 1) headers[HEADER.version] = spec.version
  if (key !== undefined) {
    headers[HEADER.key] = key
    headers[HEADER.slot] = slotOf(key)
  }
  if (options.causationId !== undefined) headers[HEADER.causation] = options.causationId

  return {
    type,
    body: Buffer.from(body),
    headers,
    id,
    contentType: 'application/json',
    timestamp: now.ms,
    correlationId: options.correlationId ?? id,
    ttl: options.ttl ?? spec.ttl,
  }
}

function stringify(type: string, data: unknown): string {
  let body: string | undefined
  try {
    body = JSON.stringify(data)
  } catch (cause) {
    throw notJson(type, String(cause), cause)
  }
  if (body === undefined) throw notJson(type, `${typeof data} has no JSON form`)

  return body
}

function notJson(type: string, why: string, cause?: unknown): MessagingError {
  const advice =
    'what travels is the input of its schema as JSON, so that input must be JSON (a date as its ISO string)'

  return new MessagingError('MSX_NOT_JSON', `'${type}' does not survive being sent as JSON: ${why}; ${advice}`, {
    retryable: false,
    cause,
    details: { type },
  })
}

export function unknownEvent(type: string): MessagingError {
  return new MessagingError('MSX_UNKNOWN_EVENT', `'${String(type)}' is not in the catalogue of this bus`, {
    retryable: false,
    details: { type },
  })
}

function checkPublishOptions(type: string, options: PublishOptions): void {
  if (options === NO_OPTIONS) return

  const where = `publish '${type}'`
  checkObject(where, 'options', options)
  checkOptionalText(where, 'id', options.id)
  checkOptionalText(where, 'key', options.key)
  checkOptionalText(where, 'correlationId', options.correlationId)
  checkOptionalText(where, 'causationId', options.causationId)
  checkLength(where, 'id', options.id ?? '', LONGEST_TEXT)
  checkLength(where, 'correlationId', options.correlationId ?? '', LONGEST_TEXT)
  checkDuration(where, 'delay', options.delay)
  checkDuration(where, 'ttl', options.ttl)
  checkDuration(where, 'timeout', options.timeout)
  checkSignal(where, 'signal', options.signal)
  if (options.headers !== undefined) checkHeaders(where, options.headers)
}

function checkHeaders(where: string, headers: MessageHeaders): void {
  checkObject(where, 'headers', headers)
  for (const [name, value] of Object.entries(headers)) {
    if (isReserved(name))
      refuse(
        where,
        'header name',
        name,
        'outside of msx-*, cloudEvents*, CC, BCC and what RabbitMQ writes, such as x-death',
      )
    checkLength(where, 'header name', name, LONGEST_TEXT)
    const isPlain = typeof value === 'string' || typeof value === 'boolean' || Number.isFinite(value)
    if (!isPlain) refuse(where, `header '${name}'`, value, 'a string, a finite number or a boolean')
  }
}
