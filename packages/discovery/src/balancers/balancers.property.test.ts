import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { seeded, VirtualClock } from '../test-support.js'
import { consistentHash } from './consistent-hash.js'
import { leastRequest } from './least-request.js'
import { peakEwma } from './peak-ewma.js'
import { randomChoice } from './random-choice.js'
import { roundRobin } from './round-robin.js'
import { firstIndex, secondIndex } from './sample-pair.js'
import { countPicks, nodesOf } from './test-nodes.js'

const weights = fc.array(fc.integer({ min: 0, max: 20 }), { minLength: 1, maxLength: 12 })

describe.each([
  ['roundRobin', roundRobin],
  ['randomChoice', randomChoice],
  ['leastRequest', leastRequest],
  ['peakEwma', peakEwma],
  ['consistentHash', consistentHash],
])('%s', (_, factory) => {
  it('picks one of those it is offered, whatever it learned from others', () => {
    const step = fc.record({
      offered: fc.array(fc.nat(11), { minLength: 1 }),
      outcome: fc.constantFrom('success', 'failure', 'cancelled'),
      latency: fc.nat(10_000),
      passed: fc.nat(20_000),
    })

    fc.assert(
      fc.property(weights, fc.array(step, { maxLength: 40 }), fc.integer(), (weighted, steps, seed) => {
        const clock = new VirtualClock()
        const balancer = factory()({ random: seeded(seed), clock })
        const nodes = nodesOf(...weighted)

        for (const { offered, outcome, latency, passed } of steps) {
          const some = [...new Set(offered.map((index) => nodes[index % nodes.length]!))]
          const node = balancer.pick(some, passed % 2 === 0 ? {} : { hashKey: String(latency) })
          expect(some).toContain(node)

          clock.advance(passed)
          balancer.settle?.(node, { outcome, latency, retryAfter: 0 })
        }
      }),
    )
  })
})

describe('roundRobin', () => {
  it('gives each exactly its weight in every full turn', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 20 }), { minLength: 1, maxLength: 8 }), (weighted) => {
        const balancer = roundRobin()({ random: seeded(1), clock: new VirtualClock() })
        const nodes = nodesOf(...weighted)
        const turn = weighted.reduce((sum, weight) => sum + weight, 0)
        const uniform = weighted.every((weight) => weight === weighted[0])

        const counts = countPicks(balancer, nodes, turn)

        const expected = Object.fromEntries(nodes.map(({ endpoint }) => [endpoint.id, endpoint.weight]))
        expect(counts).toEqual(uniform ? expect.objectContaining(expected) : expected)
      }),
    )
  })
})

describe('a draw', () => {
  it('has two different indices, and every pair alike', () => {
    const random = seeded(5)
    const counts = new Map<string, number>()
    for (let index = 0; index < 12_000; index++) {
      const draw = random() * 3
      const [first, second] = [firstIndex(draw), secondIndex(draw, 3)]
      expect(first).not.toBe(second)
      counts.set(`${first}${second}`, (counts.get(`${first}${second}`) ?? 0) + 1)
    }

    expect(counts.size).toBe(6)
    for (const count of counts.values()) expect(Math.abs(count - 2_000)).toBeLessThan(200)
  })

  it('has the only one twice', () => {
    expect([0, 0.5, 0.999].map((draw) => secondIndex(draw, 1))).toEqual([0, 0, 0])
  })
})
