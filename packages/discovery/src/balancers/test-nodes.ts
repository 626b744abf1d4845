import type { Balancer, Node, Outcome } from '../balancer.js'
import { toEndpoint } from '../endpoint.js'
import { endpoint } from '../test-support.js'

/** A node whose load a test can set. */
export interface TestNode extends Node {
  inflight: number
}

/** Nodes a, b, c … of these weights. */
export function nodesOf(...weights: number[]): TestNode[] {
  return weights.map((weight, index) => ({
    endpoint: toEndpoint(endpoint(String.fromCharCode(97 + index), { weight })),
    inflight: 0,
    weight,
  }))
}

/** How often each is picked. */
export function countPicks(balancer: Balancer, nodes: readonly Node[], picks: number): Record<string, number> {
  const counts: Record<string, number> = {}
  for (let index = 0; index < picks; index++) {
    const { id } = balancer.pick(nodes, {}).endpoint
    counts[id] = (counts[id] ?? 0) + 1
  }
  return counts
}

/** Tells a balancer of a finished request. */
export function answer(
  balancer: Balancer,
  node: Node,
  latency: number,
  outcome: Outcome = 'success',
  retryAfter = 0,
): void {
  balancer.settle?.(node, { outcome, latency, retryAfter })
}
