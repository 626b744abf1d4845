import type { Clock } from './clock.js'
import type { Endpoint } from './endpoint.js'

/** How a request to an endpoint ended. `cancelled`: the caller went away, which is nobody's failure. */
export type Outcome = 'success' | 'failure' | 'cancelled'

/** What narrows a pick. */
export interface PickOptions {
  /** Ids not to pick, such as those already tried. */
  readonly exclude?: ReadonlySet<string> | undefined
  /** Prefer endpoints of this zone, while there are any. */
  readonly zone?: string | undefined
  /** What the request is about, for `consistentHash`: the same key goes to the same endpoint. */
  readonly hashKey?: string | undefined
}

/** An endpoint as a balancer sees it: the same object from pick to pick. */
export interface Node {
  readonly endpoint: Endpoint
  /** Leases that are not done yet. */
  readonly inflight: number
  /** The weight to balance by: the endpoint's, less while it warms up. It changes only with the list that `pick` is given. */
  readonly weight: number
  /** Where the balancer may keep what it learns of this endpoint. Nobody else reads or writes it. */
  notes?: unknown
}

/** What a finished request tells about its endpoint. */
export interface Sample {
  readonly outcome: Outcome
  /** Milliseconds from the pick to the first byte, or to the end when there was none. */
  readonly latency: number
  /** How long the endpoint asked to be left alone, ms; 0 when it did not. */
  readonly retryAfter: number
}

/** Decides who gets the next request. */
export interface Balancer {
  /**
   * Picks one of `nodes`, which are never empty and all allowed. Called for every request: no waiting, little work.
   *
   * @param now What the clock says, so that it need not be asked again: that takes longer than all the rest. A service
   * always tells.
   */
  pick(nodes: readonly Node[], options: PickOptions, now?: number): Node
  /**
   * Learns from a request. Called once per lease: at the first byte, or at the end of one without; and once more when it
   * fails after the first byte.
   *
   * @param now As for `pick`.
   */
  settle?(node: Node, sample: Sample, now?: number): void
}

/** Makes the balancer of one service. */
export type BalancerFactory = (context: { readonly random: () => number; readonly clock: Clock }) => Balancer

/** The weight to balance by. Endpoints of weight 0 are only ever offered among themselves, where they are equal. */
export function weightOf(node: Node): number {
  return node.weight || 1
}
