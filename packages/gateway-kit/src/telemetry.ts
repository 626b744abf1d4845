import type { Middleware } from './middleware.js'

/** Where a gateway tells about its requests; `openTelemetry()` of `@msx/gateway-kit/opentelemetry` makes one. */
export interface Telemetry {
  /** Runs around everything else that a request meets. */
  readonly trace: Middleware
}
