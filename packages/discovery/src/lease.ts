import type { Outcome } from './balancer.js'
import type { Endpoint } from './endpoint.js'

/** The right to send one request to an endpoint. Every lease must be ended with `done`, or the endpoint looks busy for ever. */
export interface Lease {
  readonly endpoint: Endpoint
  /** The answer has begun: this is the latency balancers learn from. Counts once. */
  firstByte(): void
  /**
   * The request is over, body and all. The first call counts, later ones do nothing.
   *
   * @param outcome `cancelled` when the caller went away, which is nobody's failure.
   * @param retryAfter How long the endpoint asked to be left alone, ms.
   */
  done(outcome: Outcome, retryAfter?: number): void
}
