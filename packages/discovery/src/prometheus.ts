import { type Counts, type Measurable, Measured, type State } from './internal/measured.js'
import { wrongOption } from './internal/options.js'

type Labels = Record<string, string | number>

interface MetricConfig<R> {
  name: string
  help: string
  labelNames: string[]
  registers: R[]
}

/** What is used of a client library: `prom-client` 15 and `@prometheus-io/client` fit. `R` is its registry. */
export interface PrometheusClient<R> {
  Counter: new (config: MetricConfig<R>) => { inc(labels: Labels, value?: number): void }
  Gauge: new (
    config: MetricConfig<R> & { collect?: () => void },
  ) => { set(labels: Labels, value: number): void; reset(): void }
}

export interface PrometheusOptions<R> {
  /** The client library, as imported. */
  readonly client: PrometheusClient<R>
  /** Where the metrics are registered. */
  readonly registry: R
  /** Put before the name of each metric. Default: none. */
  readonly prefix?: string | undefined
}

export type { Measurable }

export interface PrometheusMetrics {
  /** Measures this discovery from now on. Returns what ends that; a second `add` of the same one returns the same. */
  add(discovery: Measurable): () => void
}

/**
 * Registers the metrics of discoveries with a Prometheus client. Labels are names of services, states and reasons, never an
 * endpoint; after a thousand services the others are called `other`. All but the rare events is read when it is asked for,
 * so that a pick costs nothing more.
 *
 * Throws a TypeError for a wrong option.
 *
 * @example
 * ```ts
 * import client from 'prom-client'
 *
 * const metrics = prometheus({ client, registry: client.register })
 * metrics.add(discovery)
 * ```
 */
export function prometheus<R>(options: PrometheusOptions<R>): PrometheusMetrics {
  if (typeof options !== 'object' || options === null) throw wrongOption('options', options, 'an object')
  const { client, registry, prefix = '' } = options
  if (typeof Object(client).Counter !== 'function') throw wrongOption('client', client, 'a Prometheus client')
  if (registry === undefined || registry === null) throw wrongOption('registry', registry, 'a registry')
  if (typeof prefix !== 'string') throw wrongOption('prefix', prefix, 'text')

  const config = (name: string, help: string, ...labelNames: string[]): MetricConfig<R> => ({
    name: `${prefix}discovery_${name}`,
    help,
    labelNames: ['service', ...labelNames],
    registers: [registry],
  })
  const gauge = (
    name: string,
    help: string,
    labelNames: string[],
    read: (state: State) => [labels: Labels, value: number][],
    before?: () => void,
  ) => {
    const values = new client.Gauge({
      ...config(name, help, ...labelNames),
      collect() {
        before?.()
        values.reset()
        for (const [service, state] of measured.states()) {
          for (const [labels, value] of read(state)) values.set({ service, ...labels }, value)
        }
      },
    })
  }

  const told = new Map<string, Counts>()
  const tell = () => {
    for (const [service, counts] of measured.counts()) {
      const before = told.get(service) ?? NOTHING
      const tellOne = (counter: typeof picks, name: keyof Counts) => {
        if (counts[name] > before[name]) counter.inc({ service }, counts[name] - before[name])
      }
      tellOne(picks, 'picked')
      tellOne(failures, 'failed')
      tellOne(cancellations, 'cancelled')
      tellOne(refusals, 'refused')
      told.set(service, { ...counts })
    }
  }
  // Clients read metrics in the order of their registration, and counters cannot be read by a callback: this goes first.
  const states = ({ active, ejected }: State): [Labels, number][] => [
    [{ state: 'active' }, active],
    [{ state: 'ejected' }, ejected],
  ]
  gauge('endpoints', 'Endpoints, by whether they are picked.', ['state'], states, tell)
  gauge('inflight', 'Requests that are not over.', [], ({ inflight }) => [[{}, inflight]])
  gauge('stale', '1 while the source cannot be asked.', [], ({ stale }) => [[{}, stale ? 1 : 0]])
  gauge('snapshot_version', 'The number of the present snapshot.', [], ({ version }) => [[{}, version]])

  const picks = new client.Counter(config('picks_total', 'Endpoints picked.'))
  const failures = new client.Counter(config('failures_total', 'Requests that failed.'))
  const cancellations = new client.Counter(config('cancellations_total', 'Requests that their callers called off.'))
  const refusals = new client.Counter(config('refusals_total', 'Picks when there was no endpoint.'))
  const ejections = new client.Counter(config('ejections_total', 'Endpoints left alone for a while.', 'reason'))
  const readmissions = new client.Counter(config('readmissions_total', 'Ejected endpoints that answered again.'))
  const errors = new client.Counter(config('source_errors_total', 'Failures of the source, and unusable entries.'))

  const measured: Measured = new Measured((discovery, label) => [
    discovery.on('ejected', ({ service, reason }) => ejections.inc({ service: label(service), reason })),
    discovery.on('readmitted', ({ service }) => readmissions.inc({ service: label(service) })),
    discovery.on('error', ({ service }) => errors.inc({ service: label(service) })),
  ])
  return { add: (discovery) => measured.add(discovery) }
}

const NOTHING: Counts = { picked: 0, failed: 0, cancelled: 0, refused: 0 }
