import { type RetryBudget, retryBudget } from '@msx/retry'
import type { Agent, Dispatcher, Pool } from 'undici'
import type { PickOptions } from '../balancer.js'
import type { Discovery } from '../discovery.js'
import { DiscoveryClosedError } from '../errors.js'
import { checkCount, checkFunction, wrongOption } from '../internal/options.js'
import type { Lease } from '../lease.js'
import { type Route, ServiceCall } from './call.js'
import { type Addressee, addressed, toAddressee } from './host-header.js'
import { undici } from './peer.js'
import { Pools } from './pools.js'
import { hearsOfErrors, toReceiver } from './receiver.js'

export interface ServiceDispatcherOptions {
  /**
   * Which hosts are services: a list of names, or a function from the host name of a URL to the service's name (undefined:
   * none). The others go to `fallback`. Default: every host is a service of that name.
   */
  readonly services?: readonly string[] | ((host: string) => string | undefined) | undefined
  /** Options of the pool each endpoint gets, such as `connections` or `connect.timeout`. Default: undici's. */
  readonly pool?: Pool.Options | undefined
  /** Takes requests to hosts that are no services; it stays yours to close. Default: an Agent of its own. */
  readonly fallback?: Dispatcher | undefined
  /**
   * The Host header, and with https the name the certificate must have: the service as the URL has it, or the endpoint's
   * host and port. A Host header of the request's own wins. Default: `service`.
   */
  readonly hostHeader?: 'service' | 'endpoint' | undefined
  /**
   * How often a request is tried again, each time at an endpoint that was not tried yet. By default once, and only when it
   * never left: no connection was made. When set, idempotent requests without a stream as body are also tried again when the
   * connection broke before the response began. 0: never. Statuses are not retried.
   */
  readonly retries?: number | undefined
  /**
   * Keeps retries a fraction of the requests: a `retryBudget` of `@msx/retry`, shared by all services. When it is spent the
   * failure is the caller's. `false`: none. Default: for each service 20 % of its requests, and 10 a second besides.
   */
  readonly budget?: RetryBudget | false | undefined
  /** Prefer endpoints of this zone, while there are any: usually the one this process is in. Default: none. */
  readonly zone?: string | undefined
  /**
   * What a request is about, for `consistentHash()`: requests of one key go to one endpoint. A throw fails the request.
   * Default: none.
   *
   * @example
   * ```ts
   * hashKey: ({ path }) => /^\/carts\/([^/?]+)/.exec(path)?.[1]
   * ```
   */
  readonly hashKey?: ((request: Dispatcher.DispatchOptions) => string | undefined) | undefined
}

const { errors } = undici

const ANYBODY: PickOptions = {}

/** So many origins are remembered; then all are forgotten, and read again when they are asked for. */
const MOST_ORIGINS = 1_000

/** What the origin of a request says, and where it leads. */
interface Origin extends Addressee {
  readonly hostname: string
  readonly protocol: string
  /** That of the last request; another one once `services` names another service for this host. */
  route: NamedRoute | undefined
}

interface NamedRoute extends Route {
  readonly name: string
}

/**
 * An undici Dispatcher that takes the host of a URL for the name of a service and sends each request to an endpoint the
 * discovery picks. Works wherever undici takes a dispatcher: `request(url, { dispatcher })`, `fetch`, `compose`.
 *
 * Requests fail with NoEndpointsError when there is nobody to send them to. Closes itself when the discovery is closed.
 * Throws a TypeError for a wrong option.
 */
export class ServiceDispatcher extends undici.Dispatcher {
  readonly #discovery: Discovery
  readonly #serviceOf: (host: string) => string | undefined
  readonly #hostHeader: 'service' | 'endpoint'
  readonly #retries: number | undefined
  readonly #budgetOf: (service: string) => RetryBudget | undefined
  readonly #zone: string | undefined
  readonly #hashKey: ServiceDispatcherOptions['hashKey']
  readonly #pools: Pools
  readonly #origins = new Map<string, Origin>()
  readonly #fallback: Dispatcher | undefined
  readonly #stopListening: () => void
  #discoveryClosed = false
  #ownFallback: Agent | undefined
  #closing: Promise<void> | undefined
  #destroying: Promise<void> | undefined

  constructor(discovery: Discovery, options: ServiceDispatcherOptions = {}) {
    super()
    const { services, pool = {}, fallback, hostHeader = 'service', retries, budget, zone, hashKey } = options

    if (typeof discovery?.service !== 'function') throw wrongOption('discovery', discovery, 'a Discovery')
    if (!Array.isArray(services)) checkFunction('services', services)
    if (typeof pool !== 'object' || pool === null) throw wrongOption('pool', pool, 'options of undici.Pool')
    if (fallback !== undefined && typeof fallback?.dispatch !== 'function') {
      throw wrongOption('fallback', fallback, 'a Dispatcher')
    }
    if (hostHeader !== 'service' && hostHeader !== 'endpoint') {
      throw wrongOption('hostHeader', hostHeader, "'service' or 'endpoint'")
    }

    if (budget !== undefined && budget !== false && typeof budget?.tryWithdraw !== 'function') {
      throw wrongOption('budget', budget, 'a retryBudget() of @msx/retry, or false')
    }
    if (zone !== undefined && typeof zone !== 'string') throw wrongOption('zone', zone, 'the name of a zone')
    checkFunction('hashKey', hashKey)

    this.#discovery = discovery
    this.#serviceOf = toServiceOf(services)
    this.#hostHeader = hostHeader
    this.#retries = retries === undefined ? undefined : checkCount('retries', retries)
    this.#budgetOf = toBudgetOf(budget, discovery)
    this.#zone = zone
    this.#hashKey = hashKey
    this.#pools = new Pools(pool, discovery, (opened) => this.#forward(opened))
    this.#fallback = fallback

    const stopKeeping = discovery.on('change', (event) => this.#pools.keep(event.service, event.snapshot.endpoints))
    const stopWaiting = discovery.on('close', () => {
      this.#discoveryClosed = true
      this.close(() => {})
    })
    this.#stopListening = () => {
      stopKeeping()
      stopWaiting()
    }
  }

  /** `true` once `close` or `destroy` was called. */
  get closed(): boolean {
    return this.#closing !== undefined || this.destroyed
  }

  /** `true` once `destroy` was called. */
  get destroyed(): boolean {
    return this.#destroying !== undefined
  }

  override dispatch(options: Dispatcher.DispatchOptions, handler: Dispatcher.DispatchHandler): boolean {
    if (typeof handler !== 'object' || handler === null) {
      throw new errors.InvalidArgumentError('handler must be an object')
    }

    try {
      return this.#dispatch(options, handler)
    } catch (error) {
      if (!hearsOfErrors(handler)) throw error
      toReceiver(handler).onError?.(error as Error)
      return false
    }
  }

  /** Takes no more requests, lets those in flight end, closes the connections. */
  override close(callback: () => void): void
  override close(): Promise<void>
  override close(callback?: () => void): Promise<void> | undefined {
    this.#closing ??= this.#close()
    return settle(this.#closing, callback)
  }

  /** Takes no more requests and aborts those in flight. */
  override destroy(error: Error | null, callback: () => void): void
  override destroy(callback: () => void): void
  override destroy(error: Error | null): Promise<void>
  override destroy(): Promise<void>
  override destroy(error?: Error | null | (() => void), callback?: () => void): Promise<void> | undefined {
    if (typeof error === 'function') {
      callback = error
      error = null
    }
    this.#destroying ??= this.#destroy(error ?? null)
    return settle(this.#destroying, callback)
  }

  #dispatch(options: Dispatcher.DispatchOptions, handler: Dispatcher.DispatchHandler): boolean {
    if (this.closed) throw this.#refusal()

    const origin = this.#originOf(options?.origin)
    const name = this.#serviceOf(origin.hostname)
    if (name === undefined) return this.#fallbackDispatcher().dispatch(options, handler)

    const route = origin.route?.name === name ? origin.route : this.#routeTo(name, origin)
    const request = this.#hostHeader === 'endpoint' ? options : addressed(options, origin)
    return new ServiceCall(route, request, this.#narrow(options), toReceiver(handler)).start()
  }

  /** Read once: reading a URL takes longer than all the rest of a dispatch. */
  #originOf(given: string | URL | undefined): Origin {
    const text = String(given)
    const known = this.#origins.get(text)
    if (known !== undefined) return known

    const origin = toOrigin(text)
    if (this.#origins.size >= MOST_ORIGINS) this.#origins.clear()
    this.#origins.set(text, origin)
    return origin
  }

  #routeTo(name: string, origin: Origin): NamedRoute {
    const route = {
      name,
      service: this.#discovery.service(name),
      retries: this.#retries ?? 1,
      repeats: this.#retries !== undefined,
      budget: this.#retries === 0 ? undefined : this.#budgetOf(name),
      send: (lease: Lease, request: Dispatcher.DispatchOptions, attempt: ServiceCall) => {
        if (!this.closed) {
          const pool = this.#pools.of(name, lease.endpoint, origin.protocol)
          return pool.dispatch(request, attempt as unknown as Dispatcher.DispatchHandler) // it declares less than it takes
        }

        // The call waited for the source, or for another attempt to fail, while this was closed.
        attempt.onError(this.#refusal())
        return false
      },
    }
    origin.route = route
    return route
  }

  #narrow(request: Dispatcher.DispatchOptions): PickOptions {
    if (this.#zone === undefined && this.#hashKey === undefined) return ANYBODY

    return { zone: this.#zone, hashKey: this.#hashKey?.(request) }
  }

  #refusal(): Error {
    if (this.#discoveryClosed) return new DiscoveryClosedError()
    return this.destroyed ? new errors.ClientDestroyedError() : new errors.ClientClosedError()
  }

  #fallbackDispatcher(): Dispatcher {
    if (this.#fallback !== undefined) return this.#fallback

    this.#ownFallback ??= new undici.Agent()
    return this.#ownFallback
  }

  async #close(): Promise<void> {
    this.#stopListening()
    await Promise.all([this.#pools.close(), this.#ownFallback?.close()])
  }

  async #destroy(error: Error | null): Promise<void> {
    this.#stopListening()
    await Promise.all([this.#pools.destroy(error), this.#ownFallback?.destroy(error)])
  }

  /** What happens in a pool happens in this dispatcher, too. */
  #forward(pool: Pool): void {
    pool.on('drain', (origin) => this.emit('drain', origin))
    pool.on('connect', (origin, targets) => this.emit('connect', origin, [this, ...targets]))
    pool.on('disconnect', (origin, targets, error) => this.emit('disconnect', origin, [this, ...targets], error))
    pool.on('connectionError', (origin, targets, error) =>
      this.emit('connectionError', origin, [this, ...targets], error),
    )
  }
}

function toServiceOf(services: ServiceDispatcherOptions['services']): (host: string) => string | undefined {
  if (services === undefined) return (host) => host
  if (typeof services === 'function') return services

  const names = new Set(services)
  return (host) => (names.has(host) ? host : undefined)
}

function toBudgetOf(
  budget: RetryBudget | false | undefined,
  { clock }: Discovery,
): (service: string) => RetryBudget | undefined {
  if (budget !== undefined) return () => budget || undefined

  const budgets = new Map<string, RetryBudget>()
  return (service) => {
    const own = budgets.get(service) ?? retryBudget({ clock })
    budgets.set(service, own)
    return own
  }
}

function toOrigin(text: string): Origin {
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (url?.protocol !== 'http:' && url?.protocol !== 'https:') {
    throw new errors.InvalidArgumentError(`origin must be an http or https URL, got ${text}`)
  }
  const { hostname, host, protocol } = url
  return { ...toAddressee(host, hostname), hostname, protocol, route: undefined }
}

/** undici's two ways of waiting. Only a callback swallows: closing does not fail. */
function settle(ending: Promise<void>, callback: (() => void) | undefined): Promise<void> | undefined {
  if (callback === undefined) return ending

  ending.then(callback, callback)
  return undefined
}
