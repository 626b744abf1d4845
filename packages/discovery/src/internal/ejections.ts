import type { Outcome, PickOptions } from '../balancer.js'
import type { Endpoint } from '../endpoint.js'
import { ejectionTimeOf, mostEjected, type OutlierSettings } from '../outlier.js'
import { RequestWindow } from './request-window.js'
import { compareRank } from './tiers.js'
import type { TrackedNode } from './tracked-node.js'

/*
 *              failures in a row, or too low a success rate, while enough others are left
 *   admitted ────────────────────────────────────────────────────────────────────────────> ejected
 *      ^                                                                                       │ time is over
 *      │  it answers                                                                           v
 *      └──────────────────────────────── probed by one request <─────────────────────────── due
 *                                               │ it fails: ejected again, for longer          ^
 *                                               └──────────────────────────────────────────────┘
 *
 * After outlier detection of Envoy, with the single-request probation of Linkerd: an endpoint that is still broken costs one
 * request per ejection rather than five. Requests that were sent before the ejection prove nothing and change nothing.
 */

/** Each so many ms without an ejection take one from the count that makes ejections longer. */
const FORGIVEN_AFTER = 10_000

export type EjectionReason = 'consecutive-failures' | 'success-rate' | 'failed-probe'

/** What a service does when somebody is ejected or readmitted. */
export interface EjectionHooks {
  ejected(node: TrackedNode, reason: EjectionReason, duration: number, times: number): void
  readmitted(node: TrackedNode): void
}

/** What is known of how one endpoint answers. Times are the clock's, ms. */
export interface Health {
  failuresInRow: number
  window: RequestWindow | undefined
  /** When it may be probed; undefined while it is admitted. */
  ejectedUntil: number | undefined
  /** Until when its probe counts as under way; undefined without one. */
  probeForfeits: number | undefined
  /** Ejections in a row. */
  times: number
  readmittedAt: number
}

/** Decides which endpoints of one service are left alone. */
export class Ejections {
  readonly #settings: OutlierSettings
  readonly #random: () => number
  readonly #hooks: EjectionHooks
  #endpoints = 0
  #ejected = new Set<TrackedNode>()
  /** Before this time nobody's turn comes: nothing has to be looked at. */
  #nextTurn = 0

  constructor(settings: OutlierSettings, random: () => number, hooks: EjectionHooks) {
    this.#settings = settings
    this.#random = random
    this.#hooks = hooks
  }

  get size(): number {
    return this.#ejected.size
  }

  /** These are the service's endpoints now. One that came back comes back as it was. */
  keep(nodes: readonly TrackedNode[]): void {
    this.#endpoints = nodes.length
    this.#ejected = new Set(nodes.filter((node) => node.ejected))
    this.#nextTurn = 0
  }

  /** The ejected endpoint whose turn it is to be tried by a request, if one is due and these options allow it. */
  probe(now: number, { exclude, zone }: PickOptions, inUse: Endpoint | undefined): TrackedNode | undefined {
    if (now < this.#nextTurn) return undefined

    this.#nextTurn = Number.POSITIVE_INFINITY
    for (const node of this.#ejected) {
      const { endpoint } = node
      const health = node.health! // it was ejected for something
      const due = Math.max(health.ejectedUntil!, health.probeForfeits ?? 0)
      this.#nextTurn = Math.min(this.#nextTurn, due)

      const isWanted = inUse === undefined || compareRank(endpoint, inUse) <= 0
      if (now < due || !isWanted || exclude?.has(endpoint.id) || (zone !== undefined && endpoint.zone !== zone))
        continue

      health.probeForfeits = now + this.#settings.ejectionTime
      this.#nextTurn = 0
      return node
    }
    return undefined
  }

  /** The first byte to a probe: it answers. */
  answered(node: TrackedNode, now: number): void {
    if (this.#ejected.has(node)) this.#readmit(node, now)
  }

  /** A request is over. `probe`: it was the one that tries an ejected endpoint. */
  finished(node: TrackedNode, outcome: Outcome, probe: boolean, now: number): void {
    const health = this.#healthOf(node, now)

    if (health.ejectedUntil !== undefined) {
      if (!probe) return
      health.probeForfeits = undefined
      if (outcome === 'success') this.#readmit(node, now)
      if (outcome === 'failure') this.#eject(node, health, 'failed-probe', now)
      return
    }
    if (outcome === 'cancelled') return

    health.failuresInRow = outcome === 'success' ? 0 : health.failuresInRow + 1
    health.window?.add(outcome === 'failure', now)
    if (outcome === 'success') return

    const reason = this.#judge(health, now)
    if (reason !== undefined && this.#ejected.size < mostEjected(this.#endpoints, this.#settings)) {
      this.#eject(node, health, reason, now)
    }
  }

  /** Whether this end of a request changes nothing, as most do. */
  isIndifferent({ health }: TrackedNode, outcome: Outcome): boolean {
    if (outcome !== 'success') return false
    if (health === undefined) return this.#settings.successRate === undefined

    return health.failuresInRow === 0 && health.ejectedUntil === undefined && health.window === undefined
  }

  #judge(health: Health, now: number): EjectionReason | undefined {
    const { consecutiveFailures, successRate } = this.#settings
    if (consecutiveFailures > 0 && health.failuresInRow >= consecutiveFailures) return 'consecutive-failures'
    if (successRate === undefined) return undefined

    const seen = health.window!.read(now)
    const isLow = seen.requests >= successRate.minimumRequests && seen.successRate < successRate.below
    return isLow ? 'success-rate' : undefined
  }

  #eject(node: TrackedNode, health: Health, reason: EjectionReason, now: number): void {
    const forgiven = health.ejectedUntil === undefined ? Math.floor((now - health.readmittedAt) / FORGIVEN_AFTER) : 0
    health.times = Math.max(health.times - forgiven, 0) + 1

    const duration = ejectionTimeOf(health.times, this.#settings, this.#random)
    health.ejectedUntil = now + duration
    node.ejected = true
    this.#ejected.add(node)
    this.#nextTurn = 0
    this.#hooks.ejected(node, reason, duration, health.times)
  }

  #readmit(node: TrackedNode, now: number): void {
    const health = this.#healthOf(node, now)
    health.ejectedUntil = undefined
    health.probeForfeits = undefined
    health.failuresInRow = 0
    health.window?.clear()
    health.readmittedAt = now
    node.ejected = false
    this.#ejected.delete(node)
    this.#hooks.readmitted(node)
  }

  #healthOf(node: TrackedNode, now: number): Health {
    if (node.health !== undefined) return node.health

    const { successRate } = this.#settings
    const health: Health = {
      failuresInRow: 0,
      window: successRate && new RequestWindow(successRate.window, now),
      ejectedUntil: undefined,
      probeForfeits: undefined,
      times: 0,
      readmittedAt: now,
    }
    node.health = health
    return health
  }
}
