import type { IncomingMessage } from 'node:http'
import { isIP } from 'node:net'

/** One hop, as a proxy tells of it in `Forwarded` (RFC 7239). */
export interface ForwardedElement {
  readonly for: string | undefined
  readonly host: string | undefined
  readonly proto: string | undefined
}

/** Who was at the other end of a hop, when that is an address. */
export interface Node {
  readonly address: string
  readonly port: string | undefined
}

/**
 * Cut at every comma, also at one in quotes: no address, name or scheme has any, and a quote that a client has left open
 * must not swallow what a proxy of ours wrote after it.
 */
export function forwardedElements(req: IncomingMessage): readonly ForwardedElement[] {
  return (
    req.headers.forwarded?.split(',').map((text) => ({
      for: parameter(text, 'for'),
      host: parameter(text, 'host'),
      proto: parameter(text, 'proto'),
    })) ?? []
  )
}

function parameter(element: string, name: string): string | undefined {
  for (const pair of element.split(';')) {
    const [key = '', value] = pair.split('=', 2)
    if (key.trim().toLowerCase() === name) return value?.trim().replace(/^"(.*)"$/, '$1')
  }
  return undefined
}

/** Reads an address, with or without brackets and port. */
export function parseNode(entry: string): Node | undefined {
  const match = /^\[([^\]]+)\](?::(\d+))?$/.exec(entry) ?? /^([\d.]+):(\d+)$/.exec(entry)
  const bare = match?.[1] ?? entry

  return isIP(bare) === 0 ? undefined : { address: fold(bare), port: match?.[2] }
}

/** IPv4 addresses mapped into IPv6 as what they are, without a zone, in lower case. */
export function fold(address: string): string {
  const bare = address.replace(/%.*$/, '').toLowerCase()

  return /^::ffff:(\d+\.\d+\.\d+\.\d+)$/.exec(bare)?.[1] ?? bare
}

const obfuscated = /^_[\w.-]+$/
const scheme = /^[a-z][a-z0-9+.-]*$/i
const token = /^[\w!#$%&'*+.^`|~-]+$/

/** Writes one hop, every part anew: what was not written as RFC 7239 has it must not spoil the hops after it. */
export function writeElement({ for: entry, host, proto }: ForwardedElement): string {
  let element = `for=${writeNode(entry ?? '')}`
  if (host !== undefined && host !== '') element += `;host=${quoted(host)}`
  if (proto !== undefined && scheme.test(proto)) element += `;proto=${proto}`

  return element
}

function writeNode(entry: string): string {
  const node = parseNode(entry)
  if (node === undefined) return obfuscated.test(entry) ? entry : 'unknown'

  const { address, port } = node
  if (port !== undefined) return address.includes(':') ? `"[${address}]:${port}"` : `"${address}:${port}"`
  return address.includes(':') ? `"[${address}]"` : address
}

const quoted = (text: string): string => (token.test(text) ? text : `"${text.replace(/["\\]/g, '\\$&')}"`)
