import type { StandardJSONSchemaV1 } from '@standard-schema/spec'
import type { Catalogue, EventSpec, Schemas } from './catalogue.js'
import { MessagingError } from './errors.js'
import { checkOptionalText, checkText, refuse } from './internal/check.js'
import { HEADER } from './internal/envelope.js'

export interface AsyncApiInfo {
  /** What the events belong to. */
  readonly title: string
  /** Of the document. */
  readonly version: string
  readonly description?: string | undefined
  /** The topic exchange of the events. Default 'msx.events'. */
  readonly exchange?: string | undefined
}

/** An AsyncAPI 3.0 document: plain JSON. */
export interface AsyncApiDocument {
  readonly asyncapi: '3.0.0'
  readonly info: { readonly title: string; readonly version: string; readonly description?: string }
  readonly defaultContentType: string
  readonly channels: Readonly<Record<string, AsyncApiChannel>>
}

export interface AsyncApiChannel {
  /** The routing key. */
  readonly address: string
  readonly messages: Readonly<Record<string, AsyncApiMessage>>
  readonly bindings: object
}

export interface AsyncApiMessage {
  readonly name: string
  readonly contentType: string
  readonly correlationId: object
  readonly headers: object
  /** JSON Schema of what travels: the input of the event's schema. */
  readonly payload: object
  readonly bindings: object
}

type JsonObject = Readonly<Record<string, unknown>>

/** The dialect that AsyncAPI's own schemas extend. */
const TARGET = 'draft-07'

const text = { type: 'string' } as const

/**
 * Describes the events of a catalogue as an AsyncAPI 3.0 document: a channel per event, with the JSON Schema of what
 * travels. That comes from the event's `jsonSchema`, else from its schema where that can say (Standard JSON Schema, as
 * zod 4 and arktype can).
 *
 * @throws MessagingError MSX_NO_JSON_SCHEMA for an event that offers neither; TypeError for a wrong option.
 * @example
 * const document = asyncapi(events, { title: 'Orders', version: '1.0.0' })
 * await writeFile('asyncapi.json', JSON.stringify(document, null, 2))
 */
export function asyncapi<S extends Schemas>(events: Catalogue<S>, info: AsyncApiInfo): AsyncApiDocument {
  if (typeof events?.events !== 'object') refuse('asyncapi', 'events', events, 'what defineEvents returns')
  checkText('asyncapi', 'info.title', info?.title)
  checkText('asyncapi', 'info.version', info.version)
  checkOptionalText('asyncapi', 'info.exchange', info.exchange)
  const { title, version, description, exchange = 'msx.events' } = info

  const specs = Object.entries((events as unknown as Catalogue).events) as [string, EventSpec][]
  return {
    asyncapi: '3.0.0',
    info: { title, version, ...(description !== undefined && { description }) },
    defaultContentType: 'application/json',
    channels: Object.fromEntries(specs.map(([name, spec]) => [name, channelOf(name, spec, exchange)])),
  }
}

function channelOf(name: string, spec: EventSpec, exchange: string): AsyncApiChannel {
  const at = `#/channels/${escaped(name)}/messages/${escaped(name)}/payload`

  return {
    address: name,
    messages: { [name]: messageOf(name, spec, at) },
    bindings: { amqp: { is: 'routingKey', exchange: { name: exchange, type: 'topic', durable: true } } },
  }
}

function messageOf(name: string, spec: EventSpec, at: string): AsyncApiMessage {
  const { version = 1, key } = spec

  return {
    name,
    contentType: 'application/json',
    correlationId: { location: '$message.header#/correlationId' },
    headers: {
      type: 'object',
      required: [HEADER.specversion, HEADER.id, HEADER.source, HEADER.type, HEADER.time],
      properties: {
        [HEADER.specversion]: { const: '1.0' },
        [HEADER.id]: text,
        [HEADER.source]: text,
        [HEADER.type]: { const: name },
        [HEADER.time]: { ...text, format: 'date-time' },
        ...(key !== undefined && { [HEADER.key]: text }),
        ...(version !== 1 && { [HEADER.version]: { const: version } }),
        [HEADER.causation]: text,
      },
    },
    payload: relocated(withoutDialect(jsonSchemaOf(name, spec)), at),
    bindings: { amqp: { contentEncoding: 'utf-8', messageType: name } },
  }
}

function jsonSchemaOf(name: string, { schema, jsonSchema }: EventSpec): JsonObject {
  if (jsonSchema !== undefined) return jsonSchema as JsonObject

  const standard = schema['~standard'] as Partial<StandardJSONSchemaV1.Props>
  if (standard.jsonSchema === undefined) {
    throw noJsonSchema(name, `its schema (${standard.vendor}) offers none`)
  }
  try {
    return standard.jsonSchema.input({ target: TARGET })
  } catch (cause) {
    throw noJsonSchema(name, cause instanceof Error ? cause.message : String(cause), cause)
  }
}

function withoutDialect({ $schema: _, ...schema }: JsonObject): JsonObject {
  return schema
}

/** References within a schema start at its root, which is somewhere else once it is part of a document. */
function relocated(value: JsonObject, at: string): JsonObject {
  const move = (part: unknown): unknown => {
    if (Array.isArray(part)) return part.map(move)
    if (typeof part !== 'object' || part === null) return part

    return Object.fromEntries(
      Object.entries(part).map(([name, inner]) =>
        name === '$ref' && typeof inner === 'string' && inner.startsWith('#')
          ? [name, `${at}${inner.slice(1)}`]
          : [name, move(inner)],
      ),
    )
  }

  return move(value) as JsonObject
}

/** A name as part of a JSON pointer in a URI fragment (RFC 6901). */
function escaped(name: string): string {
  return encodeURIComponent(name.replaceAll('~', '~0').replaceAll('/', '~1'))
}

function noJsonSchema(event: string, why: string, cause?: unknown): MessagingError {
  const problem = `no JSON Schema of '${event}': ${why}; give the event a jsonSchema in defineEvents`

  return new MessagingError('MSX_NO_JSON_SCHEMA', problem, { retryable: false, cause, details: { event } })
}
