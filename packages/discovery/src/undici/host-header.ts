import type { Dispatcher } from 'undici'

type Headers = NonNullable<Dispatcher.DispatchOptions['headers']>

/** The headers with `host` set, unless the caller set one. undici takes three forms of them. */
export function withHost(headers: Headers, host: string): Headers {
  if (Array.isArray(headers)) return hasHost(everySecond(headers)) ? headers : [...headers, 'host', host]

  if (Symbol.iterator in headers) {
    const flat = [...(headers as Iterable<[string, string]>)].flat()
    return withHost(flat, host)
  }
  return hasHost(Object.keys(headers)) ? headers : { ...headers, host }
}

function hasHost(names: readonly string[]): boolean {
  return names.some((name) => name.length === 4 && name.toLowerCase() === 'host')
}

function everySecond(flat: readonly string[]): string[] {
  return flat.filter((_, index) => index % 2 === 0)
}
