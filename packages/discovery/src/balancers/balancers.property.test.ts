import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { seeded, VirtualClock } from '../test-support.js'
import { consistentHash } from './consistent-hash.js'
import { leastRequest } from './least-request.js'
import { peakEwma } from './peak-ewma.js'
import { randomChoice } from './random-choice.js'
import { roundRobin } from './round-robin.js'
import { firstIndex, secondIndex } from './sample-pair.js'
import { answer, countPicks, nodesOf, type TestNode } from './test-nodes.js'

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

describe('peakEwma', () => {
  /** The algorithm as it is written down: a number per thing that is known of a node, no approximation, no order of lists. */
  class Formula {
    readonly known = new Map<TestNode, { cost?: number; stamp: number; lastPick: number; serial: number }>()
    picks = 0

    of(node: TestNode, now: number) {
      const history = this.known.get(node) ?? { stamp: now, lastPick: now, serial: this.picks }
      this.known.set(node, history)
      return history
    }

    average(node: TestNode, now: number): number {
      const { cost = 0, stamp } = this.of(node, now)
      return cost * Math.exp((stamp - now) / 10_000)
    }

    /** Who may be picked of two: both when rounding decides. */
    choices(first: TestNode, second: TestNode, now: number): readonly TestNode[] {
      const [a, b] = [this.of(first, now), this.of(second, now)]
      const share = (node: TestNode) => (node.inflight + 1) / (node.weight || 1)
      const isOut = (node: TestNode) => this.of(node, now).cost === undefined && node.inflight > 0
      let loads = [first, second].map((node) => this.average(node, now) * share(node)) as [number, number]
      if (isOut(first) || isOut(second)) {
        loads = [first, second].map((node) => (isOut(node) ? share(node) : -1)) as [number, number]
      }

      const [x, y] = loads
      if (x !== y && Math.abs(x - y) <= 1e-7 * Math.max(x, y)) return [first, second]
      const [winner, loser, lost] = x <= y ? [first, second, b] : [second, first, a]
      const forgotten = now - lost.lastPick > 3_000 && lost.cost !== undefined && this.picks - lost.serial >= 20
      return [forgotten ? loser : winner]
    }

    picked(node: TestNode, now: number): void {
      Object.assign(this.of(node, now), { lastPick: now, serial: ++this.picks })
    }

    settle(node: TestNode, outcome: string, latency: number, now: number): void {
      const history = this.of(node, now)
      const average = this.average(node, now)
      if (outcome === 'cancelled' && latency <= average) return

      const cost = outcome === 'failure' ? Math.max(latency, 5_000) : latency
      const memory = Math.exp((history.stamp - now) / 10_000)
      const isPeak = history.cost === undefined || cost > average
      history.cost = isPeak ? cost : cost + (history.cost! - cost) * memory
      history.stamp = now
    }
  }

  it('picks by its formula, whichever lists it is offered and whoever else keeps notes of the nodes', () => {
    const step = fc.record({
      list: fc.nat(2),
      copied: fc.boolean(),
      picks: fc.integer({ min: 1, max: 30 }),
      outcome: fc.constantFrom('success', 'success', 'failure', 'cancelled'),
      latency: fc.nat(200_000).map((microseconds) => microseconds / 1_000),
      passed: fc.oneof(
        fc.nat(5_000).map((microseconds) => microseconds / 1_000),
        fc.nat(8_000),
      ),
      inflight: fc.nat(3),
      other: fc.boolean(),
    } as const)
    let pairs = 0

    fc.assert(
      fc.property(weights, fc.array(step, { minLength: 5, maxLength: 40 }), fc.integer(), (weighted, steps, seed) => {
        const clock = new VirtualClock()
        let draw = 0
        const random = seeded(seed)
        const balancer = peakEwma()({ random: () => (draw = random()), clock })
        const other = peakEwma()({ random: seeded(seed), clock })
        const formula = new Formula()
        const nodes = nodesOf(...weighted)
        const lists = [nodes, nodes.filter((_, index) => index % 2 === 0), [...nodes].reverse()]

        for (const { list, copied, picks, outcome, latency, passed, inflight, other: another } of steps) {
          const offered = copied ? [...lists[list]!] : lists[list]!
          if (another) answer(other, other.pick(offered, {}), latency)

          for (let pick = 0; pick < picks; pick++) {
            const node = balancer.pick(offered, {}) as TestNode
            const now = clock.now()
            const at = draw * offered.length
            const first = offered[firstIndex(at)]!
            const second = offered[secondIndex(at, offered.length)]!
            expect(formula.choices(first, second, now)).toContain(node)
            formula.picked(node, now)
            pairs++

            node.inflight = inflight
            clock.advance(passed / picks)
            answer(balancer, node, latency + pick, outcome)
            formula.settle(node, outcome, latency + pick, clock.now())
          }
        }
      }),
    )
    expect(pairs).toBeGreaterThan(1_000)
  })

  it('knows a node whose notes were written over', () => {
    const balancer = peakEwma()({ random: seeded(1), clock: new VirtualClock() })
    const [a, b] = nodesOf(1, 1)
    const list = [a!, b!]
    answer(balancer, a!, 10)
    answer(balancer, b!, 20)
    expect(countPicks(balancer, list, 30)).toEqual({ a: 30 })

    a!.notes = b!.notes
    answer(balancer, a!, 1_000)

    expect(countPicks(balancer, list, 30)).toEqual({ b: 30 })
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
