/// <reference lib="esnext.disposable" preserve="true" />

export type { AdaptiveLimitOptions } from './adaptive-limit.js'
export type {
  AdaptiveThrottle,
  AdaptiveThrottleEvents,
  AdaptiveThrottleMetrics,
  AdaptiveThrottleOptions,
} from './adaptive-throttle.js'
export { adaptiveThrottle } from './adaptive-throttle.js'
export type { Bulkhead, BulkheadEvents, BulkheadMetrics, BulkheadOptions } from './bulkhead.js'
export { bulkhead } from './bulkhead.js'
export type { CircuitBreaker, CircuitMetrics, Isolation, Permit } from './circuit-breaker.js'
export { circuitBreaker } from './circuit-breaker.js'
export type { Verdict } from './classify.js'
export { defaultClassify } from './classify.js'
export type { BulkheadFullDetails, CircuitOpenDetails, RejectingState, ThrottledDetails } from './errors.js'
export {
  BulkheadFullError,
  CircuitOpenError,
  isBulkheadFullError,
  isCircuitOpenError,
  isThrottledError,
  ThrottledError,
} from './errors.js'
export type { CircuitEvents, CircuitState, Listener, TransitionReason } from './events.js'
export type { OpenDurationOptions } from './open-duration.js'
export type { CircuitBreakerOptions, HalfOpenOptions } from './options.js'
export type { Clock, ExecuteOptions, Operation, Outcome, Policy, PolicyContext } from './policy.js'
export type { Protected } from './protect.js'
export type { CircuitRegistry, CircuitRegistryEvents, CircuitRegistryOptions } from './registry.js'
export { circuitRegistry } from './registry.js'
export type { WindowSnapshot } from './rolling-window.js'
export type { CircuitSnapshot } from './snapshot.js'
export type { ConsecutiveTrip, CountWindowOptions, RateTrip, TimeWindowOptions, TripRule } from './trip.js'
