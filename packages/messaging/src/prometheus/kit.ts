import type { BoundedLabels } from './labels.js'

export type Labels = Record<string, string | number>

export interface MetricConfig<R> {
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

/** What all metrics of a registry are made with. */
export interface Kit<R> {
  readonly client: PrometheusClient<R>
  readonly labels: BoundedLabels
  config(name: string, help: string, ...labelNames: string[]): MetricConfig<R>
  /** A gauge that is read when it is asked for. */
  gauge(name: string, help: string, labelNames: string[], read: () => Iterable<Value>): void
}

export type Value = readonly [labels: Labels, value: number]
