import type { Balancer, BalancerFactory, Node, PickOptions } from '../balancer.js'
import { weightOf } from '../balancer.js'
import { randomChoice } from './random-choice.js'

/*
 * Weighted rendezvous hashing: every endpoint draws a number that depends on the key and on its own id, and the highest
 * wins. An endpoint that leaves gives its keys to the others and moves no other key; one that joins takes its share and
 * nothing else; `exclude` gives the second choice, always the same one. A ring does this only on average, and needs
 * hundreds of points per endpoint to be as even.
 *
 * - D. G. Thaler, C. V. Ravishankar: Using Name-Based Mappings to Increase Hit Rates. IEEE/ACM ToN 6(1), 1998.
 * - C. Schindelhauer, G. Schomaker: Weighted Distributed Hash Tables. SPAA 2005 (the logarithm below).
 */

/**
 * The same endpoint for the same `hashKey`, for caches and sessions that live in an instance. Endpoints that come and go
 * move only the keys that must move. A pick without a `hashKey` is a random one, by weight.
 *
 * @example
 * ```ts
 * discovery.service('carts').pick({ hashKey: cartId })
 * ```
 */
export function consistentHash(): BalancerFactory {
  return function createConsistentHash(context) {
    return new ConsistentHash(randomChoice()(context))
  }
}

class ConsistentHash implements Balancer {
  readonly #withoutKey: Balancer
  readonly #hashes = new WeakMap<Node, number>()
  #seen: readonly Node[] | undefined
  #uniform = true

  constructor(withoutKey: Balancer) {
    this.#withoutKey = withoutKey
  }

  pick(nodes: readonly Node[], options: PickOptions): Node {
    const { hashKey } = options
    if (hashKey === undefined) return this.#withoutKey.pick(nodes, options)

    if (nodes !== this.#seen) {
      this.#seen = nodes
      this.#uniform = nodes.every((node) => weightOf(node) === weightOf(nodes[0]!)) // nodes are never empty
    }

    const key = hash(hashKey)
    let best = nodes[0]!
    let bestScore = Number.NEGATIVE_INFINITY

    for (const node of nodes) {
      const draw = mix(key ^ this.#hashOf(node))
      const score = this.#uniform ? draw : weighted(draw, weightOf(node))
      if (score < bestScore || (score === bestScore && node.endpoint.id > best.endpoint.id)) continue

      best = node
      bestScore = score
    }
    return best
  }

  /** A node keeps its id for life. */
  #hashOf(node: Node): number {
    const known = this.#hashes.get(node)
    if (known !== undefined) return known

    const computed = mix(hash(node.endpoint.id) ^ 0x9e3779b9) // else an endpoint and a key of the same name would cancel out
    this.#hashes.set(node, computed)
    return computed
  }
}

/** FNV-1a over UTF-16 units, 32 bits: the same in every process and on every machine, which is the point. */
function hash(text: string): number {
  let state = 0x811c9dc5
  for (let index = 0; index < text.length; index++) state = Math.imul(state ^ text.charCodeAt(index), 0x01000193)
  return mix(state)
}

/** The finaliser of MurmurHash3: each bit of the input moves every bit of the result. 0 to 2^32-1. */
function mix(value: number): number {
  let state = value ^ (value >>> 16)
  state = Math.imul(state, 0x85ebca6b)
  state = Math.imul(state ^ (state >>> 13), 0xc2b2ae35)
  return (state ^ (state >>> 16)) >>> 0
}

/** A draw, 0 to 2^32-1, as the score of an endpoint of this weight: the chance to be the highest is the weight's share. */
function weighted(draw: number, weight: number): number {
  return -weight / Math.log((draw + 0.5) / 2 ** 32)
}
