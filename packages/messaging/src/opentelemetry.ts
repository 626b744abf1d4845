export { type OpenTelemetry, type OpenTelemetryOptions, openTelemetry } from './opentelemetry/telemetry.js'
export type { MeasurableInbox, MeasurableRelay } from './outbox-events.js'
