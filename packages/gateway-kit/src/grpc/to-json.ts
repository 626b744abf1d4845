import type { Enum, Field, Type } from 'protobufjs'
import type { Libraries } from './libraries.js'
import type { Message } from './message.js'
import { hasPresence, isMessage, jsonName } from './schema.js'
import { wellKnown } from './well-known.js'

/** From decoded messages to proto3 JSON. */
export function createJsonWriter(
  { protobuf }: Pick<Libraries, 'protobuf'>,
  defaults: boolean,
): { messageToJson(type: Type, message: Message): unknown; fieldToJson(field: Field, value: unknown): unknown } {
  function messageToJson(type: Type, message: Message): unknown {
    const special = wellKnown(type)
    if (special !== undefined) return special.write(message, { type, fieldToJson, messageToJson })

    const json: Record<string, unknown> = {}
    for (const field of type.fieldsArray) {
      const value = Object.hasOwn(message, field.name) ? message[field.name] : undefined
      if (value === undefined || value === null) {
        if (defaults && !hasPresence(field)) json[jsonName(field)] = fieldToJson(field, undefined)
      } else if (defaults || hasPresence(field) || !isEmpty(value)) {
        json[jsonName(field)] = fieldToJson(field, value)
      }
    }
    return json
  }

  /** Undefined stands for the default. */
  function fieldToJson(field: Field, value: unknown): unknown {
    if (field.map) return mapToJson(field, (value ?? {}) as Message)
    if (field.repeated) return ((value ?? []) as unknown[]).map((item) => singleToJson(field, item))

    return singleToJson(field, value)
  }

  function mapToJson(field: Field, map: Message): unknown {
    const { keyType } = field as Field & { readonly keyType: string }
    const unsigned = keyType === 'uint64' || keyType === 'fixed64'
    const json: Record<string, unknown> = {}
    for (const [key, value] of Object.entries(map)) {
      // protobufjs keeps 64-bit keys as eight characters.
      const name = keyType.endsWith('64') ? String(protobuf.util.longFromHash(key, unsigned)) : key
      Object.defineProperty(json, name, { value: singleToJson(field, value), enumerable: true })
    }
    return json
  }

  function singleToJson(field: Field, value: unknown): unknown {
    if (isMessage(field)) return messageToJson(field.resolvedType as Type, (value ?? {}) as Message)
    if (field.resolvedType !== null)
      return enumToJson(field.resolvedType as Enum, (value ?? field.typeDefault) as number)

    return scalarToJson(field.type, value)
  }

  return { messageToJson, fieldToJson }
}

const isEmpty = (value: unknown): boolean =>
  Array.isArray(value)
    ? value.length === 0
    : Object.prototype.toString.call(value) === '[object Object]' && Object.keys(value as object).length === 0

function enumToJson(type: Enum, value: number): unknown {
  if (type.fullName === '.google.protobuf.NullValue') return null

  return type.valuesById[value] ?? value
}

function scalarToJson(type: string, value: unknown): unknown {
  switch (type) {
    case 'string':
      return value ?? ''
    case 'bool':
      return value ?? false
    case 'bytes':
      return value === undefined ? '' : Buffer.from(value as Uint8Array).toString('base64')
    case 'int64':
    case 'uint64':
    case 'sint64':
    case 'fixed64':
    case 'sfixed64':
      // Texts, since a double does not hold them.
      return value === undefined ? '0' : String(value)
    case 'double':
      return finite((value ?? 0) as number)
    case 'float':
      return finite(shortest((value ?? 0) as number))
    default:
      return value ?? 0
  }
}

const finite = (value: number): number | string => (Number.isFinite(value) ? value : String(value))

/** The shortest number that is this float: 0.1 rather than 0.10000000149011612. */
function shortest(value: number): number {
  for (let digits = 6; digits < 9; digits += 1) {
    const short = Number(value.toPrecision(digits))
    if (Math.fround(short) === value) return short
  }

  return value
}
