import { hasMethods } from './internal/has-methods.js'

/** Anything with the headers of a response: `Headers`, or what undici and node-fetch have. */
export interface HeadersLike {
  get(name: string): string | null
}

/**
 * How long a server asked to be left alone, in milliseconds: `retry-after-ms`, else `Retry-After` in seconds or as an
 * HTTP date (RFC 9110, 10.2.3). A date in the past is 0. `undefined` when there is no such header, or none that can be
 * read.
 *
 * @example
 * const response = await fetch('https://api.example.com/orders')
 * if (response.status === 429) console.log(`busy for ${retryAfterOf(response) ?? 0} ms`)
 */
export function retryAfterOf(source: { readonly headers: HeadersLike } | HeadersLike): number | undefined {
  // Of anything: what has no headers gives no hint.
  const headers = [Object(source).headers, source].find((value) => hasMethods<HeadersLike>(value, 'get'))

  return (
    milliseconds(headers?.get('retry-after-ms'), 1) ??
    milliseconds(headers?.get('retry-after'), 1_000) ??
    untilDate(headers?.get('retry-after'))
  )
}

function milliseconds(value: string | null | undefined, unit: number): number | undefined {
  return /^\s*\d+(\.\d+)?\s*$/.test(String(value)) ? Number(value) * unit : undefined
}

/** All three forms begin with the name of a day; `Date.parse` alone would also take '-5' for a date. */
function untilDate(value: string | null | undefined): number | undefined {
  if (!/^\s*(mon|tue|wed|thu|fri|sat|sun)/i.test(String(value))) return undefined

  // The asctime form ends with its year: it carries no zone, and is in GMT by definition.
  const time = Date.parse(/:\d\d \d{4}\s*$/.test(String(value)) ? `${value} GMT` : String(value))
  return Number.isNaN(time) ? undefined : Math.max(0, time - Date.now())
}
