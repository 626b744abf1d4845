import type { BalancerFactory } from '../balancer.js'
import { weightOf } from '../balancer.js'

/** Anyone, by weight. Needs no memory; with few requests it spreads them less evenly than `roundRobin`. */
export function randomChoice(): BalancerFactory {
  return function createRandomChoice({ random }) {
    return {
      pick(nodes) {
        let total = 0
        for (const node of nodes) total += weightOf(node)

        let ticket = random() * total
        for (const node of nodes) {
          ticket -= weightOf(node)
          if (ticket < 0) return node
        }
        return nodes.at(-1)! // rounding left a crumb; nodes are never empty
      },
    }
  }
}
