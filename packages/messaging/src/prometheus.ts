export type { Measurable, PrometheusClient, PrometheusMetrics, PrometheusOptions } from './prometheus/metrics.js'
export { prometheus } from './prometheus/metrics.js'
