import type { StandardSchemaV1 } from '@standard-schema/spec'
import { checkDuration, refuse } from './internal/check.js'

/** Schemas by event name. */
export type Schemas = Record<string, StandardSchemaV1>

/** An event, when its schema alone does not say everything about it. */
export interface EventSpec<S extends StandardSchemaV1 = StandardSchemaV1> {
  /** Any Standard Schema (zod, valibot, arktype, …). Its input must be JSON: that is what travels. */
  readonly schema: S
  /** The version this release publishes and understands. Default 1. */
  readonly version?: number | undefined
  /** `upcast[n]` turns the JSON of version n into that of version n + 1; a version without one is taken as compatible. */
  readonly upcast?: Readonly<Record<number, (old: unknown) => unknown>> | undefined
  /** What orders and partitions this event, such as the order's id. */
  readonly key?: ((data: StandardSchemaV1.InferOutput<S>) => string) | undefined
  /** Nobody needs to listen. Default false: publishing an event that reaches no queue is refused with MSX_UNROUTABLE. */
  readonly optional?: boolean | undefined
  /** How long the event may wait in a queue, in ms; after that it is a dead letter. Default: for ever. */
  readonly ttl?: number | undefined
  /** JSON Schema (draft 7) of what travels, for `asyncapi`. Default: what the schema says of itself, if it can. */
  readonly jsonSchema?: object | undefined
}

/** The events of a system, as {@link defineEvents} makes it. */
export interface Catalogue<S extends Schemas = Schemas> {
  readonly events: { readonly [K in keyof S]: EventSpec<S[K]> }
}

export type EventName<S> = keyof S & string

/** What is given to publish: the schema's input. */
export type Input<S extends Schemas, K extends EventName<S>> = StandardSchemaV1.InferInput<S[K]>

/** What a handler receives: the schema's output. */
export type Output<S extends Schemas, K extends EventName<S>> = StandardSchemaV1.InferOutput<S[K]>

/** The schemas of a catalogue: `Bus<SchemasOf<typeof events>>`. */
export type SchemasOf<C> = C extends Catalogue<infer S> ? S : never

/** The longest routing key AMQP carries, in bytes. */
const LONGEST_NAME = 255

/**
 * Names the events of a system and the schema of each. Schemas of different libraries mix.
 *
 * @throws TypeError for a name that is no routing key (words separated by dots, no wildcard), or a wrong option.
 * @example
 * const events = defineEvents({
 *   'order.created': z.object({ orderId: z.string() }),
 *   'user.deleted': { schema: v.object({ userId: v.string() }), optional: true },
 * })
 */
export function defineEvents<S extends Schemas>(
  events: {
    readonly [K in keyof S]: S[K] | EventSpec<S[K]>
  },
): Catalogue<S> {
  const specs: Record<string, EventSpec> = {}
  for (const [name, given] of Object.entries(events as Record<string, StandardSchemaV1 | EventSpec>)) {
    checkName(name)
    const spec = isSchema(given) ? { schema: given } : given
    checkSpec(name, spec)
    specs[name] = Object.freeze({ ...spec })
  }

  return Object.freeze({ events: Object.freeze(specs) }) as unknown as Catalogue<S>
}

function isSchema(value: unknown): value is StandardSchemaV1 {
  return (typeof value === 'object' || typeof value === 'function') && value !== null && '~standard' in value
}

function checkName(name: string): void {
  const isRoutingKey = /^[^.*#\s]+(\.[^.*#\s]+)*$/.test(name) && Buffer.byteLength(name) <= LONGEST_NAME
  if (!isRoutingKey) refuse('defineEvents', 'event name', name, 'words separated by dots, without * # or spaces')
}

function checkSpec(name: string, spec: EventSpec): void {
  const where = `defineEvents: '${name}'`
  if (typeof spec !== 'object' || spec === null || !isSchema(spec.schema)) {
    refuse(where, 'schema', spec, 'a Standard Schema, or { schema }')
  }

  const { version = 1, upcast, key, ttl } = spec
  if (!Number.isSafeInteger(version) || version < 1) refuse(where, 'version', version, 'an integer from 1')
  for (const [from, step] of Object.entries(upcast ?? {})) {
    const isOlder = Number.isSafeInteger(Number(from)) && Number(from) >= 1 && Number(from) < version
    if (!isOlder) refuse(where, 'upcast', from, `a version below ${version}`)
    if (typeof step !== 'function') refuse(where, `upcast[${from}]`, step, 'a function')
  }
  if (key !== undefined && typeof key !== 'function') refuse(where, 'key', key, 'a function')
  checkDuration(where, 'ttl', ttl)
  const { jsonSchema } = spec
  if (jsonSchema !== undefined && (typeof jsonSchema !== 'object' || jsonSchema === null)) {
    refuse(where, 'jsonSchema', jsonSchema, 'a JSON Schema')
  }
}
