import type { Field, Type } from 'protobufjs'
import { fieldFromJson, fieldOf, jsonOfText, messageFromJson, setField } from './from-json.js'
import type { Binding } from './http-rule.js'
import { type Message, Misfit, type Reading } from './message.js'
import { isMessage } from './schema.js'
import { wellKnown } from './well-known.js'

/** What of a request goes into its message. */
export interface Parts {
  /** Parsed; undefined where the request had none. */
  readonly body: unknown
  readonly query: string
  readonly captured: readonly (readonly [field: readonly string[], value: string])[]
}

/** The message of a request: its body, the query where the body is not all of it, and above both what the path says. */
export function requestMessage(
  binding: Binding,
  type: Type,
  { body, query, captured }: Parts,
  reading: Reading,
): Message {
  const message = fromBody(binding, type, body, reading)
  const byName = new Map<string, string[]>()
  for (const [name, value] of new URLSearchParams(query)) {
    const values = byName.get(name)
    if (values === undefined) byName.set(name, [value])
    else values.push(value)
  }
  for (const [name, values] of byName) {
    if (binding.body === '*') {
      if (reading.ignoreUnknown) continue
      throw new Misfit(name.slice(0, 80), 'nothing in the query')
    }
    setText(message, type, name.split('.'), values, reading)
  }
  for (const [field, value] of captured) {
    remove(message, type, field)
    setText(message, type, field, [value], reading)
  }

  return message
}

function fromBody({ body: place }: Binding, type: Type, body: unknown, reading: Reading): Message {
  if (place === undefined || body === undefined) return Object.create(null) as Message
  if (place === '*') return messageFromJson(type, body, reading)

  const field = fieldOf(type, place)!
  const message: Message = Object.create(null)
  if (body !== null) message[field.name] = fieldFromJson(field, body, reading, '', 1)
  return message
}

/** Sets `a.b.c`, making the messages on the way. */
function setText(
  message: Message,
  type: Type,
  path: readonly string[],
  texts: readonly string[],
  reading: Reading,
): void {
  const [name = '', ...rest] = path
  const field = fieldOf(type, name)
  const at = path.join('.').slice(0, 80)
  if (field === undefined) {
    if (reading.ignoreUnknown) return
    throw new Misfit(at, 'no such field')
  }

  if (rest.length > 0) {
    if (!isMessage(field) || field.repeated || field.map) throw new Misfit(at, 'no such field')
    const inner = (message[field.name] ?? Object.create(null)) as Message
    if (message[field.name] === undefined) setField(message, field, inner, at)
    setText(inner, field.resolvedType as Type, rest, texts, reading)
    return
  }

  if (!isTextual(type, name)) throw new Misfit(at, 'a field of a single value')
  const values = texts.map((text) => jsonOfText(field, text))
  if (!field.repeated && values.length > 1) throw new Misfit(at, 'one value')
  setField(message, field, fieldFromJson(field, field.repeated ? values : values[0], reading, at, 1), at)
}

function remove(message: Message, type: Type, [name = '', ...rest]: readonly string[]): void {
  const field = fieldOf(type, name)!
  const inner = message[field.name]
  if (rest.length === 0) delete message[field.name]
  else if (inner !== undefined) remove(inner as Message, field.resolvedType as Type, rest)
}

/** Whether a field can be read from a text. */
function isTextual(type: Type, name: string): boolean {
  const field = fieldOf(type, name)
  if (field === undefined || field.map) return false

  return !isMessage(field) || wellKnown(field.resolvedType as Type)?.textual !== undefined
}

/** Throws a TypeError for a binding that speaks of fields which are not there. */
export function checkBinding(
  { rpc, template, variables, body, responseBody }: Binding,
  input: Type,
  output: Type,
): void {
  for (const { field } of variables) {
    let owner: Type | undefined = input
    for (const name of field.slice(0, -1)) {
      const found: Field | undefined = owner === undefined ? undefined : fieldOf(owner, name)
      owner = found !== undefined && isMessage(found) && !found.repeated ? (found.resolvedType as Type) : undefined
    }
    const last = field.at(-1)!
    if (owner === undefined || !isTextual(owner, last) || fieldOf(owner, last)!.repeated) {
      throw new TypeError(
        `transcode: '${template}' of ${rpc} has {${field.join('.')}}, which is no single field of ${input.name}`,
      )
    }
  }
  if (body !== undefined && body !== '*' && fieldOf(input, body) === undefined) {
    throw new TypeError(`transcode: the body of ${rpc} is to be '${body}', which is no field of ${input.name}`)
  }
  if (responseBody !== undefined && fieldOf(output, responseBody) === undefined) {
    throw new TypeError(
      `transcode: the response of ${rpc} is to be '${responseBody}', which is no field of ${output.name}`,
    )
  }
}
