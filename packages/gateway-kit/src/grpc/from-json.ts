import type { Enum, Field, Type } from 'protobufjs'
import { isRecord, show } from '../internal/checks.js'
import { type Message, Misfit, type Reading } from './message.js'
import { isMessage, jsonName } from './schema.js'
import { wellKnown } from './well-known.js'

/** As deep as messages may nest; protobuf's own limit. */
const DEEPEST = 100

const fieldsByName = new WeakMap<Type, ReadonlyMap<string, Field>>()

/** A field by its name in JSON, or by its name in the `.proto`. */
export function fieldOf(type: Type, name: string): Field | undefined {
  let fields = fieldsByName.get(type)
  if (fields === undefined) {
    fields = new Map(
      type.fieldsArray.flatMap((field) => [[field.name, field] as const, [jsonName(field), field] as const]),
    )
    fieldsByName.set(type, fields)
  }

  return fields.get(name)
}

/** From proto3 JSON to a message; throws a {@link Misfit} that names the place. */
export function messageFromJson(type: Type, value: unknown, reading: Reading, path = '', depth = 0): Message {
  if (depth > DEEPEST) throw new Misfit(path, `a message of at most ${DEEPEST} levels`)

  const special = wellKnown(type)
  if (special !== undefined) return special.read(value, { type, reading, path, depth, fieldFromJson, messageFromJson })
  if (!isRecord(value)) throw new Misfit(path, 'an object')

  const message: Message = Object.create(null)
  for (const [name, given] of Object.entries(value)) {
    const at = path === '' ? name.slice(0, 80) : `${path}.${name.slice(0, 80)}`
    const field = fieldOf(type, name)
    if (field === undefined) {
      if (reading.ignoreUnknown) continue
      throw new Misfit(at, 'no such field')
    }
    if (given === null && !takesNull(field)) continue

    setField(message, field, fieldFromJson(field, given, reading, at, depth + 1), at)
  }
  return message
}

/** Puts a value in its place, once, and one only of a oneof. */
export function setField(message: Message, field: Field, value: unknown, path: string): void {
  const rival = field.partOf?.fieldsArray.find((other) => Object.hasOwn(message, other.name))
  if (rival !== undefined && rival !== field) throw new Misfit(path, `only one of '${field.partOf!.name}'`)
  if (Object.hasOwn(message, field.name)) throw new Misfit(path, 'one value')

  message[field.name] = value
}

const takesNull = (field: Field): boolean =>
  !field.repeated &&
  !field.map &&
  (field.resolvedType?.fullName === '.google.protobuf.Value' ||
    field.resolvedType?.fullName === '.google.protobuf.NullValue')

export function fieldFromJson(field: Field, value: unknown, reading: Reading, path: string, depth: number): unknown {
  if (field.map) return mapFromJson(field, value, reading, path, depth)
  if (!field.repeated) return singleFromJson(field, value, reading, path, depth)
  if (!Array.isArray(value)) throw new Misfit(path, 'a list')

  return value.map((item, index) => singleFromJson(field, item, reading, `${path}[${index}]`, depth))
}

function mapFromJson(field: Field, value: unknown, reading: Reading, path: string, depth: number): Message {
  if (!isRecord(value)) throw new Misfit(path, 'an object')

  const map: Message = Object.create(null)
  const { keyType } = field as Field & { readonly keyType: string }
  for (const [key, item] of Object.entries(value)) {
    const at = `${path}.${key.slice(0, 80)}`
    // protobufjs copies maps into ordinary objects, where this is no key.
    if (key === '__proto__') throw new Misfit(at, 'another key')

    const read = scalarFromJson(keyType, keyType === 'bool' ? bools.get(key) : key, at)
    map[mapKey(read)] = singleFromJson(field, item, reading, at, depth)
  }
  return map
}

const bools = new Map([
  ['true', true],
  ['false', false],
])

/** protobufjs takes any text but the empty one for true. */
const mapKey = (key: unknown): string => (key === false ? '' : String(key))

function singleFromJson(field: Field, value: unknown, reading: Reading, path: string, depth: number): unknown {
  if (isMessage(field)) return messageFromJson(field.resolvedType as Type, value, reading, path, depth)
  if (field.resolvedType !== null) return enumFromJson(field.resolvedType as Enum, value, path)

  return scalarFromJson(field.type, value, path)
}

function enumFromJson(type: Enum, value: unknown, path: string): number {
  if (value === null && type.fullName === '.google.protobuf.NullValue') return 0
  if (typeof value === 'string' && Object.hasOwn(type.values, value)) return type.values[value]!

  const number = typeof value === 'string' && /^-?\d{1,10}$/.test(value) ? Number(value) : value
  if (Number.isInteger(number) && inRange(number as number, -(2 ** 31), 2 ** 31 - 1)) return number as number
  throw new Misfit(path, `one of ${Object.keys(type.values).slice(0, 20).join(', ')}`)
}

const inRange = (value: number, least: number, most: number): boolean => value >= least && value <= most

const int64 = { least: -(2n ** 63n), most: 2n ** 63n - 1n }
const uint64 = { least: 0n, most: 2n ** 64n - 1n }

/** From JSON, or from the text of a path or query, to a value of a scalar type. */
export function scalarFromJson(type: string, value: unknown, path: string): unknown {
  switch (type) {
    case 'string':
      if (typeof value !== 'string') throw new Misfit(path, 'a text')
      if (/\p{Surrogate}/u.test(value)) throw new Misfit(path, 'a text of valid Unicode')
      return value
    case 'bool':
      if (typeof value !== 'boolean') throw new Misfit(path, 'true or false')
      return value
    case 'bytes':
      return bytesFromJson(value, path)
    case 'double':
    case 'float':
      return floatFromJson(type, value, path)
    case 'int64':
    case 'sint64':
    case 'sfixed64':
      return longFromJson(value, path, int64)
    case 'uint64':
    case 'fixed64':
      return longFromJson(value, path, uint64)
    case 'uint32':
    case 'fixed32':
      return integerFromJson(value, path, 0, 2 ** 32 - 1)
    default:
      return integerFromJson(value, path, -(2 ** 31), 2 ** 31 - 1)
  }
}

const decimal = /^-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?$/

function numberOf(value: unknown): number | undefined {
  if (typeof value === 'number') return value

  return typeof value === 'string' && value.length <= 400 && decimal.test(value) ? Number(value) : undefined
}

function integerFromJson(value: unknown, path: string, least: number, most: number): number {
  const number = numberOf(value)
  if (number === undefined || !Number.isInteger(number) || !inRange(number, least, most)) {
    throw new Misfit(path, `an integer from ${least} to ${most}`)
  }

  return number
}

/** A number of more digits than a double has must come as a text: as a number it has been rounded already. */
function longFromJson(value: unknown, path: string, { least, most }: typeof int64): string {
  const expected = `an integer from ${least} to ${most}`
  if (typeof value === 'number') {
    if (!Number.isInteger(value)) throw new Misfit(path, expected)
    if (!Number.isSafeInteger(value)) throw new Misfit(path, 'an integer of so many digits as a text')
    if (value < 0 && least === 0n) throw new Misfit(path, expected)
    return String(value)
  }

  const text = typeof value === 'string' && /^-?\d{1,20}$/.test(value) ? BigInt(value) : undefined
  if (text === undefined || text < least || text > most) throw new Misfit(path, expected)
  return String(text)
}

const floats = new Map([
  ['NaN', Number.NaN],
  ['Infinity', Number.POSITIVE_INFINITY],
  ['-Infinity', Number.NEGATIVE_INFINITY],
])

function floatFromJson(type: string, value: unknown, path: string): number {
  const special = typeof value === 'string' ? floats.get(value) : undefined
  if (special !== undefined) return special

  const number = numberOf(value)
  const fits = number !== undefined && Number.isFinite(type === 'float' ? Math.fround(number) : number)
  if (!fits) throw new Misfit(path, 'a number')
  return number
}

function bytesFromJson(value: unknown, path: string): Buffer {
  // Both alphabets, with or without padding.
  if (typeof value !== 'string' || !/^[\w+/-]*={0,2}$/.test(value) || value.replace(/=+$/, '').length % 4 === 1) {
    throw new Misfit(path, `a text in base64, got ${show(value)},`)
  }

  return Buffer.from(value, 'base64')
}

/** What a part of the path or of the query is, in JSON, for a field of this type. */
export function jsonOfText(field: Field, text: string): unknown {
  const wrapped = isMessage(field) ? wellKnown(field.resolvedType as Type)?.textual : undefined
  const type = wrapped ?? field.type

  return type === 'bool' ? (bools.get(text) ?? text) : text
}
