import type { Prepared } from '../internal/encode.js'
import { HEADER, readText } from '../internal/envelope.js'
import { fnv1a } from '../internal/fnv.js'
import type { WireHeaders } from '../transport.js'
import { BUCKETS } from './statements.js'

/** A row as the relay reads it. */
export interface OutboxRow {
  readonly id: string
  readonly bucket: number
  readonly message_id: string
  readonly type: string
  readonly key: string | null
  readonly body: string
  readonly headers: WireHeaders
  readonly correlation_id: string | null
  readonly ttl: number | null
  /** How many attempts to publish it failed. */
  readonly attempts: number
  /** One of them did, also when it was so long ago that they are counted anew. */
  readonly failed: boolean
  /** It has to wait for an earlier one of its key, and comes without its body. */
  readonly held: boolean
  /** How long it is ready, in ms. */
  readonly age: number
}

/** An encoded event as the insert statement reads it. */
export function rowOf({ wire, delay }: Prepared): object {
  const headers: Record<string, unknown> = {}
  for (const name in wire.headers) headers[name] = wire.headers[name]
  const key = readText(headers, HEADER.key)

  return {
    // What has no key has no order to keep, and is spread over all buckets.
    bucket: fnv1a(key ?? (wire.id as string)) % BUCKETS,
    id: wire.id,
    type: wire.type,
    key,
    body: Buffer.from(wire.body.buffer, wire.body.byteOffset, wire.body.byteLength).toString(),
    headers,
    correlation: wire.correlationId,
    ttl: wire.ttl,
    delay: delay === undefined ? 0 : Math.ceil(delay),
  }
}

/** The event as it was encoded. */
export function preparedOf(row: OutboxRow, mandatory: boolean): Prepared {
  const time = readText(row.headers, HEADER.time)

  return {
    wire: {
      type: row.type,
      body: Buffer.from(row.body),
      headers: row.headers,
      id: row.message_id,
      contentType: 'application/json',
      timestamp: time === undefined ? Date.now() : Date.parse(time),
      correlationId: row.correlation_id ?? undefined,
      ttl: row.ttl ?? undefined,
    },
    mandatory,
    delay: undefined,
  }
}
