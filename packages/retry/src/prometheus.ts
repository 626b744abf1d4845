import type { HedgePolicy } from './hedge.js'
import { optionsObject, stringOption, wrong } from './internal/validate.js'
import type { RetryPolicy } from './retry.js'

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

/** What has numbers. */
export type Measurable = RetryPolicy | HedgePolicy

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

  const added = new Map<Measurable, () => void>()
  const labels = new BoundedLabels()
  const balances = new client.Gauge({
    ...config('retry_budget_balance', 'Retries and copies that the budget allows now.'),
    collect() {
      balances.reset()
      for (const { name, budget } of added.keys()) {
        if (budget !== undefined) balances.set({ name: labels.of(name) }, budget.balance)
      }
    },
  })

  function measureRetry(policy: RetryPolicy, name: string): (() => void)[] {
    return [
      policy.on('retry', ({ delay }) => {
        attempts.inc({ name, outcome: 'retried' })
        delays.observe({ name }, delay / 1_000)
      }),
      ...(['success', 'exhausted', 'budgetExhausted'] as const).map((outcome) =>
        policy.on(outcome, () => attempts.inc({ name, outcome })),
      ),
    ]
  }

  function measureHedge(policy: HedgePolicy, name: string): (() => void)[] {
    return [
      policy.on('hedge', () => copies.inc({ name, outcome: 'started' })),
      policy.on('budgetExhausted', () => copies.inc({ name, outcome: 'budgetExhausted' })),
      policy.on('success', ({ copy }) => {
        if (copy > 1) copies.inc({ name, outcome: 'won' })
      }),
    ]
  }

  function start(policy: Measurable): (() => void)[] {
    const { kind, name } = Object(policy) as Partial<Measurable>
    if (kind === 'retry') return measureRetry(policy as RetryPolicy, labels.of(String(name)))
    if (kind === 'hedge') return measureHedge(policy as HedgePolicy, labels.of(String(name)))

    throw wrong('prometheus: what is added', policy, 'a retry or a hedge')
  }

  return {
    add(policy) {
      const known = added.get(policy)
      if (known !== undefined) return known

      const stops = start(policy)
      const remove = () => {
        if (added.get(policy) !== remove) return

        added.delete(policy)
        for (const stop of stops) stop()
      }
      added.set(policy, remove)
      return remove
    },
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
