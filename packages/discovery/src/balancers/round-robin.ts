import type { Balancer, BalancerFactory, Node } from '../balancer.js'
import { weightOf } from '../balancer.js'

/**
 * Everyone in turn. With weights, each gets its share spread evenly rather than in bursts (the smooth weighted round robin
 * of nginx): weights 5, 1, 1 give a a b a c a a.
 */
export function roundRobin(): BalancerFactory {
  return function createRoundRobin() {
    return new RoundRobin()
  }
}

class RoundRobin implements Balancer {
  #turn = 0
  #credit = new WeakMap<Node, number>()
  #seen: readonly Node[] | undefined
  #uniform = true

  pick(nodes: readonly Node[]): Node {
    if (nodes !== this.#seen) {
      this.#seen = nodes
      this.#uniform = nodes.every((node) => weightOf(node) === weightOf(nodes[0]!))
    }
    if (!this.#uniform) return this.#pickSmoothly(nodes)

    const turn = this.#turn < nodes.length ? this.#turn : 0
    this.#turn = turn + 1
    return nodes[turn]! // nodes are never empty
  }

  /** Everybody earns their weight, the richest is picked and pays the sum. */
  #pickSmoothly(nodes: readonly Node[]): Node {
    let best = nodes[0]!
    let bestCredit = Number.NEGATIVE_INFINITY
    let total = 0

    for (const node of nodes) {
      const weight = weightOf(node)
      const credit = (this.#credit.get(node) ?? 0) + weight
      this.#credit.set(node, credit)
      total += weight

      if (credit > bestCredit) {
        best = node
        bestCredit = credit
      }
    }

    this.#credit.set(best, bestCredit - total)
    return best
  }
}
