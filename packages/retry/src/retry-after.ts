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
  const headers = headersOf(source)
  if (headers === undefined) return undefined

  return parseNumber(headers.get('retry-after-ms'), 1) ?? parseRetryAfter(headers.get('retry-after'))
}

/** The headers of anything; `undefined` for what has none. */
function headersOf(source: unknown): HeadersLike | undefined {
  const { headers } = Object(source) as { headers?: unknown }
  if (hasGet(headers)) return headers

  return hasGet(source) ? source : undefined
}

function hasGet(value: unknown): value is HeadersLike {
  return typeof (Object(value) as Partial<HeadersLike>).get === 'function'
}

function parseRetryAfter(value: string | null): number | undefined {
  return parseNumber(value, 1_000) ?? parseHttpDate(value)
}

function parseNumber(value: string | null, unit: number): number | undefined {
  return typeof value === 'string' && /^\s*\d+(\.\d+)?\s*$/.test(value) ? Number(value) * unit : undefined
}

/** All three forms begin with the name of a day; `Date.parse` alone would also take '-5' for a date. */
function parseHttpDate(value: string | null): number | undefined {
  if (typeof value !== 'string' || !/^\s*(mon|tue|wed|thu|fri|sat|sun)/i.test(value)) return undefined

  // The asctime form carries no zone, and is in GMT by definition.
  const time = Date.parse(/(gmt|utc|[+-]\d{4})\s*$/i.test(value) ? value : `${value} GMT`)
  return Number.isNaN(time) ? undefined : Math.max(0, time - Date.now())
}
