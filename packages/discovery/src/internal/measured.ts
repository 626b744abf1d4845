import type { DiscoveryEvents } from '../events.js'
import type { ServiceMetrics } from '../service.js'
import { wrongOption } from './options.js'

/** A discovery, as far as it has numbers. */
export interface Measurable {
  readonly metrics: readonly ServiceMetrics[]
  on<Name extends 'ejected' | 'readmitted' | 'error'>(
    event: Name,
    listener: (event: DiscoveryEvents[Name]) => void,
  ): () => void
}

/** What is counted of a service since it was first seen: these only grow. */
export interface Counts {
  picked: number
  failed: number
  cancelled: number
  refused: number
}

/** How a service is now. */
export interface State {
  active: number
  ejected: number
  inflight: number
  stale: boolean
  version: number
}

const COUNTED = ['picked', 'failed', 'cancelled', 'refused'] as const

/** As many different names become labels, and no more: each is a time series for as long as the process lives. */
const MOST_NAMES = 1_000

/** The discoveries that are measured, each once, by the names of their services: a bounded number of them. */
export class Measured {
  readonly #added = new Map<Measurable, () => void>()
  readonly #seen = new WeakMap<Measurable, Map<string, Counts>>()
  readonly #counts = new Map<string, Counts>()
  readonly #names = new Set<string>()
  readonly #listen: (discovery: Measurable, label: (service: string) => string) => (() => void)[]

  /** @param listen Subscribes to the events of a discovery; returns what ends each subscription. */
  constructor(listen: (discovery: Measurable, label: (service: string) => string) => (() => void)[]) {
    this.#listen = listen
  }

  add(discovery: Measurable): () => void {
    const { on, metrics } = Object(discovery) as Partial<Measurable>
    if (typeof on !== 'function' || !Array.isArray(metrics)) {
      throw wrongOption('what is added', discovery, 'a Discovery')
    }
    const known = this.#added.get(discovery)
    if (known !== undefined) return known

    const stops = this.#listen(discovery, (service) => this.#label(service))
    const remove = () => {
      if (this.#added.get(discovery) !== remove) return

      this.#count(discovery)
      this.#added.delete(discovery)
      for (const stop of stops) stop()
    }
    this.#added.set(discovery, remove)
    return remove
  }

  /** What was counted so far, of all discoveries that ever were added. */
  counts(): ReadonlyMap<string, Counts> {
    for (const discovery of this.#added.keys()) this.#count(discovery)
    return this.#counts
  }

  /** The services of the discoveries that are measured now. Those of one label are taken together. */
  states(): ReadonlyMap<string, State> {
    const states = new Map<string, State>()

    for (const { service, version, stale, endpoints } of this.#services()) {
      const label = this.#label(service)
      const state = states.get(label) ?? { active: 0, ejected: 0, inflight: 0, stale: false, version: 0 }
      states.set(label, state)

      for (const endpoint of endpoints) {
        state[endpoint.ejected ? 'ejected' : 'active']++
        state.inflight += endpoint.inflight
      }
      state.stale ||= stale
      state.version = Math.max(state.version, version)
    }
    return states
  }

  *#services(): Iterable<ServiceMetrics> {
    for (const discovery of this.#added.keys()) yield* discovery.metrics
  }

  /** Adds what happened since it was last looked at. */
  #count(discovery: Measurable): void {
    const seen = this.#seen.get(discovery) ?? new Map<string, Counts>()
    this.#seen.set(discovery, seen)

    for (const metrics of discovery.metrics) {
      const label = this.#label(metrics.service)
      const counts = this.#counts.get(label) ?? { picked: 0, failed: 0, cancelled: 0, refused: 0 }
      const before = seen.get(metrics.service)
      for (const name of COUNTED) counts[name] += metrics[name] - (before?.[name] ?? 0)

      this.#counts.set(label, counts)
      const { picked, failed, cancelled, refused } = metrics
      seen.set(metrics.service, { picked, failed, cancelled, refused })
    }
  }

  /** The service's name, or `other` when there are too many. */
  #label(service: string): string {
    if (this.#names.has(service)) return service
    if (this.#names.size >= MOST_NAMES) return 'other'

    this.#names.add(service)
    return service
  }
}
