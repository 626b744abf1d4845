import type { IncomingMessage, ServerResponse } from 'node:http'
import { clientAddress, forwardedFor, peerAddress, type TrustConfig, trustsPeer } from './address.js'
import { contextOf } from './context.js'

/** What a route changes in headers: a text sets, null removes, and a name with a plus (`+x-tag`) adds to what is there. */
export interface HeaderRules {
  /** Towards the upstream. */
  readonly request?: Readonly<Record<string, string | null>> | undefined
  /** Towards the client. */
  readonly response?: Readonly<Record<string, string | null>> | undefined
}

/** RFC 9110, 7.6.1, with those that older software still sends. They concern one connection and end here. */
const hopByHop = new Set([
  'connection',
  'keep-alive',
  'proxy-connection',
  'proxy-authenticate',
  'proxy-authorization',
  'te',
  'transfer-encoding',
  'upgrade',
  'http2-settings',
])

/** What a `Connection` header cannot take away: a client must not be able to strip what the gateway relies on. */
const notNominable =
  /^(?:host|content-length|content-type|authorization|cookie|set-cookie|cache-control|via|forwarded|x-forwarded-.*|x-real-ip|x-request-id|x-user-.*|traceparent|tracestate|idempotency-key)$/

/** Set by the gateway, so that what a client sends under these names never arrives. */
const ours = new Set([
  'host',
  'expect',
  'via',
  'forwarded',
  'x-forwarded-for',
  'x-forwarded-host',
  'x-forwarded-proto',
  'x-forwarded-port',
  'x-real-ip',
])

export interface ForwardingRules {
  readonly trust: TrustConfig
  /** The name this gateway goes by in `Via`. */
  readonly via: string
  readonly rules: Readonly<Record<string, string | null>> | undefined
}

/** Whether the request has been through the gateway of this name before. */
export function loops(req: IncomingMessage, via: string): boolean {
  const hops = req.headers['via']?.split(',') ?? []

  return hops.some((hop) => hop.trim().split(/\s+/)[1] === via)
}

/** The headers for the upstream, flat and in order, in one pass over what was received. */
export function requestHeaders(
  req: IncomingMessage,
  host: string,
  { trust, via, rules }: ForwardingRules,
  bodyLength?: number,
): string[] {
  const raw = req.rawHeaders
  const dropped = nominated(req.headers.connection)
  const context = contextOf(req)
  const headers: string[] = ['host', host]

  for (let index = 0; index < raw.length; index += 2) {
    const name = raw[index]!
    const lower = name.toLowerCase()
    if (hopByHop.has(lower) || ours.has(lower) || lower.startsWith(':')) continue
    if (isIdentity(lower) || dropped?.has(lower)) continue
    if (lower === 'x-request-id' && context.requestId !== undefined) continue
    if (rules !== undefined && Object.hasOwn(rules, lower)) continue
    if (bodyLength !== undefined && (lower === 'content-length' || lower === 'content-encoding')) continue

    headers.push(name, raw[index + 1]!)
  }

  if (bodyLength !== undefined) headers.push('content-length', String(bodyLength))
  pushForwarded(headers, req, trust)
  const before = req.headers['via']
  const hop = `${req.httpVersion} ${via}`
  headers.push('via', before === undefined ? hop : `${before}, ${hop}`)

  if (context.requestId !== undefined) headers.push('x-request-id', context.requestId)
  for (const [name, value] of Object.entries(context.identity?.headers ?? {})) headers.push(name, value)
  for (const [name, value] of Object.entries(rules ?? {})) if (value !== null) headers.push(ruled(name), value)

  return headers
}

/** A peer we do not trust tells us nothing: what it claims is dropped, and the chain begins with itself. */
function pushForwarded(headers: string[], req: IncomingMessage, trust: TrustConfig): void {
  const peer = peerAddress(req)
  const trusted = trustsPeer(req, trust)
  const chain = trusted ? [...forwardedFor(req).filter((entry) => entry !== ''), peer] : [peer]
  const proto = 'encrypted' in req.socket && req.socket.encrypted === true ? 'https' : 'http'
  const told = trusted
    ? { host: one(req.headers['x-forwarded-host']), proto: one(req.headers['x-forwarded-proto']) }
    : {}
  const host = told.host ?? req.headers.host

  headers.push('x-forwarded-for', chain.join(', '))
  if (host !== undefined) headers.push('x-forwarded-host', host)
  headers.push('x-forwarded-proto', told.proto ?? proto)
  headers.push('x-real-ip', clientAddress(req, trust))
}

const one = (value: string | string[] | undefined): string | undefined => (Array.isArray(value) ? value[0] : value)

/** `x-user-…`, in any spelling that some framework reads as the same. */
export function isIdentity(lower: string): boolean {
  return lower.startsWith('x') && lower.replaceAll('_', '-').startsWith('x-user-')
}

function nominated(connection: string | undefined): Set<string> | undefined {
  if (connection === undefined) return undefined

  const names = connection
    .toLowerCase()
    .split(',')
    .map((name) => name.trim())
    .filter((name) => name !== '' && name !== 'close' && name !== 'keep-alive' && !notNominable.test(name))
  return names.length === 0 ? undefined : new Set(names)
}

/** The raw headers of an upstream's response as strings. */
export function rawPairs(raw: unknown): string[] {
  if (!Array.isArray(raw)) return []

  return raw.flatMap((item: unknown) => {
    if (Array.isArray(item)) return [item.map(text).join(', ')]
    return [text(item)]
  })
}

const text = (item: unknown): string => (Buffer.isBuffer(item) ? item.toString('latin1') : String(item))

/** Where both have something to say, both are heard. */
const combined = new Set(['vary', 'set-cookie', 'link', 'server-timing'])

/**
 * Sends the status and the headers of an upstream's response to the client. What the gateway itself has already set
 * (its request id, its limits, its CORS) stands; `Vary` and the like are added up. Throws, and leaves the response as
 * it was, when a header is not valid.
 */
export function sendHead(
  res: ServerResponse,
  status: number,
  pairs: readonly string[],
  rules: HeaderRules['response'],
  close: boolean,
): void {
  const names = res.getHeaderNames()
  const own = names.length === 0 ? undefined : new Set(names)
  const headers = passedOn(pairs, own, rules)
  for (const [name, value] of Object.entries(rules ?? {})) if (value !== null) headers.push(ruled(name), value)
  if (close && own?.has('connection') !== true) headers.push('connection', 'close')

  if (own === undefined) {
    res.writeHead(status, headers)
    return
  }

  // Given a list, Node 20 would keep only the last of several equal names once a header has been set one by one.
  try {
    for (const name of Object.keys(rules ?? {})) res.removeHeader(name)
    for (let index = 0; index < headers.length; index += 2) res.appendHeader(headers[index]!, headers[index + 1]!)
  } catch (error) {
    for (const name of res.getHeaderNames()) if (!own.has(name)) res.removeHeader(name)
    throw error
  }
  res.writeHead(status)
}

function passedOn(
  pairs: readonly string[],
  own: ReadonlySet<string> | undefined,
  rules: HeaderRules['response'],
): string[] {
  const dropped = nominated(valuesOf(pairs, 'connection'))
  const headers: string[] = []

  for (let index = 0; index < pairs.length; index += 2) {
    const name = pairs[index]!
    const lower = name.toLowerCase()
    if (hopByHop.has(lower) || dropped?.has(lower)) continue
    if (rules !== undefined && Object.hasOwn(rules, lower)) continue
    if (own?.has(lower) && !combined.has(lower)) continue

    headers.push(name, pairs[index + 1]!)
  }
  return headers
}

/** All values under a name, joined; undefined when there is none. */
export function valuesOf(pairs: readonly string[], name: string): string | undefined {
  let values: string | undefined
  for (let index = 0; index < pairs.length; index += 2) {
    if (pairs[index]!.length !== name.length || pairs[index]!.toLowerCase() !== name) continue

    values = values === undefined ? pairs[index + 1]! : `${values}, ${pairs[index + 1]}`
  }
  return values
}

/** The name a rule is about. */
export const ruled = (name: string): string => (name.startsWith('+') ? name.slice(1) : name)

/** The same rules under lower-case names. */
export function lowerCaseRules(
  rules: Readonly<Record<string, string | null>> | undefined,
): Readonly<Record<string, string | null>> | undefined {
  if (rules === undefined) return undefined

  return Object.fromEntries(Object.entries(rules).map(([name, value]) => [name.toLowerCase(), value]))
}
