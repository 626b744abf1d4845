import { type Dispatcher, Pool } from 'undici'
import type { Endpoint } from '../endpoint.js'

/** The connections of a dispatcher: a pool per service and endpoint address. */
export class Pools {
  readonly #options: Pool.Options
  readonly #onPool: (pool: Pool) => void
  readonly #pools = new Map<string, Map<string, Pool>>()
  /** Of endpoints that are gone: what is in flight may end, nothing new begins. */
  readonly #draining = new Set<Pool>()

  constructor(options: Pool.Options, onPool: (pool: Pool) => void) {
    this.#options = options
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
      this.#draining.add(pool)
      pool.close(() => this.#draining.delete(pool))
    }
  }

  async close(): Promise<void> {
    await Promise.all(this.#all().map((pool) => (pool.destroyed ? undefined : pool.close())))
  }

  async destroy(error: Error | null): Promise<void> {
    await Promise.all(this.#all().map((pool) => pool.destroy(error)))
  }

  #open(pools: Map<string, Pool>, origin: string): Pool {
    const pool = new Pool(origin, this.#options)
    this.#onPool(pool)
    pools.set(origin, pool)
    return pool
  }

  #all(): Pool[] {
    return [...[...this.#pools.values()].flatMap((pools) => [...pools.values()]), ...this.#draining]
  }
}

function originOf(endpoint: Endpoint, protocol: string): string {
  return endpoint.scheme === undefined ? endpoint.url.replace('http:', protocol) : endpoint.url
}
