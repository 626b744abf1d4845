import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { Balancer, Node } from '../balancer.js'
import { seeded, VirtualClock } from '../test-support.js'
import { consistentHash } from './consistent-hash.js'
import { countPicks, nodesOf } from './test-nodes.js'

const KEYS = Array.from({ length: 20_000 }, (_, index) => `cart-${index}`)

const create = () => consistentHash()({ random: seeded(1), clock: new VirtualClock() })

const homes = (balancer: Balancer, nodes: readonly Node[], keys: readonly string[] = KEYS) =>
  new Map(keys.map((hashKey) => [hashKey, balancer.pick(nodes, { hashKey }).endpoint.id]))

function sharesOf(picked: Map<string, string>): Record<string, number> {
  const counts: Record<string, number> = {}
  for (const id of picked.values()) counts[id] = (counts[id] ?? 0) + 1 / picked.size
  return counts
}

describe('consistentHash', () => {
  it('sends a key to the same endpoint each time, from every process, in whatever order the endpoints come', () => {
    const nodes = nodesOf(1, 1, 1, 1, 1)

    const here = homes(create(), nodes)
    const there = homes(create(), [...nodes].reverse())

    expect(there).toEqual(here)
    // Fixed for ever: an upgrade that changed this would move every session.
    expect([...here.values()].slice(0, 8).join(' ')).toMatchInlineSnapshot(`"c e b b e b b b"`)
  })

  it('gives each endpoint its weight', () => {
    const shares = sharesOf(homes(create(), nodesOf(1, 2, 5)))

    expect(shares['a']).toBeCloseTo(1 / 8, 1.7)
    expect(shares['b']).toBeCloseTo(2 / 8, 1.7)
    expect(shares['c']).toBeCloseTo(5 / 8, 1.7)
  })

  it('gives equal endpoints equal shares', () => {
    for (const share of Object.values(sharesOf(homes(create(), nodesOf(...Array(10).fill(1)))))) {
      expect(Math.abs(share - 0.1)).toBeLessThan(0.01)
    }
  })

  it('moves only the keys of the endpoint that leaves, and gives a newcomer only what is its own', () => {
    const weights = fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 2, maxLength: 9 })

    fc.assert(
      fc.property(weights, fc.nat(), (weighted, choice) => {
        const nodes = nodesOf(...weighted)
        const one = nodes[choice % nodes.length]!
        const others = nodes.filter((node) => node !== one)
        const keys = KEYS.slice(0, 300)

        const withAll = homes(create(), nodes, keys)
        const without = homes(create(), others, keys)

        for (const [key, home] of withAll) if (home !== one.endpoint.id) expect(without.get(key)).toBe(home)
      }),
    )
  })

  it('ignores weights that all have in common', () => {
    expect(homes(create(), nodesOf(3, 3, 3))).toEqual(homes(create(), nodesOf(1, 1, 1)))
  })

  it('spreads picks without a key', () => {
    const counts = countPicks(create(), nodesOf(1, 3), 4_000)

    expect(counts['b']! / counts['a']!).toBeGreaterThan(2.5)
    expect(counts['b']! / counts['a']!).toBeLessThan(3.5)
  })
})
