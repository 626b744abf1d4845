export { type OpenTelemetryOptions, openTelemetry } from './opentelemetry/telemetry.js'
