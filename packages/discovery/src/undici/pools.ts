import type { Dispatcher, Pool } from 'undici'
import { type Clock, schedule, systemClock } from '../clock.js'
import type { Endpoint } from '../endpoint.js'
import { undici } from './peer.js'

/** How long what is in flight to an endpoint that is gone may take, ms; undefined: as long as it likes. */
export interface Draining {
  readonly drainTimeout?: number | undefined
  readonly clock?: Clock | undefined
}

/** The connections of a dispatcher: a pool per service and endpoint address. */
export class Pools {
  readonly #options: Pool.Options
  readonly #onPool: (pool: Pool) => void
  readonly #draining: Draining
  readonly #pools = new Map<string, Map<string, Pool>>()
  /** Of endpoints that are gone: what is in flight may end, nothing new begins. */
  readonly #leaving = new Set<Pool>()

  constructor(options: Pool.Options, draining: Draining, onPool: (pool: Pool) => void) {
    this.#options = options
    this.#draining = draining
    this.#onPool = onPool
  }

  /** The pool of an endpoint, for requests of this protocol (`http:` or `https:`) where the endpoint has none of its own. */
  of(service: string, endpoint: Endpoint, protocol: string): Dispatcher {
    const pools = this.#pools.get(service) ?? new Map<string, Pool>()
    this.#pools.set(service, pools)

    const origin = originOf(endpoint, protocol)
    return pools.get(origin) ?? this.#open(pools, origin)
  }

  /** Lets go of the endpoints of a service that are not among these. */
  keep(service: string, endpoints: readonly Endpoint[]): void {
    const pools = this.#pools.get(service)
    if (pools === undefined) return

    const kept = new Set(endpoints.flatMap((endpoint) => [originOf(endpoint, 'http:'), originOf(endpoint, 'https:')]))
    for (const [origin, pool] of pools) {
      if (kept.has(origin)) continue

      pools.delete(origin)
      this.#drain(pool, origin)
    }
  }

  async close(): Promise<void> {
    await Promise.all(this.#all().map((pool) => (pool.destroyed ? undefined : pool.close())))
  }

  async destroy(error: Error | null): Promise<void> {
    await Promise.all(this.#all().map((pool) => pool.destroy(error)))
  }

  #open(pools: Map<string, Pool>, origin: string): Pool {
    const pool = new undici.Pool(origin, this.#options)
    this.#onPool(pool)
    pools.set(origin, pool)
    return pool
  }

  #drain(pool: Pool, origin: string): void {
    this.#leaving.add(pool)

    const { drainTimeout, clock = systemClock } = this.#draining
    const cut = () => {
      const reason = `${origin} is gone, and this request to it was not over within the drainTimeout of ${drainTimeout} ms`
      pool.destroy(new undici.errors.SocketError(reason), () => {})
    }
    const cancel = drainTimeout === undefined ? undefined : schedule(clock, drainTimeout, cut)
    pool.close(() => {
      cancel?.()
      this.#leaving.delete(pool)
    })
  }

  #all(): Pool[] {
    return [...[...this.#pools.values()].flatMap((pools) => [...pools.values()]), ...this.#leaving]
  }
}

function originOf(endpoint: Endpoint, protocol: string): string {
  // The url itself where it can be: a string that was just made has to be hashed before it is looked up.
  return endpoint.scheme === undefined && protocol !== 'http:' ? endpoint.url.replace('http:', protocol) : endpoint.url
}
