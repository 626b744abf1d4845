import type { Field, Type } from 'protobufjs'
import { isRecord } from '../internal/checks.js'
import { type Message, Misfit, type Reading } from './message.js'

interface ReadContext {
  readonly type: Type
  readonly reading: Reading
  readonly path: string
  readonly depth: number
  readonly fieldFromJson: (field: Field, value: unknown, reading: Reading, path: string, depth: number) => unknown
  readonly messageFromJson: (type: Type, value: unknown, reading: Reading, path: string, depth: number) => Message
}

interface WriteContext {
  readonly type: Type
  readonly fieldToJson: (field: Field, value: unknown) => unknown
  readonly messageToJson: (type: Type, message: Message) => unknown
}

/** A message whose JSON is not an object of its fields. */
export interface WellKnown {
  read(value: unknown, context: ReadContext): Message
  write(message: Message, context: WriteContext): unknown
  /** The scalar type by whose rules a text from path or query is read; undefined where it cannot come from there. */
  readonly textual?: string | undefined
}

/** How proto3 JSON writes some of the messages of google.protobuf. */
export function wellKnown(type: Type): WellKnown | undefined {
  return type.fullName.startsWith('.google.protobuf.') ? special.get(type.fullName.slice(17)) : undefined
}

// By number, since protobufjs names the fields of its own copies otherwise than the files do.
const field = (type: Type, id: number): Field => type.fieldsById[id]!

const numberOf = (value: unknown): number => Number(value ?? 0)

function wrapper(textual: string): WellKnown {
  return {
    textual,
    read: (value, { type, reading, path, depth, fieldFromJson }) =>
      message([field(type, 1), fieldFromJson(field(type, 1), value, reading, path, depth + 1)]),
    write: (wrapped, { type, fieldToJson }) => fieldToJson(field(type, 1), wrapped['value']),
  }
}

function message(...entries: readonly (readonly [Field, unknown])[]): Message {
  const created: Message = Object.create(null)
  for (const [{ name }, value] of entries) created[name] = value

  return created
}

const timestamp: WellKnown = {
  textual: 'string',
  read(value, { type, path }) {
    const [, date, fraction = '', zone] =
      (typeof value === 'string' &&
        /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)$/i.exec(value)) ||
      []
    const ms = date === undefined ? Number.NaN : Date.parse(`${date}${zone}`)
    // Date.parse takes a 31st of every month, and moves it.
    const real = date !== undefined && sameDay(date)
    if (Number.isNaN(ms) || !real) throw new Misfit(path, 'a time such as 2026-01-31T12:00:00Z')

    return message([field(type, 1), ms / 1_000], [field(type, 2), Number(fraction.padEnd(9, '0'))])
  },
  write({ seconds, nanos }) {
    const date = new Date(numberOf(seconds) * 1_000)
    return `${date.toISOString().slice(0, -5)}${fractionOf(numberOf(nanos))}Z`
  },
}

function sameDay(date: string): boolean {
  const parsed = new Date(`${date}Z`)
  return !Number.isNaN(parsed.getTime()) && parsed.toISOString().startsWith(date.slice(0, 10).toUpperCase())
}

/** None, three, six or nine digits. */
function fractionOf(nanos: number): string {
  if (nanos === 0) return ''

  const digits = String(nanos).padStart(9, '0')
  return `.${digits.replace(/(?:000){1,2}$/, '')}`
}

const duration: WellKnown = {
  textual: 'string',
  read(value, { type, path }) {
    const [, sign, whole, fraction = ''] =
      (typeof value === 'string' && /^(-?)(\d{1,12})(?:\.(\d{1,9}))?s$/.exec(value)) || []
    if (whole === undefined || Number(whole) > 315_576_000_000) throw new Misfit(path, "a duration such as '1.5s'")

    const factor = sign === '-' ? -1 : 1
    return message([field(type, 1), factor * Number(whole)], [field(type, 2), factor * Number(fraction.padEnd(9, '0'))])
  },
  write({ seconds, nanos }) {
    const whole = numberOf(seconds)
    const part = numberOf(nanos)
    return `${whole < 0 || part < 0 ? '-' : ''}${Math.abs(whole)}${fractionOf(Math.abs(part))}s`
  },
}

const fieldMask: WellKnown = {
  textual: 'string',
  read(value, { type, path }) {
    if (typeof value !== 'string' || value.includes('_')) throw new Misfit(path, "names of fields such as 'a,b.cD'")

    const paths = value === '' ? [] : value.split(',')
    return message([field(type, 1), paths.map((one) => one.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`))])
  },
  write: ({ paths = [] }) =>
    (paths as string[]).map((one) => one.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase())).join(','),
}

const struct: WellKnown = {
  read(value, { type, reading, path, depth, fieldFromJson }) {
    if (!isRecord(value)) throw new Misfit(path, 'an object')
    return message([field(type, 1), fieldFromJson(field(type, 1), value, reading, path, depth + 1)])
  },
  write: (wrapped, { type, fieldToJson }) => fieldToJson(field(type, 1), wrapped[field(type, 1).name] ?? {}),
}

const listValue: WellKnown = {
  read: (value, { type, reading, path, depth, fieldFromJson }) =>
    message([field(type, 1), fieldFromJson(field(type, 1), value, reading, path, depth + 1)]),
  write: (wrapped, { type, fieldToJson }) => fieldToJson(field(type, 1), wrapped[field(type, 1).name] ?? []),
}

/** null, a number, a text, a boolean, an object or a list, in the order of the fields. */
function kindOf(value: unknown): 1 | 2 | 3 | 4 | 5 | 6 {
  if (value === null || value === undefined) return 1
  if (typeof value === 'number') return 2
  if (typeof value === 'string') return 3
  if (typeof value === 'boolean') return 4

  return Array.isArray(value) ? 6 : 5
}

const anyValue: WellKnown = {
  read(value, { type, reading, path, depth, fieldFromJson }) {
    const kind = field(type, kindOf(value))
    return message([kind, fieldFromJson(kind, value, reading, path, depth + 1)])
  },
  write(wrapped, { type, fieldToJson }) {
    const kind = type.fieldsArray.find(({ name }) => Object.hasOwn(wrapped, name))
    return kind === undefined || kind.id === 1 ? null : fieldToJson(kind, wrapped[kind.name])
  },
}

/** `{ "@type": "type.googleapis.com/shop.Order", … }`, of a message that the schema knows. */
const any: WellKnown = {
  read(value, { type, reading, path, depth, messageFromJson }) {
    const url = isRecord(value) ? value['@type'] : undefined
    const packed = typeof url === 'string' ? lookup(type, url) : undefined
    if (packed === undefined) throw new Misfit(path, "an object with the '@type' of a known message")

    const { '@type': _, ...fields } = value as Record<string, unknown>
    const content = wellKnown(packed) === undefined ? fields : fields['value']
    const inner = messageFromJson(packed, content, reading, path, depth + 1)
    return message([field(type, 1), url], [field(type, 2), packed.encode(inner).finish()])
  },
  write(wrapped, { type, messageToJson }) {
    const url = String(wrapped[field(type, 1).name] ?? '')
    const packed = lookup(type, url)
    if (packed === undefined) throw new Error(`the message has a ${url}, which the proto does not`)

    const bytes = wrapped[field(type, 2).name] as Uint8Array | undefined
    const inner = messageToJson(packed, packed.decode(bytes ?? new Uint8Array()) as unknown as Message)
    return wellKnown(packed) === undefined ? { '@type': url, ...(inner as object) } : { '@type': url, value: inner }
  },
}

function lookup(type: Type, url: string): Type | undefined {
  const name = url.slice(url.lastIndexOf('/') + 1)
  const found = /^[\w.]+$/.test(name) ? type.root.lookup(name) : null

  return found !== null && 'fieldsArray' in found && 'encode' in found ? (found as Type) : undefined
}

const special: ReadonlyMap<string, WellKnown> = new Map([
  ['Timestamp', timestamp],
  ['Duration', duration],
  ['FieldMask', fieldMask],
  ['Struct', struct],
  ['ListValue', listValue],
  ['Value', anyValue],
  ['Any', any],
  ['DoubleValue', wrapper('double')],
  ['FloatValue', wrapper('float')],
  ['Int64Value', wrapper('int64')],
  ['UInt64Value', wrapper('uint64')],
  ['Int32Value', wrapper('int32')],
  ['UInt32Value', wrapper('uint32')],
  ['BoolValue', wrapper('bool')],
  ['StringValue', wrapper('string')],
  ['BytesValue', wrapper('bytes')],
])
