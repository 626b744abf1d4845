import { isIP } from 'node:net'
import type { Dispatcher } from 'undici'

type Headers = NonNullable<Dispatcher.DispatchOptions['headers']>

/** Whom requests to one host are for. */
export interface Addressee {
  readonly host: string
  /** Of a request that has none of its own. */
  readonly headers: { readonly host: string }
  /** The name in the certificate, as undici would take it from the Host header of each request; none for an address. */
  readonly servername: string | undefined
}

export function toAddressee(host: string, hostname: string): Addressee {
  const isAddress = hostname.startsWith('[') || isIP(hostname) !== 0
  return { host, headers: Object.freeze({ host }), servername: isAddress ? undefined : hostname }
}

/** A copy of the request with the Host header of the service, unless it has one. */
export function addressed(request: Dispatcher.DispatchOptions, addressee: Addressee): Dispatcher.DispatchOptions {
  const given = request.headers ?? undefined
  const headers = given === undefined ? addressee.headers : withHost(given, addressee.host)
  const servername = headers === given ? undefined : addressee.servername

  for (const option in request) if (!OPTIONS.has(option)) return Object.assign({}, request, { headers })
  return new AddressedRequest(request, headers, servername) as Dispatcher.DispatchOptions // undefined is as good as absent
}

/** What undici's pools read of a request, declared or not. */
type Options = Dispatcher.DispatchOptions & {
  readonly maxRedirections?: number | undefined
  readonly servername?: string | undefined
}

/**
 * Copies that are all of one hidden class. Those of a spread each have their own (Node 20), those of Object.assign one for
 * each order of the options, and undici reads twenty options of a request: the more classes it has seen, the longer it takes.
 */
class AddressedRequest {
  readonly origin: Options['origin']
  readonly path: string
  readonly method: Options['method']
  readonly body: Options['body']
  readonly headers: Options['headers']
  readonly query: Options['query']
  readonly idempotent: Options['idempotent']
  readonly blocking: Options['blocking']
  readonly typeOfService: Options['typeOfService']
  readonly upgrade: Options['upgrade']
  readonly headersTimeout: Options['headersTimeout']
  readonly bodyTimeout: Options['bodyTimeout']
  readonly reset: Options['reset']
  readonly throwOnError: Options['throwOnError']
  readonly expectContinue: Options['expectContinue']
  readonly maxRedirections: Options['maxRedirections']
  readonly servername: Options['servername']

  constructor(request: Options, headers: Options['headers'], servername: string | undefined) {
    this.origin = request.origin
    this.path = request.path
    this.method = request.method
    this.body = request.body
    this.headers = headers
    this.query = request.query
    this.idempotent = request.idempotent
    this.blocking = request.blocking
    this.typeOfService = request.typeOfService
    this.upgrade = request.upgrade
    this.headersTimeout = request.headersTimeout
    this.bodyTimeout = request.bodyTimeout
    this.reset = request.reset
    this.throwOnError = request.throwOnError
    this.expectContinue = request.expectContinue
    this.maxRedirections = request.maxRedirections
    this.servername = request.servername ?? servername
  }
}

/** A request that has others is copied as it is: they are for somebody who is not known here. */
const OPTIONS: ReadonlySet<string> = new Set(
  Object.keys(new AddressedRequest({ path: '/', method: 'GET' }, undefined, undefined)),
)

/** The headers with `host` set, unless the caller set one. undici takes three forms of them. */
function withHost(headers: Headers, host: string): Headers {
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
