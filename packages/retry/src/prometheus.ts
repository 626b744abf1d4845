import { type Measurable, Measured } from './internal/measured.js'
import { optionsObject, stringOption, wrong } from './internal/validate.js'

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
  Histogram: new (config: MetricConfig<R> & { buckets?: number[] }) => { observe(labels: Labels, value: number): void }
}

export interface PrometheusOptions<R> {
  /** The client library, as imported. */
  readonly client: PrometheusClient<R>
  /** Where the metrics are registered. */
  readonly registry: R
  /** Put before the name of each metric. Default none. */
  readonly prefix?: string | undefined
}

export type { Measurable }

export interface PrometheusMetrics {
  /** Measures this from now on. Returns what ends that; a second `add` of the same policy returns the same. */
  add(policy: Measurable): () => void
}

/**
 * Registers the metrics of retries and hedges with a Prometheus client. Labels are the names of policies and how things
 * ended. Balances are read when they are asked for.
 *
 * @throws TypeError for options that are wrong.
 * @example
 * import client from 'prom-client'
 *
 * const metrics = prometheus({ client, registry: client.register })
 * metrics.add(retry({ name: 'stock' }))
 */
export function prometheus<R>(options: PrometheusOptions<R>): PrometheusMetrics {
  optionsObject('prometheus', options)
  const { client, registry, prefix = '' } = options
  if (typeof Object(client).Counter !== 'function') throw wrong('prometheus: client', client, 'a Prometheus client')
  if (registry === undefined || registry === null) throw wrong('prometheus: registry', registry, 'a registry')
  stringOption('prometheus: prefix', prefix)

  const config = (name: string, help: string, ...labelNames: string[]): MetricConfig<R> => ({
    name: `${prefix}${name}`,
    help,
    labelNames: ['name', ...labelNames],
    registers: [registry],
  })
  const attempts = new client.Counter(config('retry_attempts_total', 'Attempts, by what came of them.', 'outcome'))
  const delays = new client.Histogram(config('retry_delay_seconds', 'Waits before retries.'))
  const copies = new client.Counter(config('hedge_copies_total', 'Further copies, by what came of them.', 'outcome'))

  const measured = new Measured('prometheus', {
    retry: (source, name) => [
      source.on('retry', ({ delay }) => {
        attempts.inc({ name, outcome: 'retried' })
        delays.observe({ name }, delay / 1_000)
      }),
      ...(['success', 'exhausted', 'budgetExhausted'] as const).map((outcome) =>
        source.on(outcome, () => attempts.inc({ name, outcome })),
      ),
    ],
    hedge: (policy, name) => [
      policy.on('hedge', () => copies.inc({ name, outcome: 'started' })),
      policy.on('budgetExhausted', () => copies.inc({ name, outcome: 'budgetExhausted' })),
      policy.on('success', ({ copy }) => {
        if (copy > 1) copies.inc({ name, outcome: 'won' })
      }),
    ],
  })
  const balances = new client.Gauge({
    ...config('retry_budget_balance', 'Retries and copies that the budget allows now.'),
    collect() {
      balances.reset()
      for (const [name, balance] of measured.balances()) balances.set({ name }, balance)
    },
  })

  return { add: (policy) => measured.add(policy) }
}
