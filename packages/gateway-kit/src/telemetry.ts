import type { Middleware } from './middleware.js'

/** Where a gateway tells about its requests; `openTelemetry()` of `@msx/gateway-kit/opentelemetry` makes one. */
export interface Telemetry {
  /** Runs around everything else that a request meets. */
  readonly trace: Middleware
}

/** Told of each try at an upstream that a request is forwarded in. Whoever traces the request puts it in its context. */
export interface AttemptWatch {
  /** A request of HTTP is about to leave. */
  http(request: OutgoingRequest): AttemptSpan
  /** A call of gRPC is about to leave. */
  grpc(call: OutgoingCall): AttemptSpan
}

export interface OutgoingRequest {
  readonly method: string
  readonly origin: string
  /** With its query. */
  readonly path: string
  /** How often the request was sent before. */
  readonly resends: number
}

export interface OutgoingCall {
  /** `/package.Service/Method` */
  readonly path: string
  /** Host and port. */
  readonly address: string
}

/** One try, from when it leaves until nobody waits for more of it. */
export interface AttemptSpan {
  /** By these headers, or metadata, the other side knows whose it is: in the place of others of the same names. */
  readonly fields: Readonly<Record<string, string>>
  /** What it was answered: a status of HTTP or of gRPC. */
  answered(status: number): void
  /** Once. `error`: why it did not come to its end. */
  end(error?: Error & { readonly code?: string }): void
}
