import type { IncomingMessage } from 'node:http'
import { BlockList, isIP, isIPv6 } from 'node:net'

/**
 * Who may say where a request came from: the networks of one's own proxies (`10.0.0.0/8`, `::1`), how many proxies
 * stand in front, or nobody (`false`, the default).
 */
export type TrustConfig = readonly string[] | { readonly hops: number } | false

type Trusts = (address: string, hop: number) => boolean

// A memo, keyed by the config object itself: compiled once however often it is asked.
const compiled = new WeakMap<object, Trusts>()

/** What is wrong with a trust setting, or nothing. */
export function checkTrust(trust: unknown): string | undefined {
  const expected = 'a list of addresses and networks, { hops: number }, or false'
  if (trust === false) return undefined
  if (Array.isArray(trust)) return trust.every(isNetwork) ? undefined : expected
  if (typeof trust !== 'object' || trust === null) return expected

  const { hops } = trust as { hops?: unknown }
  return Number.isSafeInteger(hops) && (hops as number) >= 0 ? undefined : expected
}

function isNetwork(network: unknown): boolean {
  if (typeof network !== 'string') return false

  const [address = '', prefix, ...more] = network.split('/')
  const family = isIP(address)
  if (family === 0 || more.length > 0) return false

  return prefix === undefined || (/^\d{1,3}$/.test(prefix) && Number(prefix) <= (family === 6 ? 128 : 32))
}

function compile(trust: Exclude<TrustConfig, false>): Trusts {
  const known = compiled.get(trust)
  if (known !== undefined) return known

  const expected = checkTrust(trust)
  if (expected !== undefined) throw new TypeError(`trust must be ${expected}`)

  const trusts = 'hops' in trust ? (_address: string, hop: number) => hop < trust.hops : networks(trust)
  compiled.set(trust, trusts)
  return trusts
}

function networks(trust: readonly string[]): Trusts {
  const list = new BlockList()
  for (const network of trust) {
    const [address = '', prefix] = network.split('/')
    const family = isIPv6(address) ? 'ipv6' : 'ipv4'
    if (prefix === undefined) list.addAddress(address, family)
    else list.addSubnet(address, Number(prefix), family)
  }

  return (address) => list.check(address, isIPv6(address) ? 'ipv6' : 'ipv4')
}

/** Whether the peer itself, the other end of the socket, is one of our own proxies. */
export function trustsPeer(req: IncomingMessage, trust: TrustConfig): boolean {
  return trust !== false && compile(trust)(peerAddress(req), 0)
}

/**
 * The address a request came from: the peer's, or, where the peer is trusted, the first untrusted one of
 * `X-Forwarded-For` read from the right. IPv4 addresses mapped into IPv6 are folded. Never throws on what a client
 * sent: an entry that is no address ends the walk.
 */
export function clientAddress(req: IncomingMessage, trust: TrustConfig): string {
  const peer = peerAddress(req)
  if (trust === false) return peer

  const trusts = compile(trust)
  const forwarded = forwardedFor(req)
  let address = peer
  for (let hop = 0; trusts(address, hop); hop += 1) {
    const before = parseAddress(forwarded[forwarded.length - 1 - hop] ?? '')
    if (before === undefined) break

    address = before
  }

  return address
}

// Registered, so that two copies of the package agree.
const peer: unique symbol = Symbol.for('@msx/gateway-kit.peer') as never

/** The other end of the socket. It stays the same for all requests of a connection, so it is read once. */
export function peerAddress(req: IncomingMessage): string {
  const socket = req.socket as IncomingMessage['socket'] & { [peer]?: string }
  const known = socket[peer]
  if (known !== undefined) return known

  const { remoteAddress } = socket
  // Gone already: an address that is not known now will not be known later, but is nothing to remember.
  if (remoteAddress === undefined) return ''

  const address = fold(remoteAddress)
  socket[peer] = address
  return address
}

/** The entries of all `X-Forwarded-For` headers, in order; where there are none, the `for` of all `Forwarded` ones. */
export function forwardedFor(req: IncomingMessage): readonly string[] {
  const header = req.headers['x-forwarded-for']
  if (header === undefined) return forwardedElements(req).map((element) => parameter(element, 'for') ?? '')

  return String(header)
    .split(',')
    .map((entry) => entry.trim())
}

/** What the proxy in front, the last to write, says under a name of `Forwarded` (RFC 7239): `proto` or `host`. */
export function forwardedParameter(req: IncomingMessage, name: 'proto' | 'host'): string | undefined {
  const last = forwardedElements(req).at(-1)

  return last === undefined ? undefined : parameter(last, name)
}

/**
 * Cut at every comma, also at one in quotes: no address, name or scheme has any, and a quote that a client has left open
 * must not swallow what a proxy of ours wrote after it.
 */
function forwardedElements(req: IncomingMessage): readonly string[] {
  return req.headers.forwarded?.split(',') ?? []
}

function parameter(element: string, name: string): string | undefined {
  for (const pair of element.split(';')) {
    const [key = '', value] = pair.split('=', 2)
    if (key.trim().toLowerCase() === name) return value?.trim().replace(/^"(.*)"$/, '$1')
  }
  return undefined
}

function parseAddress(entry: string): string | undefined {
  const bare = /^\[([^\]]+)\](?::\d+)?$/.exec(entry)?.[1] ?? /^([\d.]+):\d+$/.exec(entry)?.[1] ?? entry

  return isIP(bare) === 0 ? undefined : fold(bare)
}

function fold(address: string): string {
  const bare = address.replace(/%.*$/, '').toLowerCase()

  return /^::ffff:(\d+\.\d+\.\d+\.\d+)$/.exec(bare)?.[1] ?? bare
}

/**
 * What an address is counted under: IPv4 as it is, IPv6 by its /64, since whoever has one address of such a network
 * has all of them.
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
