import type { SagaEngine } from './engine.js'
import { shown } from './internal/check.js'

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

/** What is used of an engine. */
export type Measurable = Pick<SagaEngine<never>, 'on' | 'snapshot'>

export interface PrometheusMetrics {
  /** Measures this engine from now on. Returns what ends that; a second `add` of the same engine returns the same. */
  add(engine: Measurable): () => void
}

/**
 * Registers the metrics of saga engines with a Prometheus client. Labels are the names of sagas and steps, which definitions
 * give, and how things ended.
 *
 * @throws TypeError for options that are wrong.
 * @example
 * import client from 'prom-client'
 *
 * prometheus({ client, registry: client.register }).add(engine)
 */
export function prometheus<R>(options: PrometheusOptions<R>): PrometheusMetrics {
  const { client, registry, prefix = '' } = options ?? {}
  if (typeof Object(client).Counter !== 'function')
    throw new TypeError(`prometheus: client must be a Prometheus client, not ${shown(client)}`)
  if (registry === undefined || registry === null)
    throw new TypeError(`prometheus: registry must be a registry, not ${shown(registry)}`)
  if (typeof prefix !== 'string') throw new TypeError(`prometheus: prefix must be a string, not ${shown(prefix)}`)

  const config = (name: string, help: string, ...labelNames: string[]): MetricConfig<R> => ({
    name: `${prefix}${name}`,
    help,
    labelNames,
    registers: [registry],
  })
  const started = new client.Counter(config('saga_started_total', 'Sagas started here.', 'saga'))
  const ended = new client.Counter(
    config('saga_ended_total', 'Sagas that came to rest here, by status.', 'saga', 'status'),
  )
  const attempts = new client.Histogram(
    config(
      'saga_step_seconds',
      'Attempts of steps and compensations, by what came of them.',
      'saga',
      'step',
      'outcome',
    ),
  )
  const batches = new client.Histogram({
    ...config('saga_batch_rows', 'Checkpoints per statement.'),
    buckets: [1, 2, 5, 10, 20, 50, 100, 200, 500],
  })
  const lost = new client.Counter(config('saga_leases_lost_total', 'Leases that were not renewed in time.'))
  const errors = new client.Counter(
    config('saga_store_errors_total', 'Failures of the store, by what was asked.', 'during'),
  )

  const added = new Map<Measurable, () => void>()
  const running = new client.Gauge({
    ...config('saga_running', 'Sagas that run in this process now.'),
    collect() {
      running.reset()
      let sum = 0
      for (const engine of added.keys()) sum += engine.snapshot().running
      running.set({}, sum)
    },
  })

  function measure(engine: Measurable): (() => void)[] {
    const ends = [
      ['sagaCompleted', 'completed'],
      ['sagaCompensated', 'compensated'],
      ['sagaCancelled', 'cancelled'],
      ['sagaStuck', 'stuck'],
      ['sagaAbandoned', 'abandoned'],
    ] as const
    const outcomes = [
      ['stepDone', 'done'],
      ['stepRetry', 'retried'],
      ['stepFailed', 'failed'],
      ['stepInDoubt', 'in_doubt'],
      ['stepUndone', 'undone'],
      ['stepUndoFailed', 'undo_failed'],
    ] as const
    return [
      engine.on('sagaStarted', ({ name }) => started.inc({ saga: name })),
      ...ends.map(([event, status]) => engine.on(event, ({ name }) => ended.inc({ saga: name, status }))),
      ...outcomes.map(([event, outcome]) =>
        engine.on(event, ({ name, step, took }) => attempts.observe({ saga: name, step, outcome }, took / 1_000)),
      ),
      engine.on('batch', ({ rows }) => batches.observe({}, rows)),
      engine.on('leaseLost', () => lost.inc({})),
      engine.on('storeError', ({ during }) => errors.inc({ during })),
    ]
  }

  return {
    add(engine) {
      const known = added.get(engine)
      if (known !== undefined) return known
      if (typeof Object(engine).snapshot !== 'function')
        throw new TypeError(`prometheus: what is added must be a saga engine, not ${shown(engine)}`)

      const stops = measure(engine)
      const remove = (): void => {
        if (added.get(engine) !== remove) return

        added.delete(engine)
        for (const stop of stops) stop()
      }
      added.set(engine, remove)
      return remove
    },
  }
}
