import { inspect } from 'node:util'
import type { Balancer, Outcome, PickOptions } from './balancer.js'
import { type Clock, schedule } from './clock.js'
import { type Endpoint, type EndpointInit, repeats, sameEndpoint, toEndpoint } from './endpoint.js'
import { DiscoveryClosedError, NoEndpointsError } from './errors.js'
import type { DiscoveryEvents } from './events.js'
import type { Aborts } from './internal/aborts.js'
import { changesOf } from './internal/changes.js'
import { type EjectionReason, Ejections } from './internal/ejections.js'
import type { Emitter } from './internal/emitter.js'
import { keepAlive } from './internal/keep-alive.js'
import { Tiers } from './internal/tiers.js'
import { TrackedLease, TrackedNode } from './internal/tracked-node.js'
import { WarmUp } from './internal/warm-up.js'
import type { Lease } from './lease.js'
import type { OutlierSettings } from './outlier.js'
import type { Snapshot, SnapshotDiff } from './snapshot.js'
import type { Source } from './source.js'

/** One service by name: where it is, and who gets the next request. */
export interface Service {
  readonly name: string
  /** What is known now. */
  readonly snapshot: Snapshot
  /** Requests per endpoint, as plain JSON. */
  readonly metrics: ServiceMetrics
  /**
   * The first snapshot, or the present one. Rejects with NoEndpointsError when the source failed before it ever answered,
   * and with the signal's reason when that aborts.
   */
  ready(signal?: AbortSignal): Promise<Snapshot>
  /** An endpoint for one request. Throws NoEndpointsError when there is none. The lease must be ended with `done`. */
  pick(options?: PickOptions): Lease
  /**
   * The snapshots from now on, the present one first if there is one. A slow reader gets the latest, not each. Ends when
   * the discovery is closed; rejects with the signal's reason when it aborts.
   */
  changes(signal?: AbortSignal): AsyncIterable<Snapshot>
}

/** What a service knows about its endpoints. */
export interface ServiceMetrics {
  readonly service: string
  readonly version: number
  readonly stale: boolean
  /** Picks so far, also of endpoints that are gone by now. */
  readonly picked: number
  /** Of these, how many failed. */
  readonly failed: number
  /** Of these, how many were called off. */
  readonly cancelled: number
  /** How often there was nobody to pick. */
  readonly refused: number
  readonly endpoints: readonly EndpointMetrics[]
}

/** Requests of one endpoint: in flight now, and in total since it was first seen. */
export interface EndpointMetrics {
  readonly id: string
  readonly url: string
  readonly inflight: number
  readonly picked: number
  readonly failed: number
  readonly cancelled: number
  /** Left alone at the moment because of how it answers. */
  readonly ejected: boolean
}

/** What a service needs of the discovery it belongs to. Durations in milliseconds. */
export interface ServiceContext {
  readonly source: Source
  readonly balancer: Balancer
  readonly clock: Clock
  readonly aborts: Aborts
  readonly events: Emitter<DiscoveryEvents>
  readonly emptyGrace: number
  readonly maxStale: number | undefined
  readonly random: () => number
  /** Undefined: nobody is ejected. */
  readonly outlier: OutlierSettings | undefined
  /** 0: everybody has their full share at once. */
  readonly slowStart: number
}

/** Sources are asked to look again at most once in this time, ms. */
const REFRESH_INTERVAL = 1_000

/** An endpoint that comes back within this time, ms, comes back with its history. */
const RETIRED_MEMORY = 60_000

const ANYBODY: PickOptions = {}

/** A service that is watched: the source writes, callers pick. */
export class WatchedService implements Service {
  readonly name: string
  readonly balancer: Balancer
  readonly clock: Clock
  readonly aborts: Aborts
  readonly #context: ServiceContext
  readonly #watch = new AbortController()
  #closed = false
  readonly #waiting = new Set<() => void>()
  readonly #retired = new Map<string, { node: TrackedNode; since: number }>()
  #snapshot: Snapshot
  readonly #totals = { picked: 0, failed: 0, cancelled: 0, refused: 0 }
  #nodes = new Map<string, TrackedNode>()
  /** Everybody, and those among them who are not ejected: the same object while that is everybody. */
  #all = new Tiers<TrackedNode>([])
  #admitted = this.#all
  readonly #ejections: Ejections | undefined
  readonly #warmUp: WarmUp | undefined
  #lastRefresh = Number.NEGATIVE_INFINITY
  #endEmptyGrace: (() => void) | undefined
  #endStaleness: (() => void) | undefined

  constructor(name: string, context: ServiceContext) {
    this.name = name
    this.balancer = context.balancer
    this.clock = context.clock
    this.aborts = context.aborts
    this.#context = context
    this.#snapshot = Object.freeze({ service: name, endpoints: [], version: 0, stale: false })

    const { outlier, slowStart, random, clock } = context
    this.#ejections = outlier && new Ejections(outlier, random, this)
    if (slowStart > 0) this.#warmUp = new WarmUp(slowStart, clock, () => this.#arrange())
  }

  get snapshot(): Snapshot {
    return this.#snapshot
  }

  get closed(): boolean {
    return this.#closed
  }

  get metrics(): ServiceMetrics {
    const { version, stale, endpoints } = this.#snapshot

    return {
      service: this.name,
      version,
      stale,
      ...this.#totals,
      endpoints: endpoints.map(({ id, url }) => {
        const node = this.#nodes.get(id)! // one node per endpoint of the snapshot
        const { inflight, picked, failed, cancelled, ejected } = node
        return { id, url, inflight, picked, failed, cancelled, ejected }
      }),
    }
  }

  /** Begins to watch. Apart from the constructor, because a source may answer at once. */
  start(): this {
    const { signal } = this.#watch
    const unlessClosed =
      <T>(report: (value: T) => void) =>
      (value: T) => {
        if (!signal.aborted) report(value)
      }
    const fail = unlessClosed((error: unknown) => this.#fail(toError(error)))
    const update = unlessClosed((endpoints: readonly EndpointInit[]) => {
      if (Array.isArray(endpoints)) this.#update(endpoints)
      else
        fail(new TypeError(`The source of '${this.name}' must report an array of endpoints, got ${inspect(endpoints)}`))
    })

    try {
      this.#context.source.watch(this.name, { update, fail }, signal)
    } catch (error) {
      fail(error)
    }
    return this
  }

  close(): void {
    this.#endEmptyGrace?.()
    this.#endStaleness?.()
    this.#warmUp?.end()
    this.#closed = true
    this.#watch.abort(new DiscoveryClosedError())
    this.#wake()
  }

  async ready(signal?: AbortSignal): Promise<Snapshot> {
    while (true) {
      signal?.throwIfAborted()
      if (this.closed) throw new DiscoveryClosedError()
      if (this.#snapshot.version > 0) return this.#snapshot
      if (this.#snapshot.error !== undefined) throw this.#nobody()

      await this.#news(signal)
    }
  }

  pick(options: PickOptions = ANYBODY): Lease {
    if (this.#closed) throw new DiscoveryClosedError()

    const now = this.clock.now()
    const allowed = this.#admitted.candidates(options)
    const probe = this.#admitted === this.#all ? undefined : this.#probe(now, options, allowed)
    const node = probe ?? this.balancer.pick(allowed.length > 0 ? allowed : this.#lastResort(options), options, now)
    if (!(node instanceof TrackedNode)) throw new TypeError('balancer.pick must return one of the nodes it was given')

    this.#totals.picked++
    return new TrackedLease(node, now, probe !== undefined)
  }

  changes(signal?: AbortSignal): AsyncIterable<Snapshot> {
    return changesOf(this, signal)
  }

  once(wake: () => void): () => void {
    this.#waiting.add(wake)
    return () => void this.#waiting.delete(wake)
  }

  answered(node: TrackedNode, now: number): void {
    this.#ejections?.answered(node, now)
  }

  finished(node: TrackedNode, outcome: Outcome, probe: boolean, now: number | undefined): void {
    const ejections = this.#ejections
    if (ejections !== undefined && !ejections.isIndifferent(node, outcome)) {
      ejections.finished(node, outcome, probe, now ?? this.clock.now())
    }
    if (outcome === 'cancelled') this.#totals.cancelled++
    if (outcome !== 'failure') return

    this.#totals.failed++
    // Perhaps the endpoint is gone and the source knows better already.
    this.#refresh()
  }

  ejected({ endpoint }: TrackedNode, reason: EjectionReason, duration: number, times: number): void {
    this.#arrange()
    this.#context.events.emit('ejected', { service: this.name, endpoint, reason, duration, times })
  }

  readmitted(node: TrackedNode): void {
    this.#warmUp?.begin(node)
    this.#arrange()
    this.#context.events.emit('readmitted', { service: this.name, endpoint: node.endpoint })
  }

  #probe(now: number, options: PickOptions, allowed: readonly TrackedNode[]): TrackedNode | undefined {
    return this.#ejections?.probe(now, options, allowed[0]?.endpoint)
  }

  /** With nobody else left, those who were ejected here are better than nobody. Whom the source leaves out stays out. */
  #lastResort(options: PickOptions): readonly TrackedNode[] {
    const nodes = this.#all.candidates(options)
    if (nodes.length > 0) return nodes

    this.#totals.refused++
    this.#refresh()
    throw this.#nobody()
  }

  /** Puts the nodes in the order of their use, anew: who is ejected or how much weight they have has changed. */
  #arrange(): void {
    const nodes = [...this.#nodes.values()]
    this.#all = new Tiers(nodes)
    const noneEjected = this.#ejections === undefined || this.#ejections.size === 0
    this.#admitted = noneEjected ? this.#all : new Tiers(nodes.filter((node) => !node.ejected))
  }

  #update(reported: readonly EndpointInit[]): void {
    const known = this.#snapshot.version > 0
    const endpoints = this.#complete(reported)
    this.#endStaleness?.()
    this.#endStaleness = undefined

    if (endpoints.length === 0 && this.#snapshot.endpoints.length > 0 && this.#context.emptyGrace > 0) {
      // A registry that restarts answers before it has heard from anybody again. Believe in "nobody" only if it lasts.
      this.#endEmptyGrace ??= schedule(this.clock, this.#context.emptyGrace, () => this.#believeEmpty())
      if (this.#snapshot.stale) this.#publish(this.#snapshot.endpoints)
      return
    }

    this.#endEmptyGrace?.()
    this.#endEmptyGrace = undefined
    const unchanged = known && endpoints === this.#snapshot.endpoints && !this.#snapshot.stale
    if (!unchanged) this.#publish(endpoints)
  }

  #fail(error: Error): void {
    const { events, maxStale } = this.#context
    const turnedStale = !this.#snapshot.stale

    // The grace counts only time in which the source is heard.
    this.#endEmptyGrace?.()
    this.#endEmptyGrace = undefined

    const { endpoints, version } = this.#snapshot
    this.#snapshot = Object.freeze({
      service: this.name,
      endpoints,
      version: version === 0 || !turnedStale ? version : version + 1,
      stale: true,
      error,
    })

    if (turnedStale && version > 0) {
      events.emit('stale', { service: this.name, snapshot: this.#snapshot, error })
      if (maxStale !== undefined) this.#endStaleness = schedule(this.clock, maxStale, () => this.#expire())
    }
    events.emit('error', { service: this.name, error })
    this.#wake()
  }

  #believeEmpty(): void {
    this.#endEmptyGrace = undefined
    this.#publish([])
  }

  /** The source has been silent for too long. */
  #expire(): void {
    const { error } = this.#snapshot
    this.#publish([], error)
  }

  /** Makes the endpoints the current ones, in one step: whoever picks next picks from them. */
  #publish(endpoints: readonly Endpoint[], error?: Error): void {
    const before = this.#snapshot
    const { added, removed } = this.#retire(endpoints)
    this.#arrange()
    this.#snapshot = Object.freeze({
      service: this.name,
      endpoints,
      version: before.version + 1,
      stale: error !== undefined,
      ...(error !== undefined && { error }),
    })

    this.#context.events.emit('change', { service: this.name, snapshot: this.#snapshot, added, removed })
    this.#wake()
  }

  /** Gives each endpoint its node: the present one, one that left a short while ago, or a new one. */
  #retire(endpoints: readonly Endpoint[]): SnapshotDiff {
    const now = this.clock.now()
    const before = this.#nodes
    const cold: TrackedNode[] = []
    const added: Endpoint[] = []
    const removed: Endpoint[] = []
    this.#nodes = new Map()

    for (const endpoint of endpoints) {
      const present = before.get(endpoint.id)
      if (present?.endpoint === endpoint) {
        this.#nodes.set(endpoint.id, present)
        continue
      }

      added.push(endpoint)
      if (present !== undefined) removed.push(present.endpoint)
      const known = present ?? this.#retired.get(endpoint.id)?.node
      const moved = known?.endpoint.host !== endpoint.host || known.endpoint.port !== endpoint.port
      const isNew = known === undefined || moved
      const node = isNew ? new TrackedNode(endpoint, this) : known

      node.endpoint = endpoint
      if (isNew) cold.push(node)
      this.#nodes.set(endpoint.id, node)
      this.#retired.delete(endpoint.id)
    }

    for (const [id, node] of before) {
      if (this.#nodes.has(id)) continue

      removed.push(node.endpoint)
      this.#retired.set(id, { node, since: now })
    }
    for (const [id, { since }] of this.#retired) if (now - since > RETIRED_MEMORY) this.#retired.delete(id)

    const nodes = [...this.#nodes.values()]
    this.#ejections?.keep(nodes)
    this.#warmUp?.keep(new Set(nodes))
    // When all are new there is nobody who could carry more than their share.
    if (cold.length < nodes.length) for (const node of cold) this.#warmUp?.begin(node)

    return { added, removed }
  }

  /** What was reported, usable entries only, each id once, unchanged ones as the objects they were before. */
  #complete(reported: readonly EndpointInit[]): readonly Endpoint[] {
    const before = this.#snapshot.endpoints
    const endpoints = new Map<string, Endpoint>()
    let unusable: unknown

    for (let index = 0; index < reported.length; index++) {
      const init = reported[index]! // within its length
      try {
        // Reports come in the same order more often than not; then nothing has to be looked up.
        const said = before[index]
        if (said !== undefined && repeats(init, said)) {
          endpoints.set(said.id, said)
          continue
        }

        const endpoint = toEndpoint(init)
        const known = this.#nodes.get(endpoint.id)?.endpoint
        endpoints.set(endpoint.id, known !== undefined && sameEndpoint(known, endpoint) ? known : endpoint)
      } catch (error) {
        unusable = error
      }
    }

    if (unusable !== undefined) this.#context.events.emit('error', { service: this.name, error: toError(unusable) })
    const same = endpoints.size === before.length && before.every((endpoint) => endpoints.get(endpoint.id) === endpoint)
    return same ? before : Object.freeze([...endpoints.values()])
  }

  #refresh(): void {
    const now = this.clock.now()
    const { source } = this.#context
    if (source.refresh === undefined || this.closed || now - this.#lastRefresh < REFRESH_INTERVAL) return

    this.#lastRefresh = now
    try {
      source.refresh(this.name)
    } catch (error) {
      this.#context.events.emit('error', { service: this.name, error: toError(error) })
    }
  }

  #nobody(): NoEndpointsError {
    const { endpoints, version, error } = this.#snapshot
    const options = error === undefined ? undefined : { cause: error }

    if (endpoints.length > 0) return new NoEndpointsError(this.name, 'all of them are excluded', options)
    if (error !== undefined) return new NoEndpointsError(this.name, error.message, options)
    if (version === 0) return new NoEndpointsError(this.name, 'the source has not answered yet; wait for ready()')
    return new NoEndpointsError(this.name, 'the source lists none')
  }

  #wake(): void {
    const waiting = [...this.#waiting]
    this.#waiting.clear()
    for (const wake of waiting) wake()
  }

  async #news(signal: AbortSignal | undefined): Promise<void> {
    let wake!: () => void
    const woken = new Promise<void>((resolve) => {
      wake = resolve
    })
    const forget = this.once(wake)
    const forgetSignal = this.aborts.once(signal, wake)
    const letGo = keepAlive()

    try {
      await woken
    } finally {
      letGo()
      forget()
      forgetSignal()
    }
  }
}

function toError(value: unknown): Error {
  return value instanceof Error ? value : new Error(`The source failed with ${String(value)}`, { cause: value })
}
