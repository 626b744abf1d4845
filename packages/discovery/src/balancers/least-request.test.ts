import { expect, it } from 'vitest'
import type { Balancer } from '../balancer.js'
import { seeded, VirtualClock } from '../test-support.js'
import { leastRequest } from './least-request.js'
import { countPicks, nodesOf } from './test-nodes.js'

const create = (): Balancer => leastRequest()({ random: seeded(3), clock: new VirtualClock() })

it('picks the less busy of two', () => {
  const nodes = nodesOf(1, 1)
  nodes[0]!.inflight = 1

  expect(countPicks(create(), nodes, 100)).toEqual({ b: 100 })
})

it('never picks the busiest of many', () => {
  const nodes = nodesOf(1, 1, 1, 1)
  nodes[2]!.inflight = 9

  expect(countPicks(create(), nodes, 1_000)).not.toHaveProperty('c')
})

it('lets a heavier endpoint be busier', () => {
  const nodes = nodesOf(1, 4)
  nodes[1]!.inflight = 2
  expect(countPicks(create(), nodes, 100)).toEqual({ b: 100 })

  nodes[1]!.inflight = 4
  expect(countPicks(create(), nodes, 100)).toEqual({ a: 100 })
})

it('spreads idle endpoints by chance', () => {
  const counts = countPicks(create(), nodesOf(1, 1, 1), 3_000)

  for (const id of ['a', 'b', 'c']) expect(counts[id]).toBeGreaterThan(900)
})
