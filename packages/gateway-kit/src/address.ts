import type { IncomingMessage } from 'node:http'
import { BlockList, isIP, isIPv6 } from 'node:net'
import { connectionOf } from './context.js'
import { fold, forwardedElements, parseNode } from './forwarded.js'
import { isRecord } from './internal/checks.js'

/**
 * Which headers one's proxies write themselves, whatever a client sends under the same names: `X-Forwarded-For`, `-Host`
 * and `-Proto`, or `Forwarded` (RFC 7239).
 */
export type ForwardingHeaders = 'x-forwarded' | 'forwarded'

/**
 * Who may say where a request came from: the networks of one's own proxies (`10.0.0.0/8`, `::1`), how many proxies
 * stand in front, or nobody (`false`, the default).
 *
 * One of the two families of headers is believed and the other is thrown away: a proxy passes on what it does not write,
 * so that anybody could say what they like there. A list, and an object without `headers`, stand for `x-forwarded`.
 */
export type TrustConfig =
  | readonly string[]
  | { readonly networks: readonly string[]; readonly headers?: ForwardingHeaders | undefined }
  | { readonly hops: number; readonly headers?: ForwardingHeaders | undefined }
  | false

interface Trust {
  readonly headers: ForwardingHeaders
  trusts(address: string, hop: number): boolean
}

// A memo, keyed by the config object itself: compiled once however often it is asked.
const compiled = new WeakMap<object, Trust>()

/** What is wrong with a trust setting, or nothing. */
export function checkTrust(trust: unknown): string | undefined {
  const expected =
    "a list of addresses and networks, { networks }, { hops: number }, both with or without headers: 'x-forwarded' or 'forwarded', or false"
  if (trust === false) return undefined
  if (Array.isArray(trust)) return trust.every(isNetwork) ? undefined : expected
  if (!isRecord(trust)) return expected

  const { networks, hops, headers, ...others } = trust
  const valid =
    Object.keys(others).length === 0 &&
    (headers === undefined || headers === 'x-forwarded' || headers === 'forwarded') &&
    (networks === undefined
      ? Number.isSafeInteger(hops) && (hops as number) >= 0
      : hops === undefined && Array.isArray(networks) && networks.every(isNetwork))
  return valid ? undefined : expected
}

function isNetwork(network: unknown): boolean {
  if (typeof network !== 'string') return false

  const [address = '', prefix, ...more] = network.split('/')
  const family = isIP(address)
  if (family === 0 || more.length > 0) return false

  return prefix === undefined || (/^\d{1,3}$/.test(prefix) && Number(prefix) <= (family === 6 ? 128 : 32))
}

function compile(trust: Exclude<TrustConfig, false>): Trust {
  const known = compiled.get(trust)
  if (known !== undefined) return known

  const expected = checkTrust(trust)
  if (expected !== undefined) throw new TypeError(`trust must be ${expected}`)

  const {
    headers = 'x-forwarded',
    hops,
    networks,
  } = Array.isArray(trust)
    ? { networks: trust as readonly string[] }
    : (trust as { headers?: ForwardingHeaders; hops?: number; networks?: readonly string[] })
  const trusts = networks === undefined ? (_address: string, hop: number) => hop < hops! : listed(networks)
  const made = { headers, trusts }
  compiled.set(trust, made)
  return made
}

function listed(networks: readonly string[]): Trust['trusts'] {
  const list = new BlockList()
  for (const network of networks) {
    const [address = '', prefix] = network.split('/')
    const family = isIPv6(address) ? 'ipv6' : 'ipv4'
    if (prefix === undefined) list.addAddress(address, family)
    else list.addSubnet(address, Number(prefix), family)
  }

  return (address) => list.check(address, isIPv6(address) ? 'ipv6' : 'ipv4')
}

/** Whether the peer itself, the other end of the socket, is one of our own proxies. */
export function trustsPeer(req: IncomingMessage, trust: TrustConfig): boolean {
  return believed(req, trust) !== undefined
}

/** Which headers are believed of this request: none where the peer is not trusted. */
export function believed(req: IncomingMessage, trust: TrustConfig): ForwardingHeaders | undefined {
  if (trust === false) return undefined

  const { headers, trusts } = compile(trust)
  return trusts(peerAddress(req), 0) ? headers : undefined
}

/**
 * The address a request came from: the peer's, or, where the peer is trusted, the first untrusted one of
 * `X-Forwarded-For` (or of `Forwarded`, where `trust` says so) read from the right. IPv4 addresses mapped into IPv6 are
 * folded. Never throws on what a client sent: an entry that is no address ends the walk.
 */
export function clientAddress(req: IncomingMessage, trust: TrustConfig): string {
  const peer = peerAddress(req)
  if (trust === false) return peer

  const { headers, trusts } = compile(trust)
  if (!trusts(peer, 0)) return peer

  const chain = forwardedFor(req, headers)
  let address = peer
  for (let hop = 0; trusts(address, hop); hop += 1) {
    const before = parseNode(chain[chain.length - 1 - hop] ?? '')?.address
    if (before === undefined) break

    address = before
  }

  return address
}

function forwardedFor(req: IncomingMessage, headers: ForwardingHeaders): readonly string[] {
  if (headers === 'forwarded') return forwardedElements(req).map((element) => element.for ?? '')

  return String(req.headers['x-forwarded-for'] ?? '')
    .split(',')
    .map((entry) => entry.trim())
}

/** The other end of the socket. It stays the same for all requests of a connection, so it is read once. */
export function peerAddress(req: IncomingMessage): string {
  const connection = connectionOf(req)
  if (connection.peer !== undefined) return connection.peer

  const { remoteAddress } = req.socket
  // Gone already: an address that is not known now will not be known later, but is nothing to remember.
  if (remoteAddress === undefined) return ''

  connection.peer = fold(remoteAddress)
  return connection.peer
}

/**
 * What an address is counted under: IPv4 as it is, IPv6 by its /64, since whoever has one address of such a network
 * has all of them. For what counts in a way of its own; `rateLimit` does so by itself.
 *
 * @example
 * const wrong = limiter.take(addressKey(clientAddress(req, trust)))
 */
export function addressKey(address: string): string {
  if (!address.includes(':')) return address

  const [head = '', tail] = address.split('::')
  const groups = head === '' ? [] : head.split(':')
  const after = tail === undefined || tail === '' ? [] : tail.split(':')
  while (tail !== undefined && groups.length + after.length < 8) groups.push('0')

  return `${[...groups, ...after]
    .slice(0, 4)
    .map((group) => Number.parseInt(group, 16).toString(16))
    .join(':')}::/64`
}
