import type { Balancer, Node, Outcome } from '../balancer.js'
import { type Clock, systemClock } from '../clock.js'
import { type Endpoint, toEndpoint } from '../endpoint.js'
import type { Lease } from '../lease.js'
import type { Health } from './ejections.js'
import { wrongOption } from './options.js'

/** What a service keeps about one endpoint, for as long as its id is at the same address. */
export class TrackedNode implements Node {
  // What every pick of any two reads comes first: then it is in one line of the processor's cache.
  inflight = 0
  weight: number
  notes: unknown = undefined
  readonly owner: LeaseOwner
  private place: Endpoint
  picked = 0
  failed = 0
  cancelled = 0
  /** How it answers, once there was something to remember. */
  health: Health | undefined = undefined
  /** Left alone because of how it answers. */
  ejected = false
  #warmth = 1

  constructor(endpoint: Endpoint, owner: LeaseOwner) {
    this.owner = owner
    this.place = endpoint
    this.weight = endpoint.weight
  }

  get endpoint(): Endpoint {
    return this.place
  }

  set endpoint(endpoint: Endpoint) {
    this.place = endpoint
    this.weight = endpoint.weight * this.#warmth
  }

  /** The part of its weight that it has while it warms up, up to 1. */
  set warmth(warmth: number) {
    this.#warmth = warmth
    this.weight = this.place.weight * warmth
  }
}

/** What a lease needs of the service it is from. */
export interface LeaseOwner {
  readonly balancer: Balancer
  readonly clock: Clock
  /** The first byte came to the request that tries an ejected endpoint. */
  answered(node: TrackedNode, now: number): void
  /** A request is over. `probe`: it tried an ejected endpoint, and nothing has come back. `now`: if anybody has asked. */
  finished(node: TrackedNode, outcome: Outcome, probe: boolean, now: number | undefined): void
}

const NOWHERE = toEndpoint({ host: 'localhost', port: 1 })
const NOBODY: LeaseOwner = {
  balancer: { pick: ([first]) => first! },
  clock: systemClock,
  answered() {},
  finished() {},
}

/** A lease as the service counts it: one object per request, made anew each time. */
export class TrackedLease implements Lease {
  /**
   * One that is always there. V8 drops the hidden class of objects of which a garbage collection finds none, and all code
   * that was compiled for it: without this, whenever no request is under way while it collects.
   */
  static readonly kept: Lease = new TrackedLease(new TrackedNode(NOWHERE, NOBODY), Number.NaN, false)

  readonly endpoint: Endpoint
  private readonly node: TrackedNode
  private readonly start: number
  private answered = false
  private over = false
  private probe: boolean

  constructor(node: TrackedNode, now: number, probe: boolean) {
    this.endpoint = node.endpoint
    this.node = node
    this.start = now
    this.probe = probe
    node.inflight++
    node.picked++
  }

  firstByte(): void {
    if (this.answered || this.over) return

    const { node } = this
    const { owner } = node
    this.answered = true
    const now = owner.clock.now()
    this.settle('success', 0, now)
    if (!this.probe) return

    this.probe = false
    owner.answered(node, now)
  }

  done(outcome: Outcome, retryAfter = 0): void {
    if (outcome !== 'success' && outcome !== 'failure' && outcome !== 'cancelled') {
      throw wrongOption('outcome', outcome, "'success', 'failure' or 'cancelled'")
    }
    if (this.over) return

    const { node } = this
    const { owner } = node
    this.over = true
    node.inflight--
    if (outcome === 'failure') node.failed++
    if (outcome === 'cancelled') node.cancelled++

    // The latency is known since the first byte; only a failure after it is news.
    let now: number | undefined
    if (!this.answered || outcome === 'failure') {
      now = owner.clock.now()
      this.settle(outcome, Number.isFinite(retryAfter) ? Math.max(retryAfter, 0) : 0, now)
    }
    owner.finished(node, outcome, this.probe, now)
  }

  private settle(outcome: Outcome, retryAfter: number, now: number): void {
    this.node.owner.balancer.settle?.(this.node, { outcome, latency: now - this.start, retryAfter }, now)
  }
}
