import type { AdaptiveThrottle } from '../adaptive-throttle.js'
import type { Bulkhead } from '../bulkhead.js'
import type { CircuitBreaker } from '../circuit-breaker.js'
import type { CircuitState } from '../events.js'
import { object, typed, wrong } from '../internal/validate.js'
import type { CircuitRegistry } from '../registry.js'
import { Names } from './names.js'

type Labels = Record<string, string | number>

/** What is used of a client library: `prom-client` 15 and `@prometheus-io/client` fit. `R` is its registry. */
export interface PrometheusClient<R> {
  Counter: new (config: {
    name: string
    help: string
    labelNames: string[]
    registers: R[]
  }) => {
    inc(labels: Labels, value?: number): void
  }
  Gauge: new (config: {
    name: string
    help: string
    labelNames: string[]
    registers: R[]
    collect?: () => void
  }) => {
    set(labels: Labels, value: number): void
    reset(): void
  }
  Histogram: new (config: {
    name: string
    help: string
    labelNames: string[]
    registers: R[]
    buckets?: number[]
  }) => {
    observe(labels: Labels, value: number): void
  }
}

/** Options of {@link prometheus}. */
export interface PrometheusOptions<R> {
  /** The client library, as imported. */
  readonly client: PrometheusClient<R>
  /** Where the metrics are registered. */
  readonly registry: R
  /** Put before the name of each metric, default none. */
  readonly prefix?: string | undefined
}

/** What has numbers. */
export type Measurable = CircuitBreaker | CircuitRegistry | Bulkhead | AdaptiveThrottle

/** The metrics of a process. */
export interface PrometheusMetrics {
  /** Measures this from now on; of a registry, each circuit it makes. Returns what ends that. */
  add(thing: Measurable): () => void
}

const STATES: readonly CircuitState[] = ['closed', 'open', 'half-open', 'isolated', 'disabled']

/**
 * Registers the metrics of circuits, bulkheads and throttles with a Prometheus client. States and gauges are read when they
 * are asked for, so a circuit at rest costs nothing, and shows `half-open` as soon as a trial may be made.
 *
 * @example
 * import client from 'prom-client'
 *
 * const metrics = prometheus({ client, registry: client.register })
 * metrics.add(inventory)
 *
 * @throws {TypeError} an option is wrong
 */
export function prometheus<R>(options: PrometheusOptions<R>): PrometheusMetrics {
  const { client, registry, prefix = '' } = object('options', options)
  object('client', client)
  typed('prefix', prefix, 'a string')

  const names = new Names()
  const config = (name: string, help: string, ...labelNames: string[]) => ({
    name: `${prefix}${name}`,
    help,
    labelNames: ['name', ...labelNames],
    registers: [registry],
  })
  const calls = new client.Counter(config('circuit_breaker_calls_total', 'Calls, by how they ended.', 'outcome'))
  const transitions = new client.Counter(config('circuit_breaker_transitions_total', 'Changes of state.', 'to'))
  const durations = new client.Histogram(
    config('circuit_breaker_call_duration_seconds', 'How long calls took that were let through.'),
  )

  const circuits = new Set<CircuitBreaker>()
  const state = new client.Gauge({
    ...config('circuit_breaker_state', 'Circuits in each state; 1 is the state of a circuit.', 'state'),
    collect() {
      state.reset()
      for (const [name, states] of statesByName(circuits, names)) {
        for (const [each, count] of states) state.set({ name, state: each }, count)
      }
    },
  })

  const bulkheads = new Set<Bulkhead>()
  const throttles = new Set<AdaptiveThrottle>()
  const gauge = <T extends { readonly name: string }>(
    name: string,
    help: string,
    things: ReadonlySet<T>,
    read: (thing: T) => number,
  ) => {
    const values = new client.Gauge({
      ...config(name, help),
      collect() {
        values.reset()
        for (const thing of things) values.set({ name: names.label(thing.name) }, read(thing))
      },
    })
  }
  gauge('bulkhead_concurrency', 'Calls that may run at once.', bulkheads, ({ metrics }) => metrics.concurrency)
  gauge('bulkhead_in_flight', 'Calls that run.', bulkheads, ({ metrics }) => metrics.inFlight)
  gauge('bulkhead_queued', 'Calls that wait for a slot.', bulkheads, ({ metrics }) => metrics.queued)
  gauge('throttle_rejection_rate', 'The share of calls rejected.', throttles, ({ metrics }) => metrics.rejectionRate)

  const addCircuit = (circuit: CircuitBreaker): (() => void) => {
    const name = names.label(circuit.name)
    const ends = [
      circuit.on('result', ({ verdict, duration }) => {
        calls.inc({ name, outcome: verdict })
        durations.observe({ name }, duration / 1_000)
      }),
      circuit.on('reject', () => calls.inc({ name, outcome: 'rejected' })),
      circuit.on('transition', ({ to }) => transitions.inc({ name, to })),
      include(circuits, circuit),
    ]
    return () => {
      for (const end of ends) end()
    }
  }

  const addRegistry = (registry: CircuitRegistry): (() => void) => {
    const ends = new Map<CircuitBreaker, () => void>()
    const add = (circuit: CircuitBreaker) => ends.set(circuit, addCircuit(circuit))
    const stops = [
      registry.on('added', ({ circuit }) => add(circuit)),
      registry.on('dropped', ({ circuit }) => {
        ends.get(circuit)?.()
        ends.delete(circuit)
      }),
    ]
    for (const [, circuit] of registry.entries()) add(circuit)

    return () => {
      for (const stop of [...stops, ...ends.values()]) stop()
    }
  }

  const start = (thing: Measurable): (() => void) => {
    if ('entries' in thing) return addRegistry(thing)
    if ('tryAcquire' in thing) return addCircuit(thing)
    if (!('metrics' in thing))
      throw wrong('thing', thing, 'a circuit, a registry of circuits, a bulkhead or a throttle')
    return 'queued' in thing.metrics
      ? include(bulkheads, thing as Bulkhead)
      : include(throttles, thing as AdaptiveThrottle)
  }

  const added = new Map<Measurable, () => void>()
  return {
    add(thing) {
      object('thing', thing)
      const known = added.get(thing)
      if (known !== undefined) return known

      const stop = start(thing)
      const remove = () => {
        if (added.delete(thing)) stop()
      }
      added.set(thing, remove)
      return remove
    },
  }
}

function include<T>(things: Set<T>, thing: T): () => void {
  things.add(thing)
  return () => {
    things.delete(thing)
  }
}

/** How many circuits of a name are in each state: 0 or 1, unless several share a name. */
function statesByName(circuits: ReadonlySet<CircuitBreaker>, names: Names): Map<string, Map<CircuitState, number>> {
  const byName = new Map<string, Map<CircuitState, number>>()
  for (const circuit of circuits) {
    const name = names.label(circuit.name)
    const states = byName.get(name) ?? new Map(STATES.map((state) => [state, 0]))
    states.set(circuit.state, (states.get(circuit.state) ?? 0) + 1)
    byName.set(name, states)
  }
  return byName
}
