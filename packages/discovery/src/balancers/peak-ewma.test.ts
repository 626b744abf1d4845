import { beforeEach, describe, expect, it } from 'vitest'
import type { Balancer } from '../balancer.js'
import { seeded, VirtualClock } from '../test-support.js'
import { type PeakEwmaOptions, peakEwma } from './peak-ewma.js'
import { answer, countPicks, nodesOf, type TestNode } from './test-nodes.js'

let clock: VirtualClock
let balancer: Balancer
let nodes: TestNode[]
let a: TestNode
let b: TestNode

function start(options?: PeakEwmaOptions): void {
  clock = new VirtualClock()
  balancer = peakEwma(options)({ random: seeded(11), clock })
  nodes = nodesOf(1, 1)
  ;[a, b] = nodes as [TestNode, TestNode]
}

/** Both have answered: a in 10 ms, b in 20 ms. */
function bothProven(): void {
  answer(balancer, a, 10)
  answer(balancer, b, 20)
}

beforeEach(() => start())

describe('peakEwma', () => {
  it.each([
    ['decay', 0],
    ['decay', -1],
    ['decay', Number.NaN],
    ['penalty', Number.POSITIVE_INFINITY],
  ])('refuses %s: %d', (option, value) => {
    expect(() => peakEwma({ [option]: value })).toThrow(new RegExp(`^${option} must be`))
  })

  it('picks the faster', () => {
    bothProven()

    expect(countPicks(balancer, nodes, 50)).toEqual({ a: 50 })
  })

  it('does not take what another balancer learned of the same nodes for its own', () => {
    bothProven()
    const other = peakEwma()({ random: seeded(3), clock })
    answer(other, a, 20)
    answer(other, b, 10)

    expect(countPicks(other, nodes, 50)).toEqual({ b: 50 })
  })

  it('compares what was learned at different times as both have faded by now', () => {
    start({ decay: 1_000 })
    answer(balancer, a, 100)
    clock.advance(2_000)
    answer(balancer, b, 20)
    expect(countPicks(balancer, nodes, 10)).toEqual({ a: 10 }) // 100 / e^2 = 13.5

    start({ decay: 1_000 })
    answer(balancer, b, 20)
    clock.advance(1_000)
    answer(balancer, a, 8)
    expect(countPicks(balancer, nodes, 10)).toEqual({ b: 10 }) // 20 / e = 7.4
    clock.advance(5_000)
    expect(countPicks(balancer, nodes, 10)).toEqual({ b: 10 }) // both alike, however late it is

    start({ decay: 1 })
    answer(balancer, a, 1_000)
    clock.advance(100_000)
    answer(balancer, b, 0.001)
    expect(countPicks(balancer, nodes, 10)).toEqual({ a: 10 }) // nothing is left of it
  })

  it('weighs latency against requests in flight', () => {
    bothProven()

    a.inflight = 2
    expect(countPicks(balancer, nodes, 1)).toEqual({ b: 1 })
    b.inflight = 1
    expect(countPicks(balancer, nodes, 1)).toEqual({ a: 1 })
  })

  it('lets a heavier endpoint be slower', () => {
    const heavy = nodesOf(1, 4)
    answer(balancer, heavy[0]!, 10)
    answer(balancer, heavy[1]!, 30)

    expect(countPicks(balancer, heavy, 50)).toEqual({ b: 50 })
  })

  it('believes a peak at once and good news slowly', () => {
    bothProven()
    answer(balancer, a, 500)
    expect(countPicks(balancer, nodes, 10)).toEqual({ b: 10 })

    clock.advance(100)
    answer(balancer, a, 10)

    expect(countPicks(balancer, nodes, 10)).toEqual({ b: 10 })
  })

  it('forgets a peak over the decay', () => {
    start({ decay: 1_000 })
    bothProven()
    answer(balancer, a, 500)

    for (let second = 0; second < 6; second++) {
      clock.advance(1_000)
      answer(balancer, a, 10)
      answer(balancer, b, 20)
    }

    expect(countPicks(balancer, nodes, 10)).toEqual({ a: 10 })
  })

  it('does not take an endpoint that fails fast for a fast one', () => {
    bothProven()
    answer(balancer, a, 1, 'failure')

    expect(countPicks(balancer, nodes, 19)).toEqual({ b: 19 })
  })

  it('counts a Retry-After, up to five minutes', () => {
    start({ penalty: 0 })
    bothProven()
    answer(balancer, a, 1, 'failure', 60_000)
    answer(balancer, b, 1_000)

    clock.advance(30_000)
    answer(balancer, b, 1_000)
    expect(countPicks(balancer, nodes, 100)).toEqual({ b: 100 })

    answer(balancer, a, 1, 'failure', Number.MAX_SAFE_INTEGER)
    clock.advance(300_001)
    answer(balancer, b, 1_000)
    expect(countPicks(balancer, nodes, 100)).toHaveProperty('a')
  })

  it('takes a cancelled request for a lower bound: it can only make an endpoint look slower', () => {
    answer(balancer, a, 100)
    answer(balancer, b, 60)

    answer(balancer, a, 1, 'cancelled')
    expect(countPicks(balancer, nodes, 10)).toEqual({ b: 10 })

    answer(balancer, b, 5_000, 'cancelled')
    expect(countPicks(balancer, nodes, 10)).toEqual({ a: 10 })
  })

  it('probes an endpoint without history by one request at a time', () => {
    answer(balancer, a, 10)

    expect(countPicks(balancer, nodes, 1)).toEqual({ b: 1 })
    b.inflight = 1
    expect(countPicks(balancer, nodes, 15)).toEqual({ a: 15 })

    b.inflight = 0
    answer(balancer, b, 5)
    expect(countPicks(balancer, nodes, 15)).toEqual({ b: 15 })
  })

  it('spreads over endpoints none of which has answered yet', () => {
    const counts: Record<string, number> = {}
    for (let index = 0; index < 100; index++) {
      const node = balancer.pick(nodes, {}) as TestNode
      node.inflight++
      counts[node.endpoint.id] = (counts[node.endpoint.id] ?? 0) + 1
    }

    expect(counts).toEqual({ a: 50, b: 50 })
  })

  it('takes an answer in no time for an answer', () => {
    answer(balancer, a, 0)
    a.inflight = 5
    answer(balancer, b, 10)

    expect(countPicks(balancer, nodes, 15)).toEqual({ a: 15 })
  })

  it('tries a slow endpoint again, after 3 s and 20 picks, once', () => {
    answer(balancer, a, 1)
    answer(balancer, b, 1_000)
    countPicks(balancer, nodes, 19)
    expect(countPicks(balancer, nodes, 1)).toEqual({ a: 1 })

    clock.advance(3_001)
    answer(balancer, a, 1)

    expect(countPicks(balancer, nodes, 1)).toEqual({ b: 1 })
    expect(countPicks(balancer, nodes, 30)).toEqual({ a: 30 })
  })

  it('spends at most one pick in 20 on that, however little traffic there is', () => {
    answer(balancer, a, 1)
    answer(balancer, b, 1, 'failure')
    const counts: Record<string, number> = { a: 0, b: 0 }

    for (let second = 0; second < 60; second++) {
      clock.advance(1_000)
      const node = balancer.pick(nodes, {})
      counts[node.endpoint.id]!++
      answer(balancer, node, 1, node === b ? 'failure' : 'success')
    }

    expect(counts['b']).toBeGreaterThan(0)
    expect(counts['b']).toBeLessThanOrEqual(3)
  })

  it('sends a slow endpoint a small share, and all back once it is fast again', () => {
    let slow = 200
    const share = (picks: number) => {
      let toB = 0
      for (let index = 0; index < picks; index++) {
        const node = balancer.pick(nodes, {})
        const latency = node === b ? slow : 10
        clock.advance(latency)
        answer(balancer, node, latency)
        if (node === b) toB++
      }
      return toB / picks
    }
    share(20)

    expect(share(1_000)).toBeLessThan(0.06)
    slow = 5
    share(6_000)
    expect(share(500)).toBeGreaterThan(0.5)
  })
})
