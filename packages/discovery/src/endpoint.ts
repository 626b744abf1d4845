import { isIPv4 } from 'node:net'
import { inspect } from 'node:util'

/** The schemes an endpoint can be reached by. */
export type Scheme = 'http' | 'https'

/** One place where a service can be reached. Immutable; unchanged endpoints keep their identity from snapshot to snapshot. */
export interface Endpoint {
  /** Stable name of the instance: the registry's id where there is one, else `host:port`. */
  readonly id: string
  readonly host: string
  readonly port: number
  /** Share of the traffic among endpoints of the same priority, up to 2^53 - 1. 0: only when nobody of that priority has more. */
  readonly weight: number
  /** Lower is preferred; higher tiers are used only when the lower ones have nobody left. */
  readonly priority: number
  readonly zone?: string | undefined
  readonly tags: readonly string[]
  readonly meta: Readonly<Record<string, string>>
  /** `scheme://host:port`, with `http` where the source gives no scheme. */
  readonly url: string
  /** The scheme the source insists on; without it a request keeps its own. */
  readonly scheme?: Scheme | undefined
}

/** Names that need no closer look: parsing a URL for each of ten thousand endpoints takes longer than all the rest. */
const PLAIN_NAME = /^(?!.*xn--)(?:[a-z\d_-]+\.)*[a-z][a-z\d-]*$/i

/** What a URL gives another meaning, decodes or drops: the host that is connected to would be another one. */
const NEVER_IN_HOST = /[\p{Cc}\s/?#@\\%[\]]/u

/** Sums of weights must be numbers, too. */
const HEAVIEST = Number.MAX_SAFE_INTEGER

const NO_TAGS: readonly string[] = Object.freeze([])
const NO_META: Readonly<Record<string, string>> = Object.freeze({})

/** What a source has to say about an endpoint. Everything but host and port has a default. */
export interface EndpointInit {
  /** Default: `host:port`. */
  readonly id?: string | undefined
  /** A name, an IPv4 address or an IPv6 address, with or without brackets. */
  readonly host: string
  /** 1 to 65535. */
  readonly port: number
  /** Default: 1. */
  readonly weight?: number | undefined
  /** Default: 0. */
  readonly priority?: number | undefined
  readonly zone?: string | undefined
  /** Default: none. */
  readonly tags?: readonly string[] | undefined
  /** Default: none. */
  readonly meta?: Readonly<Record<string, string>> | undefined
  /** Only its scheme is read, when there is no `scheme`. */
  readonly url?: string | undefined
  /** Default: that of `url`, else the request's. */
  readonly scheme?: Scheme | undefined
}

/** Completes what a source said. Throws a TypeError for an endpoint that nobody could connect to. */
export function toEndpoint(init: EndpointInit): Endpoint {
  const { port, weight = 1, priority = 0, zone, tags = NO_TAGS, meta = NO_META } = init

  if (typeof init.host !== 'string' || init.host === '') throw unusable('host', 'a name or an address', init)
  if (!Number.isInteger(port) || port < 1 || port > 65_535) throw unusable('port', 'between 1 and 65535', init)
  if (typeof weight !== 'number' || !(weight >= 0 && weight <= HEAVIEST)) {
    throw unusable('weight', `a number from 0 to ${HEAVIEST}`, init)
  }
  if (!Number.isFinite(priority)) throw unusable('priority', 'a number', init)

  const host = /^\[.*\]$/.test(init.host) ? init.host.slice(1, -1) : init.host
  const authority = `${host.includes(':') ? `[${host}]` : host}:${port}`
  const scheme = init.scheme ?? schemeOf(init)
  if (scheme !== undefined && scheme !== 'http' && scheme !== 'https') throw unusable('scheme', 'http or https', init)

  const url = `${scheme ?? 'http'}://${authority}`
  if (!isHost(host, url)) throw unusable('host', 'a name or an address', init)
  const id = init.id ?? authority
  if (typeof id !== 'string' || id === '') throw unusable('id', 'a name', init)

  return Object.freeze({
    id,
    host,
    port,
    weight,
    priority,
    ...(zone !== undefined && { zone }),
    tags: tags.length === 0 ? NO_TAGS : Object.freeze([...tags]),
    meta: meta === NO_META ? NO_META : Object.freeze({ ...meta }),
    url,
    ...(scheme !== undefined && { scheme }),
  })
}

/** Whether two descriptions of one id say the same. */
export function sameEndpoint(a: Endpoint, b: Endpoint): boolean {
  return (
    a.host === b.host &&
    a.port === b.port &&
    a.weight === b.weight &&
    a.priority === b.priority &&
    a.zone === b.zone &&
    a.scheme === b.scheme &&
    sameTags(a.tags, b.tags) &&
    sameMeta(a.meta, b.meta)
  )
}

/**
 * Whether a report says of an endpoint what is known of it. Most reports repeat what the last one said, and this takes a
 * small part of the time of completing them. False is no answer: then `sameEndpoint` of the completed one decides.
 */
export function repeats(init: EndpointInit, known: Endpoint): boolean {
  const { id, weight = 1, priority = 0, tags = NO_TAGS, meta = NO_META } = init

  return (
    init.port === known.port &&
    init.host === known.host &&
    (id ?? `${known.host}:${known.port}`) === known.id &&
    weight === known.weight &&
    priority === known.priority &&
    init.zone === known.zone &&
    init.scheme === known.scheme &&
    (init.url === undefined || init.url === known.url) &&
    Array.isArray(tags) &&
    sameTags(tags, known.tags) &&
    typeof meta === 'object' &&
    meta !== null &&
    sameMeta(meta, known.meta)
  )
}

function isHost(host: string, url: string): boolean {
  return PLAIN_NAME.test(host) || isIPv4(host) || (!NEVER_IN_HOST.test(host) && URL.canParse(url))
}

function sameTags(a: readonly string[], b: readonly string[]): boolean {
  return a === b || (a.length === b.length && a.every((tag, index) => tag === b[index]))
}

function sameMeta(a: Readonly<Record<string, string>>, b: Readonly<Record<string, string>>): boolean {
  if (a === b) return true

  let keys = 0
  for (const key in a) {
    if (a[key] !== b[key]) return false
    keys++
  }
  for (const _ in b) keys--
  return keys === 0
}

function schemeOf(init: EndpointInit): Scheme | undefined {
  if (init.url === undefined) return undefined
  if (!URL.canParse(init.url)) throw unusable('url', 'an absolute URL', init)

  return new URL(init.url).protocol.slice(0, -1) as Scheme
}

function unusable(field: string, expected: string, init: EndpointInit): TypeError {
  return new TypeError(`Unusable endpoint ${inspect(init, { depth: 0 })}: ${field} must be ${expected}`)
}
