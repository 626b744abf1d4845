import type { Lease, Service } from '@msx/discovery'
import type { UpstreamTarget } from './config.js'
import { ProxyError } from './errors.js'

/** Where an attempt goes. Whoever picks tells the outcome, once. */
export interface Pick {
  readonly origin: string
  /** Identifies the instance, so that a retry can go to another one. */
  readonly id: string
  readonly lease?: Lease | undefined
  /** Where instances differ in them: what stands in for those of the upstream. */
  readonly host?: string | undefined
  readonly basePath?: string | undefined
}

export interface Upstream {
  /** The Host header it is asked with. */
  readonly host: string
  /** Before every path; without a slash at its end. */
  readonly basePath: string
  /** Throws a ProxyError when there is nowhere to go. */
  pick(exclude: ReadonlySet<string> | undefined): Pick | Promise<Pick>
}

/** What is needed of a Discovery. */
export interface Finder {
  service(name: string): Service
}

const isUrl = /^[a-z][a-z0-9+.-]*:\/\//i
const serviceName = /^[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?$/

/** What is wrong with an upstream, or nothing. */
export function checkUpstream(upstream: unknown): string | undefined {
  const expected = "a URL such as 'http://127.0.0.1:3000', or the name of a service"
  if (typeof upstream !== 'string') return expected
  if (!isUrl.test(upstream)) return serviceName.test(upstream) ? undefined : expected
  if (!URL.canParse(upstream)) return expected

  const url = new URL(upstream)
  if (url.protocol !== 'http:' && url.protocol !== 'https:') return 'an http or https URL'
  if (url.search !== '' || url.hash !== '' || url.username !== '' || url.password !== '') {
    return 'a URL without credentials, query or hash'
  }

  return undefined
}

/** Whether this names a service, to be looked up, rather than a URL. */
export const isServiceName = (upstream: string): boolean => !isUrl.test(upstream)

interface Weighted {
  readonly pick: Pick
  readonly weight: number
  credit: number
}

/**
 * Several URLs by their weights, smoothly: with weights 3 and 1 every fourth request goes to the second, not three
 * and then one (the algorithm is nginx's).
 */
export function fromTargets(targets: readonly UpstreamTarget[]): Upstream {
  const all = targets.map(({ url, weight = 1 }): Weighted => {
    const { origin, host, pathname } = new URL(url)
    return { pick: { origin, id: url, host, basePath: pathname.replace(/\/+$/, '') }, weight, credit: 0 }
  })

  const take = (exclude: ReadonlySet<string> | undefined): Weighted | undefined => {
    let best: Weighted | undefined
    let total = 0
    for (const one of all) {
      if (one.weight === 0 || exclude?.has(one.pick.id) === true) continue

      one.credit += one.weight
      total += one.weight
      if (best === undefined || one.credit > best.credit) best = one
    }
    if (best !== undefined) best.credit -= total
    return best
  }

  return {
    host: '',
    basePath: '',
    // Everybody has been tried: once more is better than not at all.
    pick: (exclude) => (take(exclude) ?? take(undefined))!.pick,
  }
}

/** `ready` bounds the wait of the first requests for the first answer of the registry, in milliseconds. */
export function createUpstream(upstream: string, discovery: Finder | undefined, ready: number | false): Upstream {
  return isServiceName(upstream) ? fromService(upstream, discovery!, ready) : fromUrl(new URL(upstream))
}

function fromUrl({ origin, host, pathname }: URL): Upstream {
  const pick = { origin, id: origin }

  return { host, basePath: pathname.replace(/\/+$/, ''), pick: () => pick }
}

const nobody = (cause: unknown): ProxyError => new ProxyError('no-endpoint', 'request', { cause, retryAfter: 1_000 })

function fromService(name: string, discovery: Finder, ready: number | false): Upstream {
  let service = discovery.service(name)

  /** Whether the discovery was closed and another one has been put in its place: whoever came before that goes by it. */
  const renewed = (cause: unknown): boolean => {
    if ((cause as { code?: unknown }).code !== 'MSX_DISCOVERY_CLOSED') return false

    const before = service
    try {
      service = discovery.service(name)
    } catch {
      return false
    }
    return service !== before
  }

  const take = (exclude: ReadonlySet<string> | undefined): Pick | Promise<Pick> => {
    try {
      const lease = service.pick(exclude === undefined ? {} : { exclude })
      return { origin: lease.endpoint.url, id: lease.endpoint.id, lease }
    } catch (cause) {
      if (renewed(cause)) return pick(exclude)
      // Everybody has been tried: once more is better than not at all.
      if (exclude !== undefined) return take(undefined)

      throw nobody(cause)
    }
  }

  const takeWhenReady = async (): Promise<Pick> => {
    try {
      await service.ready(ready === false ? undefined : AbortSignal.timeout(ready))
    } catch (cause) {
      if (renewed(cause)) return pick(undefined)

      throw nobody(cause)
    }
    return take(undefined)
  }

  function pick(exclude: ReadonlySet<string> | undefined): Pick | Promise<Pick> {
    // The registry has not answered for the first time yet: that is not "nobody is there".
    if (service.snapshot.version === 0 && service.snapshot.endpoints.length === 0) return takeWhenReady()

    return take(exclude)
  }

  return { host: name, basePath: '', pick }
}
