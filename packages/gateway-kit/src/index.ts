// The gateway

export { accessLine } from './access-line.js'
export type { ForwardingHeaders, TrustConfig } from './address.js'
// What middleware of your own may want
export { addressKey, clientAddress } from './address.js'
export type { ApiKeyOptions } from './api-keys.js'
export { apiKeys, hashApiKey } from './api-keys.js'
export type { AuthenticateOptions } from './authenticate.js'
// Its parts, each a middleware of its own
export { authenticate, authOf } from './authenticate.js'
export type { Claims, Verify } from './claims.js'
export type { Clock } from './clock.js'
export type {
  AuthPolicy,
  GatewayConfig,
  GatewayLimits,
  HealthConfig,
  RateLimitPolicy,
  RouteConfig,
  UpstreamConfig,
  UpstreamTarget,
} from './config.js'
export type { CorsOptions } from './cors.js'
export { cors } from './cors.js'
export type { ConfigIssue, ProxyErrorCode, ProxyErrorKind, ProxyPhase } from './errors.js'
export { AuthError, GatewayConfigError, isAuthError, isGatewayConfigError, isProxyError, ProxyError } from './errors.js'
export type { Gateway, GatewayDeps, NamedDeps } from './gateway.js'
export { createGateway } from './gateway.js'
export type { HeaderRules } from './headers.js'
export type { GcraOptions } from './limit/gcra.js'
// Limiters
export { gcra } from './limit/gcra.js'
export type { Decision, LocalRateLimiter, RateLimiter } from './limit/limiter.js'
export type { SlidingWindowOptions } from './limit/sliding-window.js'
export { slidingWindow } from './limit/sliding-window.js'
export type { Certificate, ConnectionLimits, ListenConfig, TlsConfig } from './listener.js'
export type { MetricsOptions, PrometheusClient } from './metrics.js'
export { metrics } from './metrics.js'
export type { Middleware, Next } from './middleware.js'
export { compose } from './middleware.js'
export type { Permissions } from './permissions.js'
export type { ProblemDetails } from './problem.js'
export { problem } from './problem.js'
export type { ProxyOptions } from './proxy.js'
export { proxy } from './proxy.js'
export type { RateLimitOptions } from './rate-limit.js'
export { rateLimit } from './rate-limit.js'
export type { RequestIdOptions } from './request-id.js'
export { requestId } from './request-id.js'
export type { AccessLog, AccessLogEntry, LineStream, RequestLogOptions } from './request-log.js'
export { requestLog } from './request-log.js'
export type { ProxyRetry } from './retrying.js'
export type { Rewrite } from './rewrite.js'
export type { ShedOptions } from './shed.js'
export { shed } from './shed.js'
export type { Telemetry } from './telemetry.js'
export type { Timeouts } from './timeouts.js'
export type { Finder } from './upstream.js'
