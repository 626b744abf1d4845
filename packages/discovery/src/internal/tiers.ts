import type { Node, PickOptions } from '../balancer.js'
import type { Endpoint } from '../endpoint.js'

/**
 * The endpoints of a snapshot in the order in which they may be used: by priority, and within one priority those without
 * weight after the others. A later tier is used only when the ones before have nobody left.
 */
export type Tiers<N extends Node> = readonly (readonly N[])[]

export function toTiers<N extends Node>(nodes: readonly N[]): Tiers<N> {
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

/** Who may be picked: the first tier with somebody allowed, narrowed to the zone if it has any. Empty when nobody is. */
export function candidates<N extends Node>(tiers: Tiers<N>, options: PickOptions): readonly N[] {
  const { exclude, zone } = options

  for (const tier of tiers) {
    const allowed = exclude === undefined ? tier : tier.filter((node) => !exclude.has(node.endpoint.id))
    if (allowed.length === 0) continue
    if (zone === undefined) return allowed

    const near = allowed.filter((node) => node.endpoint.zone === zone)
    return near.length > 0 ? near : allowed
  }
  return []
}

/** Negative when `a` is to be used before `b`, 0 when they are of one tier. */
export function compareRank(a: Endpoint, b: Endpoint): number {
  return a.priority - b.priority || Number(a.weight === 0) - Number(b.weight === 0)
}
