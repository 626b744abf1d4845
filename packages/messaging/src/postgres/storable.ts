import { createHash } from 'node:crypto'
import { MessagingError } from '../errors.js'
import { HEADER, isReserved, readText } from '../internal/envelope.js'
import type { WireMessage } from '../transport.js'

/** What text of PostgreSQL does not take: NUL, and half of a surrogate pair, which is no character. */
const FOREIGN = /[\0\p{Surrogate}]/u

/** Refuses what could not be written, or not as it is, naming the field. The body is JSON, which escapes both. */
export function checkStorable({ type, id, correlationId, headers }: WireMessage): void {
  check(type, 'id', id)
  check(type, 'key', readText(headers, HEADER.key))
  check(type, 'correlationId', correlationId)
  check(type, 'causationId', readText(headers, HEADER.causation))
  for (const name in headers) {
    if (isReserved(name)) continue

    check(type, `the name of header ${JSON.stringify(name)}`, name)
    check(type, `header '${name}'`, readText(headers, name))
  }
}

/** An id of anybody's as the database can compare it. */
export function storableId(id: string): string {
  return FOREIGN.test(id) ? createHash('sha256').update(id, 'utf16le').digest('hex') : id
}

/** Of an error, for people: what cannot be written is left out. */
export function storableReason(reason: string): string {
  return reason.slice(0, LONGEST_REASON).replaceAll(new RegExp(FOREIGN, 'gu'), '\ufffd')
}

const LONGEST_REASON = 1_024

function check(type: string, field: string, text: string | undefined): void {
  if (text === undefined || !FOREIGN.test(text)) return

  const problem = `'${type}' cannot be kept in an outbox: ${field} has a NUL or half of a surrogate pair, which PostgreSQL does not store`
  throw new MessagingError('MSX_NOT_STORABLE', problem, { retryable: false, details: { type, field } })
}
