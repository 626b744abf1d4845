import type { RetryEventSource } from '../events.js'
import type { HedgePolicy } from '../hedge.js'
import { wrong } from './validate.js'

/** What has numbers: a `retry`, a `hedge`, or a `retryInterceptor`. */
export type Measurable = RetryEventSource | HedgePolicy

/** Subscribes to the events of a thing; returns what ends each subscription. `name` is its label. */
export interface Meters {
  retry(source: RetryEventSource, name: string): (() => void)[]
  hedge(policy: HedgePolicy, name: string): (() => void)[]
}

/** The things that are measured, each once, under a bounded number of names. */
export class Measured {
  readonly #owner: string
  readonly #meters: Meters
  readonly #added = new Map<Measurable, () => void>()
  readonly #labels = new BoundedLabels()

  constructor(owner: string, meters: Meters) {
    this.#owner = owner
    this.#meters = meters
  }

  add(thing: Measurable): () => void {
    const known = this.#added.get(thing)
    if (known !== undefined) return known

    const stops = this.#start(thing)
    const remove = () => {
      if (this.#added.get(thing) !== remove) return

      this.#added.delete(thing)
      for (const stop of stops) stop()
    }
    this.#added.set(thing, remove)
    return remove
  }

  /** What each budget allows now. */
  *balances(): Iterable<readonly [name: string, balance: number]> {
    for (const { name, budget } of this.#added.keys()) {
      if (budget !== undefined) yield [this.#labels.of(name), budget.balance]
    }
  }

  #start(thing: Measurable): (() => void)[] {
    const { kind, name } = Object(thing) as Partial<Measurable>
    if (kind === 'retry') return this.#meters.retry(thing as RetryEventSource, this.#labels.of(String(name)))
    if (kind === 'hedge') return this.#meters.hedge(thing as HedgePolicy, this.#labels.of(String(name)))

    throw wrong(`${this.#owner}: what is added`, thing, 'a retry or a hedge')
  }
}

/** As many different names become labels, and no more: each is a time series for as long as the process lives. */
const MOST_NAMES = 1_000

class BoundedLabels {
  readonly #known = new Set<string>()

  /** The name itself, or `other` when there are too many. */
  of(name: string): string {
    if (this.#known.has(name)) return name
    if (this.#known.size >= MOST_NAMES) return 'other'

    this.#known.add(name)
    return name
  }
}
