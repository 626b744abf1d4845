import type { IncomingMessage, ServerResponse } from 'node:http'
import {
  clientAddress,
  forwardedFor,
  forwardedParameter,
  peerAddress,
  type TrustConfig,
  trustsPeer,
} from './address.js'
import type { ResponseHeaders } from './attempt.js'
import { contextOf, setTold } from './context.js'
import { hostOf, isHttp2 } from './http2.js'
import { isRecord } from './internal/checks.js'

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

/** What says how a message is cut, and has no place in trailers (RFC 9110, 6.5.1). */
export function isFraming(lower: string): boolean {
  return hopByHop.has(lower) || lower === 'content-length'
}

/** Most names are told apart by their length, which spares them the lower case. */
const hopByHopLengths = new Set([...hopByHop].map((name) => name.length))

/** What a `Connection` header cannot take away: a client must not be able to strip what the gateway relies on. */
const notNominable =
  /^(?:host|content-length|content-type|authorization|cookie|set-cookie|cache-control|via|forwarded|x-forwarded-.*|x-real-ip|x-request-id|x-user-.*|traceparent|tracestate|idempotency-key)$/

/** What does not go to the upstream as it came: it ends here, or the gateway says it itself. */
const notForwarded = new Set([
  ...hopByHop,
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

/** What proxies say in front of an application, and applications believe: where the path began, or another path altogether. */
const isProxyClaim = (spelt: string): boolean =>
  spelt.startsWith('x-forwarded-') || spelt === 'x-original-url' || spelt === 'x-rewrite-url'

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
  const trusted = trustsPeer(req, trust)
  const headers: string[] = ['host', rules?.['host'] ?? host]

  for (let index = 0; index < raw.length; index += 2) {
    const name = raw[index]!
    const lower = name.toLowerCase()
    // Frameworks that hand out headers as variables read both spellings as one.
    const spelt = lower.includes('_') ? lower.replaceAll('_', '-') : lower
    if (notForwarded.has(spelt) || lower.startsWith(':')) continue
    if (isIdentity(lower) || dropped?.has(lower)) continue
    if (!trusted && isProxyClaim(spelt)) continue
    if (spelt === 'x-request-id' && context.requestId !== undefined) continue
    if (rules !== undefined && Object.hasOwn(rules, lower)) continue
    if (lower === 'cookie' && isHttp2(req)) continue
    if (bodyLength !== undefined && (lower === 'content-length' || lower === 'content-encoding')) continue

    headers.push(name, raw[index + 1]!)
  }

  // HTTP/2 may cut a cookie in pieces, HTTP/1.1 may not (RFC 9113, 8.2.3).
  const { cookie } = req.headers
  if (cookie !== undefined && isHttp2(req) && rules?.['cookie'] === undefined) headers.push('cookie', cookie)
  if (bodyLength !== undefined) headers.push('content-length', String(bodyLength))
  pushForwarded(headers, req, trust, trusted)
  const before = req.headers['via']
  const hop = `${isHttp2(req) ? '2' : req.httpVersion} ${via}`
  headers.push('via', before === undefined ? hop : `${before}, ${hop}`)

  if (context.requestId !== undefined) headers.push('x-request-id', context.requestId)
  if (context.identity !== undefined) {
    for (const [name, value] of Object.entries(context.identity.headers)) headers.push(name, value)
  }
  if (rules === undefined) return headers

  const ruledHeaders = withoutRuled(headers, rules)
  pushRules(ruledHeaders, rules)
  return ruledHeaders
}

/** What the gateway says of its own gives way to a rule as well; the host, which comes first, has been set by it. */
function withoutRuled(headers: readonly string[], rules: Readonly<Record<string, string | null>>): string[] {
  return headers.filter((_, index) => {
    const name = headers[index - (index % 2)]!
    return index < 2 || !Object.hasOwn(rules, name.toLowerCase())
  })
}

/** A peer we do not trust tells us nothing: what it claims is dropped, and the chain begins with itself. */
function pushForwarded(headers: string[], req: IncomingMessage, trust: TrustConfig, trusted: boolean): void {
  const peer = peerAddress(req)
  const chain = trusted ? [...forwardedFor(req).filter((entry) => entry !== ''), peer] : [peer]
  const proto = (req.socket as { encrypted?: boolean }).encrypted === true ? 'https' : 'http'
  const told = trusted
    ? {
        host: one(req.headers['x-forwarded-host']) ?? forwardedParameter(req, 'host'),
        proto: one(req.headers['x-forwarded-proto']) ?? forwardedParameter(req, 'proto'),
      }
    : {}
  const host = told.host ?? hostOf(req)

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

/** What a route's rules set; what they remove was left out before. */
function pushRules(headers: string[], rules: HeaderRules['response']): void {
  if (rules === undefined) return

  for (const [name, value] of Object.entries(rules)) {
    if (value !== null && name !== 'host') headers.push(ruled(name), value)
  }
}

/** Where both have something to say, both are heard. */
const combined = new Set(['vary', 'set-cookie', 'link', 'server-timing'])

/** The head of an upstream's response: by lower-case name, and as received. */
export interface ReceivedHead {
  readonly status: number
  readonly headers: ResponseHeaders
  readonly raw: unknown
}

/**
 * Sends the status and the headers of an upstream's response to the client. What the gateway itself has already said
 * (its request id, its limits, its CORS) stands; `Vary` and the like are added up. Throws, and leaves the response as
 * it was, when a header is not valid.
 */
export function sendHead(
  res: ServerResponse,
  head: ReceivedHead,
  rules: HeaderRules['response'],
  close: boolean,
): void {
  // Node's HTTP/2 keeps only the last of several equal names in a list.
  if (res.getHeaderNames().length > 0 || isHttp2(res.req)) {
    setTold(res)
    sendPieces(res, head, rules, close)
    return
  }

  const told = contextOf(res.req).told ?? nothing
  const headers = passedOn(head, told, rules, contextOf(res.req).corsSaid)
  for (let index = 0; index < told.length; index += 2) {
    const name = told[index]!
    if (rules === undefined || !Object.hasOwn(rules, name.toLowerCase())) headers.push(name, told[index + 1]!)
  }
  pushRules(headers, rules)
  if (close && !tells(told, 'connection')) headers.push('connection', 'close')
  res.writeHead(head.status, headers)
}

const nothing: readonly string[] = []

/** Given a list, Node 20 would keep only the last of several equal names once a header has been set one by one. */
function sendPieces(res: ServerResponse, head: ReceivedHead, rules: HeaderRules['response'], close: boolean): void {
  const own = new Set(res.getHeaderNames())
  const told = [...own].flatMap((name) => [name, ''])
  const headers = passedOn(head, told, rules, contextOf(res.req).corsSaid)
  pushRules(headers, rules)
  if (close && !own.has('connection') && !isHttp2(res.req)) headers.push('connection', 'close')

  try {
    for (const name of Object.keys(rules ?? {})) res.removeHeader(name)
    for (let index = 0; index < headers.length; index += 2) res.appendHeader(headers[index]!, headers[index + 1]!)
  } catch (error) {
    for (const name of res.getHeaderNames()) if (!own.has(name)) res.removeHeader(name)
    throw error
  }
  res.writeHead(head.status)
}

/** The upstream's headers that go on to the client, in one pass over what was received. */
export function passedOn(
  { headers: { connection }, headers: received, raw }: ReceivedHead,
  told: readonly string[],
  rules: HeaderRules['response'],
  corsSaid: boolean,
): string[] {
  const dropped = nominated(typeof connection === 'object' ? connection.join(',') : connection)
  const headers: string[] = []

  // A dispatcher of somebody's own may have nothing raw to give.
  const pairs: readonly unknown[] = Array.isArray(raw) ? raw : Object.entries(received).flat()
  for (let index = 0; index < pairs.length; index += 2) {
    const name = text(pairs[index])
    if (hopByHopLengths.has(name.length) && hopByHop.has(name.toLowerCase())) continue
    if (tells(told, name) && !combined.has(name.toLowerCase())) continue
    if (corsSaid && name.toLowerCase().startsWith('access-control-')) continue
    if (dropped?.has(name.toLowerCase())) continue
    if (rules !== undefined && Object.hasOwn(rules, name.toLowerCase())) continue

    const value = pairs[index + 1]
    if (Array.isArray(value)) for (const one of value) headers.push(name, text(one))
    else headers.push(name, text(value))
  }
  return headers
}

function tells(told: readonly string[], name: string): boolean {
  for (let index = 0; index < told.length; index += 2) {
    const own = told[index]!
    if (own.length === name.length && own.toLowerCase() === name.toLowerCase()) return true
  }
  return false
}

const validName = /^\+?[\w!#$%&'*.^`|~-][\w!#$%&'*+.^`|~-]*$/
const validValue = /^[\t\x20-\x7e\x80-\xff]*$/

/** What is wrong with the rules for one side, or nothing. */
export function checkHeaderRules(side: 'request' | 'response'): (rules: unknown) => string | undefined {
  return (rules) => {
    const valid =
      isRecord(rules) &&
      Object.entries(rules).every(
        ([name, value]) =>
          validName.test(name) &&
          ((value === null && !name.startsWith('+')) || (typeof value === 'string' && validValue.test(value))),
      )
    if (!valid) return "an object from names of headers to texts, or null; '+name' adds"

    const odd = Object.keys(rules).find((name) => isReserved(side, name.toLowerCase(), rules[name]))
    return odd === undefined ? undefined : `an object without '${odd}', which the gateway has to say itself,`
  }
}

/** How a message is cut and how long a connection lasts; towards the upstream also that there is one host, and whether a request goes round in circles. */
function isReserved(side: 'request' | 'response', name: string, value: unknown): boolean {
  const lower = ruled(name)
  if (isFraming(lower) || lower === 'trailer') return true
  if (side === 'response') return false

  return lower === 'via' || lower === 'expect' || (lower === 'host' && (value === null || name.startsWith('+')))
}

/** The name a rule is about. */
export const ruled = (name: string): string => (name.startsWith('+') ? name.slice(1) : name)
const text = (item: unknown): string => (Buffer.isBuffer(item) ? item.toString('latin1') : String(item))

/** The same rules under lower-case names. */
export function lowerCaseRules(
  rules: Readonly<Record<string, string | null>> | undefined,
): Readonly<Record<string, string | null>> | undefined {
  if (rules === undefined) return undefined

  return Object.fromEntries(Object.entries(rules).map(([name, value]) => [name.toLowerCase(), value]))
}
