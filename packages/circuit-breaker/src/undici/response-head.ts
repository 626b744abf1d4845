import type { IncomingHttpHeaders } from 'node:http'
import type { Outcome } from '../policy.js'

/** What a circuit learns of a response: the `value` of the outcomes that `classify` and `retryAfter` are asked about. */
export interface ResponseHead {
  readonly statusCode: number
  /** Names in lower case. */
  readonly headers: IncomingHttpHeaders
}

/**
 * How long the server asked to be left alone, in milliseconds: `retry-after-ms`, or `retry-after` in seconds or as an
 * HTTP date (RFC 9110, 10.2.3). Undefined when it did not say.
 */
export function retryAfterOf(outcome: Outcome): number | undefined {
  if (!outcome.ok) return undefined

  const { headers } = outcome.value as ResponseHead
  const precise = single(headers['retry-after-ms'])
  if (precise !== undefined && isNumber(precise)) return Number(precise)

  const value = single(headers['retry-after'])
  if (value === undefined) return undefined
  return isNumber(value) ? Number(value) * 1_000 : untilDate(value)
}

/** All three forms begin with the name of a day; `Date.parse` alone would also take "soon 2099" for a date. */
function untilDate(value: string): number | undefined {
  if (!/^(mon|tue|wed|thu|fri|sat|sun)/i.test(value)) return undefined

  // The asctime form ends with its year: it carries no zone, and is in GMT by definition.
  const delay = Date.parse(/:\d\d \d{4}$/.test(value) ? `${value} GMT` : value) - Date.now()
  return Number.isNaN(delay) ? undefined : Math.max(0, delay)
}

function isNumber(value: string): boolean {
  return /^\d+(\.\d+)?$/.test(value)
}

function single(value: string | string[] | undefined): string | undefined {
  return Array.isArray(value) ? value[0] : value
}

/** Headers as they came over the wire, for handlers of the older shape. */
export function parsedHeaders(raw: readonly (Buffer | string | Buffer[])[] | null | undefined): IncomingHttpHeaders {
  const headers: Record<string, string> = {}
  for (let i = 0; raw && i + 1 < raw.length; i += 2) headers[String(raw[i]).toLowerCase()] ??= String(raw[i + 1])
  return headers
}
