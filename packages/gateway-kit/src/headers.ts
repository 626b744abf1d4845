import type { IncomingMessage, ServerResponse } from 'node:http'
import { believed, clientAddress, type ForwardingHeaders, peerAddress, type TrustConfig } from './address.js'
import type { ResponseHeaders } from './attempt.js'
import { connectionOf, contextOf, setTold } from './context.js'
import { type ForwardedElement, forwardedElements, parseNode, writeElement } from './forwarded.js'
import { headerText } from './header-text.js'
import { hostOf, isHttp2 } from './http2.js'
import { isRecord } from './internal/checks.js'
import { forwardsLeft } from './max-forwards.js'

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

/** Most names are told apart by their length, which spares them the lower case; a bit for each length. */
const hopByHopLengths = [...hopByHop].reduce((bits, { length }) => bits | (1 << length), 0)

const isHopByHop = (name: string): boolean =>
  name.length < 32 && (hopByHopLengths & (1 << name.length)) !== 0 && hopByHop.has(name.toLowerCase())

/** What a `Connection` header cannot take away: a client must not be able to strip what the gateway relies on. */
const notNominable =
  /^(?:host|content-length|content-type|authorization|cookie|set-cookie|cache-control|via|forwarded|x-forwarded-.*|x-real-ip|x-request-id|x-user-.*|x-api-key|traceparent|tracestate|idempotency-key)$/

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
  const context = contextOf(req)
  const dropped = nominated(req.headers.connection, context.proofs)
  const told = believed(req, trust)
  const left = forwardsLeft(req)
  const headers: string[] = ['host', rules?.['host'] ?? host]

  for (let index = 0; index < raw.length; index += 2) {
    const name = raw[index]!
    const lower = name.toLowerCase()
    const spelt = asVariable(lower)
    if (notForwarded.has(spelt) || lower.startsWith(':')) continue
    if (isIdentity(lower) || dropped?.has(lower)) continue
    if (told !== 'x-forwarded' && isProxyClaim(spelt)) continue
    if (left !== undefined && spelt === 'max-forwards') continue
    if (spelt === 'x-request-id' && context.requestId !== undefined) continue
    if (spelt !== lower && spelt === 'content-length') continue
    if (rules !== undefined && (Object.hasOwn(rules, lower) || Object.hasOwn(rules, spelt))) continue
    if (lower === 'cookie' && isHttp2(req)) continue
    if (bodyLength !== undefined && (lower === 'content-length' || lower === 'content-encoding')) continue

    headers.push(name, raw[index + 1]!)
  }

  // HTTP/2 may cut a cookie in pieces, HTTP/1.1 may not (RFC 9113, 8.2.3).
  const { cookie } = req.headers
  if (cookie !== undefined && isHttp2(req) && rules?.['cookie'] === undefined) headers.push('cookie', cookie)
  if (bodyLength !== undefined) headers.push('content-length', String(bodyLength))
  if (left !== undefined) headers.push('max-forwards', String(left - 1))
  if (told === undefined) pushPeer(headers, req)
  else pushChain(headers, req, trust, told)
  const before = req.headers['via']
  const hop = `${isHttp2(req) ? '2' : req.httpVersion} ${via}`
  headers.push('via', before === undefined ? hop : `${before}, ${hop}`)

  if (context.requestId !== undefined) headers.push('x-request-id', context.requestId)
  if (context.identity !== undefined) {
    const { headers: identity } = context.identity
    for (const name of Object.keys(identity)) headers.push(name, identity[name]!)
  }
  if (rules === undefined) return headers

  const ruledHeaders = withoutRuled(headers, rules)
  pushRules(ruledHeaders, rules)
  return ruledHeaders
}

/** Names and values in turn, with these fields in the place of those of the same names. */
export function replaced(headers: readonly string[], fields: Readonly<Record<string, string>>): string[] {
  return [
    ...headers.filter((_, index) => !Object.hasOwn(fields, headers[index - (index % 2)]!.toLowerCase())),
    ...Object.entries(fields).flat(),
  ]
}

/** What the gateway says of its own gives way to a rule as well; the host, which comes first, has been set by it. */
function withoutRuled(headers: readonly string[], rules: Readonly<Record<string, string | null>>): string[] {
  return headers.filter((_, index) => {
    const name = headers[index - (index % 2)]!
    return index < 2 || !Object.hasOwn(rules, name.toLowerCase())
  })
}

/** A peer we do not trust tells us nothing: what it claims is dropped, and the chain begins with itself. */
function pushPeer(headers: string[], req: IncomingMessage): void {
  const peer = peerAddress(req)
  const host = hostOf(req)
  const proto = protocolOf(req)
  const connection = connectionOf(req)
  // The same is written for each request of a connection.
  let hop = connection.hop
  if (hop?.peer !== peer || hop.host !== host) {
    hop = { peer, host, element: writeElement({ for: peer, host, proto }) }
    connection.hop = hop
  }

  headers.push('x-forwarded-for', peer)
  if (host !== undefined) headers.push('x-forwarded-host', host)
  headers.push('x-forwarded-proto', proto, 'x-real-ip', peer, 'forwarded', hop.element)
}

/** What our own proxy says by the headers it writes, with the proxy itself added; the other headers say the same. */
function pushChain(headers: string[], req: IncomingMessage, trust: TrustConfig, told: ForwardingHeaders): void {
  const peer = peerAddress(req)
  const host = hostOf(req)
  const proto = protocolOf(req)
  const hops = told === 'forwarded' ? forwardedElements(req) : hopsOf(req)
  const last = hops.at(-1)
  const before = told === 'forwarded' ? hops.map(entryOf).join(', ') : one(req.headers['x-forwarded-for'])

  headers.push('x-forwarded-for', before === undefined || before === '' ? peer : `${before}, ${peer}`)
  const name = last?.host ?? host
  if (name !== undefined) headers.push('x-forwarded-host', name)
  headers.push('x-forwarded-proto', last?.proto ?? proto, 'x-real-ip', clientAddress(req, trust))
  headers.push('forwarded', [...hops, { for: peer, host, proto }].map(writeElement).join(', '))
}

/** The hops of `X-Forwarded-For`; the last one is what the proxy in front tells by the other headers, too. */
function hopsOf(req: IncomingMessage): ForwardedElement[] {
  const chain = one(req.headers['x-forwarded-for'])
  const host = one(req.headers['x-forwarded-host'])
  const proto = one(req.headers['x-forwarded-proto'])
  if (chain === undefined && host === undefined && proto === undefined) return []

  const entries = (chain ?? '').split(',').map((entry) => entry.trim())
  return entries.map((entry, index) =>
    index === entries.length - 1 ? { for: entry, host, proto } : { for: entry, host: undefined, proto: undefined },
  )
}

/** Who was at the other end of a hop. One that is left out would make the one before it look nearer than it was. */
const entryOf = ({ for: entry }: ForwardedElement): string => parseNode(entry ?? '')?.address ?? 'unknown'

/** The host that a page was asked for by its browser, by the word of our own proxy where there is one. */
export function askedHost(req: IncomingMessage, trust: TrustConfig): string | undefined {
  const told = believed(req, trust)
  const host = told === 'forwarded' ? forwardedElements(req).at(-1)?.host : one(req.headers['x-forwarded-host'])

  return (told === undefined ? undefined : host) ?? hostOf(req)
}

const protocolOf = (req: IncomingMessage): 'http' | 'https' =>
  (req.socket as { encrypted?: boolean }).encrypted === true ? 'https' : 'http'

const one = (value: string | string[] | undefined): string | undefined => (Array.isArray(value) ? value[0] : value)

const plain = /^[a-z0-9-]*$/
const odd = /[^a-z0-9-]/g

/**
 * One spelling for all names that become the same variable (`HTTP_X_USER_ID`): of underscores everywhere, of dots and
 * other signs in some servers (lighttpd, CGI).
 */
const asVariable = (lower: string): string => (plain.test(lower) ? lower : lower.replace(odd, '-'))

/** `x-user-…`, in any spelling that some framework reads as the same. */
export function isIdentity(lower: string): boolean {
  return lower.startsWith('x') && asVariable(lower).startsWith('x-user-')
}

/** The names in a `Connection` header, but for those that stay. */
function nominated(connection: string | undefined, kept?: readonly string[]): Set<string> | undefined {
  if (connection === undefined) return undefined

  const names = connection
    .toLowerCase()
    .split(',')
    .map((name) => name.trim())
    .filter(
      (name) =>
        name !== '' && name !== 'close' && name !== 'keep-alive' && !notNominable.test(name) && !kept?.includes(name),
    )
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
    // Over HTTP/2 it is here that Node finds two of what there can be but one of.
    res.writeHead(head.status)
  } catch (error) {
    for (const name of res.getHeaderNames()) {
      // Over HTTP/2 Node only stops writing one of its own, and keeps what was set.
      if (name === 'date') res.setHeader(name, new Date().toUTCString())
      else if (!own.has(name)) res.removeHeader(name)
    }
    throw error
  }
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
    const name = headerText(pairs[index], index)
    if (isHopByHop(name)) continue
    if (tells(told, name) && !combined.has(name.toLowerCase())) continue
    if (corsSaid && name.toLowerCase().startsWith('access-control-')) continue
    if (dropped?.has(name.toLowerCase())) continue
    if (rules !== undefined && Object.hasOwn(rules, name.toLowerCase())) continue

    const value = pairs[index + 1]
    if (Array.isArray(value)) for (const one of value) headers.push(name, headerText(one, index + 1))
    else headers.push(name, headerText(value, index + 1))
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

/** The same rules under lower-case names. */
export function lowerCaseRules(
  rules: Readonly<Record<string, string | null>> | undefined,
): Readonly<Record<string, string | null>> | undefined {
  if (rules === undefined) return undefined

  return Object.fromEntries(Object.entries(rules).map(([name, value]) => [name.toLowerCase(), value]))
}
