import { type Measurable, Measured } from '../internal/measured.js'
import { object, typed } from '../internal/validate.js'

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

export type { Measurable }

/** The metrics of a process. */
export interface PrometheusMetrics {
  /** Measures this from now on; of a registry, each circuit it makes. Returns what ends that. */
  add(thing: Measurable): () => void
}

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
  const { client, registry, prefix = '' } = object('prometheus options', options)
  object('client', client)
  typed('prefix', prefix, 'a string')

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
  const rejections = {
    bulkhead: new client.Counter(config('bulkhead_rejected_total', 'Calls turned away.')),
    throttle: new client.Counter(config('throttle_rejected_total', 'Calls rejected.')),
  }

  const measured = new Measured({
    result(name, { verdict, duration }) {
      calls.inc({ name, outcome: verdict })
      durations.observe({ name }, duration / 1_000)
    },
    transition: (name, { to }) => transitions.inc({ name, to }),
    reject(kind, name) {
      if (kind === 'circuit_breaker') calls.inc({ name, outcome: 'rejected' })
      else rejections[kind].inc({ name })
    },
  })

  const state = new client.Gauge({
    ...config('circuit_breaker_state', 'Circuits in each state; 1 is the state of a circuit.', 'state'),
    collect() {
      state.reset()
      for (const { name, state: each, circuits } of measured.states()) state.set({ name, state: each }, circuits)
    },
  })

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
        for (const thing of things) values.set({ name: measured.label(thing) }, read(thing))
      },
    })
  }
  const { bulkheads, throttles } = measured
  gauge('bulkhead_concurrency', 'Calls that may run at once.', bulkheads, ({ metrics }) => metrics.concurrency)
  gauge('bulkhead_in_flight', 'Calls that run.', bulkheads, ({ metrics }) => metrics.inFlight)
  gauge('bulkhead_queued', 'Calls that wait for a slot.', bulkheads, ({ metrics }) => metrics.queued)
  gauge('throttle_rejection_rate', 'The share of calls rejected.', throttles, ({ metrics }) => metrics.rejectionRate)

  return { add: (thing) => measured.add(thing) }
}
