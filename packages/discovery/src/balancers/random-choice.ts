import type { Balancer, BalancerFactory, Node } from '../balancer.js'
import { weightOf } from '../balancer.js'

/** Anyone, by weight. Needs no memory; with few requests it spreads them less evenly than `roundRobin`. */
export function randomChoice(): BalancerFactory {
  return function createRandomChoice({ random }) {
    return new RandomChoice(random)
  }
}

class RandomChoice implements Balancer {
  readonly #random: () => number
  #seen: readonly Node[] | undefined
  /** Up to and including each node, the sum of the weights. */
  #sums: readonly number[] = []

  constructor(random: () => number) {
    this.#random = random
  }

  pick(nodes: readonly Node[]): Node {
    if (nodes !== this.#seen) {
      this.#sums = runningSums(nodes)
      this.#seen = nodes
    }

    const ticket = this.#random() * this.#sums.at(-1)! // nodes are never empty
    return nodes[firstAbove(this.#sums, ticket)]!
  }
}

function runningSums(nodes: readonly Node[]): number[] {
  let sum = 0
  return nodes.map((node) => {
    sum += weightOf(node)
    return sum
  })
}

/** The first of these ascending sums that is above the ticket; the last one if rounding left none. */
function firstAbove(sums: readonly number[], ticket: number): number {
  let low = 0
  let high = sums.length - 1

  while (low < high) {
    const middle = (low + high) >> 1
    if (sums[middle]! > ticket) high = middle
    else low = middle + 1
  }
  return low
}
