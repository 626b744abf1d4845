import type { AdaptiveThrottle } from '../adaptive-throttle.js'
import type { Bulkhead } from '../bulkhead.js'
import type { CircuitBreaker } from '../circuit-breaker.js'
import type { CircuitEvents, CircuitState } from '../events.js'
import type { CircuitRegistry } from '../registry.js'
import { Names } from './names.js'
import { object, wrong } from './validate.js'

/** What has numbers. */
export type Measurable = CircuitBreaker | CircuitRegistry | Bulkhead | AdaptiveThrottle

/** Where a kind of metrics counts what happens. `name` is bounded. */
export interface Counters {
  result(name: string, event: CircuitEvents['result']): void
  transition(name: string, event: CircuitEvents['transition']): void
  reject(kind: 'circuit_breaker' | 'bulkhead' | 'throttle', name: string): void
}

const STATES: readonly CircuitState[] = ['closed', 'open', 'half-open', 'isolated', 'disabled']

/** The things that are measured: their events go to the counters, their present numbers are here to be read. */
export class Measured {
  readonly bulkheads: Set<Bulkhead> = new Set()
  readonly throttles: Set<AdaptiveThrottle> = new Set()
  readonly #circuits = new Set<CircuitBreaker>()
  readonly #added = new Map<Measurable, () => void>()
  readonly #names = new Names()
  readonly #counters: Counters

  constructor(counters: Counters) {
    this.#counters = counters
  }

  /** Measures this from now on, once; of a registry, each circuit it makes. Returns what ends that. */
  add(thing: Measurable): () => void {
    object('thing', thing)
    const known = this.#added.get(thing)
    if (known !== undefined) return known

    const stop = this.#start(thing)
    const remove = () => {
      if (this.#added.delete(thing)) stop()
    }
    this.#added.set(thing, remove)
    return remove
  }

  /** The name as it may appear in a label. */
  label({ name }: { readonly name: string }): string {
    return this.#names.label(name)
  }

  /** How many circuits of a name are in each state: 0 or 1, unless several share a name. */
  *states(): Generator<{ readonly name: string; readonly state: CircuitState; readonly circuits: number }> {
    const byName = new Map<string, Map<CircuitState, number>>()
    for (const circuit of this.#circuits) {
      const name = this.label(circuit)
      const states = byName.get(name) ?? new Map(STATES.map((state) => [state, 0]))
      states.set(circuit.state, (states.get(circuit.state) ?? 0) + 1)
      byName.set(name, states)
    }
    for (const [name, states] of byName) {
      for (const [state, circuits] of states) yield { name, state, circuits }
    }
  }

  #start(thing: Measurable): () => void {
    if ('entries' in thing) return this.#addRegistry(thing)
    if ('tryAcquire' in thing) return this.#addCircuit(thing)
    if (!('metrics' in thing))
      throw wrong('thing', thing, 'a circuit, a registry of circuits, a bulkhead or a throttle')

    const name = this.label(thing)
    return 'queued' in thing.metrics
      ? all(
          include(this.bulkheads, thing as Bulkhead),
          (thing as Bulkhead).on('reject', () => this.#counters.reject('bulkhead', name)),
        )
      : all(
          include(this.throttles, thing as AdaptiveThrottle),
          (thing as AdaptiveThrottle).on('reject', () => this.#counters.reject('throttle', name)),
        )
  }

  #addCircuit(circuit: CircuitBreaker): () => void {
    const name = this.label(circuit)
    return all(
      circuit.on('result', (event) => this.#counters.result(name, event)),
      circuit.on('reject', () => this.#counters.reject('circuit_breaker', name)),
      circuit.on('transition', (event) => this.#counters.transition(name, event)),
      include(this.#circuits, circuit),
    )
  }

  #addRegistry(registry: CircuitRegistry): () => void {
    const ends = new Map<CircuitBreaker, () => void>()
    const add = (circuit: CircuitBreaker) => ends.set(circuit, this.#addCircuit(circuit))
    const stop = all(
      registry.on('added', ({ circuit }) => add(circuit)),
      registry.on('dropped', ({ circuit }) => {
        ends.get(circuit)?.()
        ends.delete(circuit)
      }),
    )
    for (const [, circuit] of registry.entries()) add(circuit)

    return () => {
      stop()
      all(...ends.values())()
    }
  }
}

function all(...ends: readonly (() => void)[]): () => void {
  return () => {
    for (const end of ends) end()
  }
}

function include<T>(things: Set<T>, thing: T): () => void {
  things.add(thing)
  return () => {
    things.delete(thing)
  }
}
