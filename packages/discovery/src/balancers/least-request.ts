import type { BalancerFactory, Node } from '../balancer.js'
import { weightOf } from '../balancer.js'
import { firstIndex, secondIndex } from './sample-pair.js'

/**
 * Of two endpoints drawn at random, the one with fewer requests in flight for its weight. Two draws come close to looking
 * at all of them, and many clients do not storm the same idle endpoint (Mitzenmacher, "The Power of Two Choices in
 * Randomized Load Balancing").
 */
export function leastRequest(): BalancerFactory {
  return function createLeastRequest({ random }) {
    return {
      pick(nodes) {
        const draw = random() * nodes.length
        const first = nodes[firstIndex(draw)]! // random() is below 1
        const second = nodes[secondIndex(draw, nodes.length)]!
        return load(second) < load(first) ? second : first
      },
    }
  }
}

function load(node: Node): number {
  return (node.inflight + 1) / weightOf(node)
}
