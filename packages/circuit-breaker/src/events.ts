import type { Verdict } from './classify.js'

/** What callers see. `isolated` and `disabled` are set by hand and lie over the other three. */
export type CircuitState = 'closed' | 'open' | 'half-open' | 'isolated' | 'disabled'

/** Why a circuit changed its state. */
export type TransitionReason =
  | 'failures'
  | 'failure-rate'
  | 'slow-rate'
  | 'open-elapsed'
  | 'trials-passed'
  | 'trials-failed'
  | 'isolated'
  | 'released'
  | 'disabled'
  | 'enabled'
  | 'reset'

/** The events of a circuit breaker. */
export interface CircuitEvents {
  /** The state changed. */
  readonly transition: { readonly from: CircuitState; readonly to: CircuitState; readonly reason: TransitionReason }
  /** A call was rejected or, with `dryRun`, would have been. `retryAfter` in milliseconds. */
  readonly reject: { readonly retryAfter: number }
  /** A call that was let through has ended, late ones included. `duration` in milliseconds. */
  readonly result: { readonly verdict: Verdict; readonly duration: number }
}

/** Something that is told about an event. What it throws is dropped: no listener can break a call. */
export type Listener<E> = (event: E) => void
