import { isMessagingError } from './errors.js'
import { HEADER, parseBody, readCount, readData, readEnvelope, readText, validDate } from './internal/envelope.js'
import type { MessageHeaders } from './message.js'
import type { WireHeaders, WireMessage } from './transport.js'

/** A message that no attempt could handle, as it lies in the dead letters of its group. */
export interface DeadLetter {
  readonly group: string
  readonly id: string
  readonly type: string
  /** The JSON as it travelled, not validated; undefined when the body is no JSON. */
  readonly data: unknown
  readonly time: Date
  readonly source: string
  readonly key?: string | undefined
  readonly headers: MessageHeaders
  readonly correlationId?: string | undefined
  readonly causationId?: string | undefined
  /** How many attempts were made to handle it; 0 when it never reached the handler. */
  readonly attempts: number
  /** Why it is here: a code of the README's table. */
  readonly code: string
  readonly reason: string
  readonly firstFailedAt?: Date | undefined
  readonly failedAt?: Date | undefined
  /** How often it was redriven before. */
  readonly redriven: number
}

export interface Failure {
  readonly group: string
  readonly code: string
  readonly reason: string
  readonly attempts: number
  /** When it failed. Default: now. */
  readonly at?: Date | undefined
}

/** Headers have to fit a frame, together with everybody else's. */
const LONGEST_REASON = 1_024

export function describeError(error: unknown): { code: string; reason: string } {
  if (isMessagingError(error)) return { code: error.code, reason: error.message }

  return { code: 'MSX_HANDLER_FAILED', reason: reasonOf(error) }
}

/** Anything can be thrown, also what has no text. */
function reasonOf(error: unknown): string {
  try {
    return error instanceof Error ? `${error.name}: ${error.message}` : String(error)
  } catch {
    return 'something was thrown that cannot be read'
  }
}

/** The message with the story of its failure written on it. */
export function withFailure(wire: WireMessage, failure: Failure): WireMessage {
  const at = (failure.at ?? new Date()).toISOString()

  return {
    ...wire,
    // A dead letter does not expire: it waits for somebody to look at it.
    ttl: undefined,
    headers: {
      ...wire.headers,
      [HEADER.group]: failure.group,
      [HEADER.attempts]: failure.attempts,
      [HEADER.errorCode]: failure.code,
      [HEADER.errorMessage]: failure.reason.slice(0, LONGEST_REASON),
      [HEADER.firstFailedAt]: readText(wire.headers, HEADER.firstFailedAt) ?? at,
      [HEADER.failedAt]: at,
    },
  }
}

/** In bytes, about. */
const LARGE_HEADER = 1_024

/** A dead letter of a foreign publisher whose headers leave no room for the story of its failure. */
export function withoutLargeHeaders(letter: WireMessage): WireMessage {
  const small = Object.entries(letter.headers).filter(([, value]) => isSmall(value))

  return { ...letter, headers: Object.fromEntries(small) }
}

/** Only the envelope and the story of its failure, for which there is always room. */
export function withoutForeignHeaders(letter: WireMessage): WireMessage {
  const own = Object.values(HEADER).filter((name) => isSmall(letter.headers[name]))

  return { ...letter, headers: Object.fromEntries(own.map((name) => [name, letter.headers[name]])) }
}

/** What a value has besides its content: a type and a length. */
const VALUE_OVERHEAD = 5

/** Not by recursion: a hostile publisher nests tables deeper than the stack reaches. */
function isSmall(header: unknown): boolean {
  const parts = [header]
  let size = 0
  for (const part of parts) {
    size += VALUE_OVERHEAD + (typeof part === 'string' ? Buffer.byteLength(part) : 0)
    if (part instanceof Uint8Array) size += part.length
    else if (typeof part === 'object' && part !== null) {
      for (const [name, inner] of Object.entries(part)) {
        size += name.length
        parts.push(inner)
      }
    }
    if (size > LARGE_HEADER) return false
  }
  return true
}

/** The message as it was before it failed, to be handled as if for the first time. */
export function withoutFailure(wire: WireMessage): WireMessage {
  const headers: Record<string, unknown> = { ...wire.headers }
  const story = ['group', 'attempts', 'errorCode', 'errorMessage', 'firstFailedAt', 'failedAt', 'queue'] as const
  for (const part of story) delete headers[HEADER[part]]
  headers[HEADER.redriven] = (readCount(wire.headers, HEADER.redriven) ?? 0) + 1

  return { ...wire, headers }
}

export function readDeadLetter(wire: WireMessage): DeadLetter {
  const json = parseLeniently(wire)
  const envelope = readEnvelope(wire, json)

  return {
    group: readText(wire.headers, HEADER.group) ?? 'unknown',
    id: envelope.id ?? 'unknown',
    type: wire.type,
    data: readData(wire, json),
    time: envelope.time,
    source: envelope.source,
    key: envelope.key,
    headers: envelope.headers,
    correlationId: envelope.correlationId,
    causationId: envelope.causationId,
    attempts: readCount(wire.headers, HEADER.attempts) ?? 0,
    code: readText(wire.headers, HEADER.errorCode) ?? 'MSX_REJECTED',
    reason: readText(wire.headers, HEADER.errorMessage) ?? 'rejected by its consumer',
    firstFailedAt: readDate(wire.headers, HEADER.firstFailedAt),
    failedAt: readDate(wire.headers, HEADER.failedAt),
    redriven: readCount(wire.headers, HEADER.redriven) ?? 0,
  }
}

function parseLeniently(wire: WireMessage): unknown {
  try {
    return parseBody(wire)
  } catch {
    return undefined
  }
}

function readDate(headers: WireHeaders, name: string): Date | undefined {
  return validDate(readText(headers, name))
}
