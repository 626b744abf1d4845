export type { MeasurableInbox, MeasurableRelay } from './outbox-events.js'
export type { PrometheusClient } from './prometheus/kit.js'
export type { Measurable, PrometheusMetrics, PrometheusOptions } from './prometheus/metrics.js'
export { prometheus } from './prometheus/metrics.js'
