import type { Node, PickOptions } from '../balancer.js'
import type { Endpoint } from '../endpoint.js'

/**
 * The endpoints of a snapshot in the order in which they may be used: by priority, and within one priority those without
 * weight after the others. A later tier is used only when the ones before have nobody left.
 */
export class Tiers<N extends Node> {
  readonly #tiers: readonly (readonly N[])[]
  readonly #first: readonly N[]
  /** Those of the first tier by zone; made for the first pick that asks. */
  #zones: ReadonlyMap<string | undefined, readonly N[]> | undefined

  constructor(nodes: readonly N[]) {
    this.#tiers = toTiers(nodes)
    this.#first = this.#tiers[0] ?? []
  }

  /**
   * Who may be picked: the first tier with somebody allowed, narrowed to the zone if it has any. Empty when nobody is. The
   * same list each time, unless somebody is excluded: then all are looked at, and only then.
   */
  candidates({ exclude, zone }: PickOptions): readonly N[] {
    if (exclude !== undefined) return this.#without(exclude, zone)

    const first = this.#first
    if (zone === undefined) return first

    this.#zones ??= byZone(first)
    return this.#zones.get(zone) ?? first
  }

  #without(exclude: ReadonlySet<string>, zone: string | undefined): readonly N[] {
    for (const tier of this.#tiers) {
      const allowed = tier.filter((node) => !exclude.has(node.endpoint.id))
      if (allowed.length === 0) continue
      if (zone === undefined) return allowed

      const near = allowed.filter((node) => node.endpoint.zone === zone)
      return near.length > 0 ? near : allowed
    }
    return []
  }
}

function toTiers<N extends Node>(nodes: readonly N[]): readonly (readonly N[])[] {
  const [first] = nodes
  if (first === undefined) return []
  const { priority, weight } = first.endpoint
  const isAlike = ({ endpoint }: N) => endpoint.priority === priority && endpoint.weight === weight
  if (nodes.every(isAlike)) return [nodes]

  const ordered = [...nodes].sort((a, b) => compareRank(a.endpoint, b.endpoint))
  const tiers: N[][] = []

  for (const node of ordered) {
    const tier = tiers.at(-1)
    if (tier !== undefined && compareRank(tier[0]!.endpoint, node.endpoint) === 0) tier.push(node)
    else tiers.push([node])
  }
  return tiers
}

function byZone<N extends Node>(nodes: readonly N[]): ReadonlyMap<string | undefined, readonly N[]> {
  const zones = new Map<string | undefined, N[]>()
  for (const node of nodes) {
    const { zone } = node.endpoint
    const there = zones.get(zone)
    if (there === undefined) zones.set(zone, [node])
    else there.push(node)
  }
  return zones
}

/** Negative when `a` is to be used before `b`, 0 when they are of one tier. */
export function compareRank(a: Endpoint, b: Endpoint): number {
  return a.priority - b.priority || Number(a.weight === 0) - Number(b.weight === 0)
}
