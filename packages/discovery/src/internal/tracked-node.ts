import type { Balancer, Node, Outcome } from '../balancer.js'
import type { Clock } from '../clock.js'
import type { Endpoint } from '../endpoint.js'
import type { Lease } from '../lease.js'
import { wrongOption } from './options.js'

/** What a service keeps about one endpoint, for as long as its id is at the same address. */
export class TrackedNode implements Node {
  endpoint: Endpoint
  inflight = 0
  picked = 0
  failed = 0
  cancelled = 0

  constructor(endpoint: Endpoint) {
    this.endpoint = endpoint
  }
}

/** What a lease needs of the service it is from. */
export interface LeaseOwner {
  readonly balancer: Balancer
  readonly clock: Clock
  failed(): void
}

/** A lease as the service counts it. */
export class TrackedLease implements Lease {
  readonly endpoint: Endpoint
  readonly #node: TrackedNode
  readonly #owner: LeaseOwner
  readonly #start: number
  #answered = false
  #done = false

  constructor(node: TrackedNode, owner: LeaseOwner) {
    this.endpoint = node.endpoint
    this.#node = node
    this.#owner = owner
    this.#start = owner.clock.now()
    node.inflight++
    node.picked++
  }

  firstByte(): void {
    if (this.#answered || this.#done) return

    this.#answered = true
    this.#settle('success', 0)
  }

  done(outcome: Outcome, retryAfter = 0): void {
    if (outcome !== 'success' && outcome !== 'failure' && outcome !== 'cancelled') {
      throw wrongOption('outcome', outcome, "'success', 'failure' or 'cancelled'")
    }
    if (this.#done) return

    this.#done = true
    this.#node.inflight--
    if (outcome === 'failure') this.#node.failed++
    if (outcome === 'cancelled') this.#node.cancelled++

    // The latency is known since the first byte; only a failure after it is news.
    const pause = Number.isFinite(retryAfter) ? Math.max(retryAfter, 0) : 0
    if (!this.#answered || outcome === 'failure') this.#settle(outcome, pause)
    if (outcome === 'failure') this.#owner.failed()
  }

  #settle(outcome: Outcome, retryAfter: number): void {
    const { balancer, clock } = this.#owner
    balancer.settle?.(this.#node, { outcome, latency: clock.now() - this.#start, retryAfter })
  }
}
