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
  /** Left alone because of how it answers. */
  ejected = false
  /** The part of its weight that it has while it warms up, up to 1. */
  warmth = 1

  constructor(endpoint: Endpoint) {
    this.endpoint = endpoint
  }

  get weight(): number {
    return this.endpoint.weight * this.warmth
  }
}

/** What a lease needs of the service it is from. */
export interface LeaseOwner {
  readonly balancer: Balancer
  readonly clock: Clock
  /** The first byte came to the request that tries an ejected endpoint. */
  answered(node: TrackedNode): void
  /** A request is over. `probe`: it tried an ejected endpoint, and nothing has come back. */
  finished(node: TrackedNode, outcome: Outcome, probe: boolean): void
}

/** A lease as the service counts it. */
export class TrackedLease implements Lease {
  readonly endpoint: Endpoint
  readonly #node: TrackedNode
  readonly #owner: LeaseOwner
  readonly #start: number
  #answered = false
  #done = false
  #probe: boolean

  constructor(node: TrackedNode, owner: LeaseOwner, now: number, probe: boolean) {
    this.endpoint = node.endpoint
    this.#node = node
    this.#owner = owner
    this.#start = now
    this.#probe = probe
    node.inflight++
    node.picked++
  }

  firstByte(): void {
    if (this.#answered || this.#done) return

    this.#answered = true
    this.#settle('success', 0)
    if (!this.#probe) return

    this.#probe = false
    this.#owner.answered(this.#node)
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
    this.#owner.finished(this.#node, outcome, this.#probe)
  }

  #settle(outcome: Outcome, retryAfter: number): void {
    const { balancer, clock } = this.#owner
    balancer.settle?.(this.#node, { outcome, latency: clock.now() - this.#start, retryAfter })
  }
}
