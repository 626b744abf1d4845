import { type Clock, systemClock } from '../clock.js'
import { checkFunction, wrongOption } from '../internal/options.js'
import type { ConsulApi } from './api.js'
import { ClientApi, type ConsulClient } from './client-api.js'
import { type ConsulTls, checkToken, type TokenSource } from './credentials.js'
import { HttpApi } from './http-api.js'

/** What holds however Consul is reached. Durations in milliseconds. */
interface ConsulBaseOptions {
  /** Any server may answer, not only the leader: lighter, and goes on without one, but may be behind. Default: false. */
  readonly stale?: boolean | undefined
  /**
   * Only instances all of whose checks pass. Otherwise all are listed: those with a warning with the weight they have for
   * that, those with a failing check with weight 0, for when there is nobody else. Default: true.
   */
  readonly passing?: boolean | undefined
  /** Only instances that have all of these tags. Default: none. */
  readonly tags?: readonly string[] | undefined
  /** The datacenter to look in. Default: the agent's own. */
  readonly dc?: string | undefined
  /** How long a question waits for news, 1 to 600_000. Changes come at once all the same. Default: 55_000. */
  readonly wait?: number | undefined
  /** Default: the process's monotonic clock. */
  readonly clock?: Clock | undefined
  /** A number from 0 up to but not including 1. Default: `Math.random`. */
  readonly random?: (() => number) | undefined
}

/** Consul by its HTTP API. */
export interface ConsulHttpOptions extends ConsulBaseOptions {
  /** The agent's address, with a path if it is behind a proxy. Default: `http://127.0.0.1:8500`. */
  readonly url?: string | URL | undefined
  /** The ACL token, or a function that returns it before each request, for tokens with a lease. Default: none. */
  readonly token?: TokenSource | undefined
  /** Certificates, for an https `url`. */
  readonly tls?: ConsulTls | undefined
  readonly client?: undefined
}

/** Consul by a client you have: its address, token and certificates hold. */
export interface ConsulClientOptions extends ConsulBaseOptions {
  /** A client of the npm package `consul`. While it watches, its connections keep the process alive. */
  readonly client: ConsulClient
  readonly url?: undefined
  readonly token?: undefined
  readonly tls?: undefined
}

export type ConsulOptions = ConsulHttpOptions | ConsulClientOptions

/** The options, checked and complete. */
export interface ConsulSettings {
  readonly api: ConsulApi
  readonly stale: boolean
  readonly passing: boolean
  readonly tags: readonly string[]
  readonly dc: string | undefined
  readonly wait: number
  readonly clock: Clock
  readonly random: () => number
}

/** Consul's own limit, ms. */
const LONGEST_WAIT = 600_000

const TLS_OPTIONS = ['ca', 'cert', 'key', 'passphrase', 'servername', 'rejectUnauthorized']

export function readOptions(options: ConsulOptions): ConsulSettings {
  if (typeof options !== 'object' || options === null) throw wrongOption('options', options, 'an object')
  const { stale = false, passing = true, tags = [], dc, wait = 55_000 } = options
  const { clock = systemClock, random = Math.random } = options

  if (typeof stale !== 'boolean') throw wrongOption('stale', stale, 'true or false')
  if (typeof passing !== 'boolean') throw wrongOption('passing', passing, 'true or false')
  if (!Array.isArray(tags) || !tags.every(isName)) throw wrongOption('tags', tags, 'an array of tags')
  if (dc !== undefined && !isName(dc)) throw wrongOption('dc', dc, 'the name of a datacenter')
  if (!(typeof wait === 'number' && wait >= 1 && wait <= LONGEST_WAIT)) {
    throw wrongOption('wait', wait, `a number of milliseconds between 1 and ${LONGEST_WAIT}`)
  }
  if (typeof clock?.now !== 'function') throw wrongOption('clock', clock, 'an object with now()')
  checkFunction('random', random)

  return { api: apiOf(options, clock), stale, passing, tags: [...tags], dc, wait, clock, random }
}

function apiOf({ client, url, token, tls }: ConsulOptions, clock: Clock): ConsulApi {
  if (client === undefined)
    return new HttpApi({ url: readUrl(url), token: readToken(token), tls: readTls(tls, url) }, clock)

  for (const [name, value] of Object.entries({ url, tls })) {
    if (value !== undefined) throw wrongOption(name, value, 'left out beside a client, which has its own')
  }
  if (token !== undefined) throw new TypeError('token must be left out beside a client, which has its own')
  if (!isClient(client)) throw wrongOption('client', client, 'a client of the npm package "consul"')
  return new ClientApi(client, clock)
}

function readUrl(value: string | URL = 'http://127.0.0.1:8500'): URL {
  const expected = 'an http or https URL such as http://127.0.0.1:8500, without query or credentials'
  const text = value instanceof URL ? value.href : value
  if (typeof text !== 'string' || !URL.canParse(text)) throw wrongOption('url', value, expected)

  const url = new URL(text)
  const isPlain = url.username === '' && url.password === '' && url.search === '' && url.hash === ''
  // Not repeated: it may hold a password.
  if (!isPlain) throw new TypeError(`url must be ${expected}`)
  if (url.protocol !== 'http:' && url.protocol !== 'https:') throw wrongOption('url', value, expected)
  return url
}

function readToken(token: TokenSource | undefined): TokenSource | undefined {
  return token === undefined || typeof token === 'function' ? token : checkToken(token)
}

function readTls(tls: ConsulTls | undefined, url: string | URL | undefined): ConsulTls | undefined {
  if (tls === undefined) return undefined
  if (typeof tls !== 'object' || tls === null) throw wrongOption('tls', tls, 'an object')
  if (readUrl(url).protocol !== 'https:') throw wrongOption('url', url, 'an https URL, for tls to have a meaning')

  for (const name of Object.keys(tls)) {
    if (!TLS_OPTIONS.includes(name)) throw new TypeError(`tls.${name} is unknown; expected ${TLS_OPTIONS.join(', ')}`)
  }
  return tls
}

function isName(value: unknown): value is string {
  return typeof value === 'string' && value !== ''
}

function isClient(client: Partial<ConsulClient> | null): boolean {
  const calls = [client?.health?.service, client?.agent?.service?.register, client?.agent?.check?.pass]
  return calls.every((call) => typeof call === 'function')
}
