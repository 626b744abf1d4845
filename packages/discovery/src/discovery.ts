import type { BalancerFactory } from './balancer.js'
import { peakEwma } from './balancers/peak-ewma.js'
import { type Clock, processClock } from './clock.js'
import { DiscoveryClosedError } from './errors.js'
import type { DiscoveryEvents } from './events.js'
import { Aborts } from './internal/aborts.js'
import { Emitter } from './internal/emitter.js'
import { checkDuration, checkFunction, wrongOption } from './internal/options.js'
import { type OutlierOptions, type OutlierSettings, readOutlierOptions } from './outlier.js'
import { type Service, type ServiceMetrics, WatchedService } from './service.js'
import type { Source } from './source.js'

export interface DiscoveryOptions {
  /** Where endpoints come from. */
  readonly source: Source
  /** Who gets the next request. Default: `peakEwma()`. */
  readonly balancer?: BalancerFactory | undefined
  /**
   * How long, ms, a service keeps its endpoints after the source said that it has none: a registry that restarts answers
   * before it has heard from anybody. 0: believe it at once. Default: 10_000.
   */
  readonly emptyGrace?: number | undefined
  /**
   * How long, ms, endpoints stay in use after the source failed, counted from the failure. Default: without limit, so an
   * outage of the registry is not one of the services.
   */
  readonly maxStale?: number | undefined
  /**
   * When an endpoint is left alone for a while because of how it answers. `false`: never. Default: after 5 failures in a
   * row, for 30 seconds the first time, and no more than half of a service's endpoints.
   */
  readonly outlier?: OutlierOptions | false | undefined
  /**
   * How long, ms, an endpoint takes to get its full share after it came or came back, from a tenth of it; needs a balancer
   * that heeds weights. Not when all are new. Default: 0, at once.
   */
  readonly slowStart?: number | undefined
  /**
   * How long, ms, requests in flight to an endpoint that is gone may take to end, with the dispatchers of
   * `@msx/discovery/undici`: then they fail, and their connections are cut. New ones go elsewhere at once. Default: without
   * limit.
   */
  readonly drainTimeout?: number | undefined
  /** Where to report to, until the discovery is closed: what `openTelemetry()` or `prometheus()` made. Default: nowhere. */
  readonly telemetry?: DiscoveryTelemetry | undefined
  /** Default: the process's monotonic clock. */
  readonly clock?: Clock | undefined
  /** A number from 0 up to but not including 1. Default: `Math.random`. */
  readonly random?: (() => number) | undefined
}

/** What a discovery reports to. */
export interface DiscoveryTelemetry {
  /** Reports on this discovery from now on. Returns what ends that. */
  add(discovery: Discovery): () => void
}

/** Knows where services are and spreads requests over them. */
export interface Discovery extends AsyncDisposable {
  /** The service of this name; the same name is the same object and one watch of the source, begun by the first call. */
  service(name: string): Service
  /**
   * Ends the watch of a service that nobody needs any longer; nothing, where there is none. Whoever still has it gets a
   * `DiscoveryClosedError` at the next pick, leases that are out can still be ended, and `service` begins anew.
   */
  forget(name: string): void
  /** Every service that is watched, as plain JSON. */
  readonly metrics: readonly ServiceMetrics[]
  /** The option, for whoever keeps connections to endpoints. */
  readonly drainTimeout?: number | undefined
  /** The option. */
  readonly clock?: Clock | undefined
  /** Listens; returns the function that stops listening. A listener that throws disturbs nobody. */
  on<Name extends keyof DiscoveryEvents>(event: Name, listener: (event: DiscoveryEvents[Name]) => void): () => void
  /** Ends all watches. Picks are refused from now on; leases that are out can still be ended. Can be called again. */
  close(): Promise<void>
}

/**
 * Watches services in a source and picks endpoints for requests.
 *
 * Throws a TypeError for a wrong option.
 *
 * @example
 * ```ts
 * const discovery = createDiscovery({ source: fixed({ 'user-service': ['http://127.0.0.1:3001'] }) })
 * const lease = discovery.service('user-service').pick()
 * ```
 */
export function createDiscovery(options: DiscoveryOptions): Discovery {
  return new ServiceDiscovery(options)
}

class ServiceDiscovery implements Discovery {
  readonly #options: DiscoveryOptions
  readonly #emptyGrace: number
  readonly clock: Clock
  readonly drainTimeout: number | undefined
  readonly #outlier: OutlierSettings | undefined
  readonly #slowStart: number
  readonly #services = new Map<string, WatchedService>()
  readonly #events = new Emitter<DiscoveryEvents>()
  readonly #aborts = new Aborts()
  readonly #endTelemetry: (() => void) | undefined
  #closed = false

  constructor(options: DiscoveryOptions) {
    const {
      source,
      balancer,
      emptyGrace = 10_000,
      maxStale,
      clock = processClock(),
      random,
      outlier,
      slowStart = 0,
      drainTimeout,
      telemetry,
    } = options ?? {}

    if (typeof source?.watch !== 'function') throw wrongOption('source', source, 'a Source, such as fixed({ … })')
    checkFunction('balancer', balancer)
    checkFunction('random', random)
    if (typeof clock?.now !== 'function') throw wrongOption('clock', clock, 'an object with now()')
    if (maxStale !== undefined) checkDuration('maxStale', maxStale)
    if (drainTimeout !== undefined) checkDuration('drainTimeout', drainTimeout)
    if (telemetry !== undefined && typeof telemetry?.add !== 'function') {
      throw wrongOption('telemetry', telemetry, 'what openTelemetry() or prometheus() made')
    }

    this.#options = options
    this.#emptyGrace = checkDuration('emptyGrace', emptyGrace)
    this.clock = clock
    this.drainTimeout = drainTimeout
    this.#outlier = readOutlierOptions(outlier)
    this.#slowStart = checkDuration('slowStart', slowStart)
    this.#endTelemetry = telemetry?.add(this)
  }

  get metrics(): readonly ServiceMetrics[] {
    return [...this.#services.values()].map(({ metrics }) => metrics)
  }

  service(name: string): Service {
    if (this.#closed) throw new DiscoveryClosedError()
    if (typeof name !== 'string' || name === '') throw wrongOption('name', name, 'the name of a service')

    const known = this.#services.get(name)
    if (known !== undefined) return known

    const { source, balancer = peakEwma(), random = Math.random, maxStale } = this.#options
    const { clock } = this
    const service = new WatchedService(name, {
      source,
      balancer: balancer({ random, clock }),
      clock,
      aborts: this.#aborts,
      events: this.#events,
      emptyGrace: this.#emptyGrace,
      maxStale,
      random,
      outlier: this.#outlier,
      slowStart: this.#slowStart,
    })

    this.#services.set(name, service)
    return service.start()
  }

  forget(name: string): void {
    this.#services.get(name)?.close()
    this.#services.delete(name)
  }

  on<Name extends keyof DiscoveryEvents>(event: Name, listener: (event: DiscoveryEvents[Name]) => void): () => void {
    return this.#events.on(event, listener)
  }

  async close(): Promise<void> {
    if (this.#closed) return

    this.#closed = true
    this.#endTelemetry?.()
    for (const service of this.#services.values()) service.close()
    this.#events.emit('close', { reason: 'closed' })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }
}
