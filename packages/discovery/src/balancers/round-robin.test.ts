import { expect, it } from 'vitest'
import type { Balancer } from '../balancer.js'
import { seeded, VirtualClock } from '../test-support.js'
import { roundRobin } from './round-robin.js'
import { countPicks, nodesOf } from './test-nodes.js'

const create = (): Balancer => roundRobin()({ random: seeded(1), clock: new VirtualClock() })
const sequence = (balancer: Balancer, nodes: ReturnType<typeof nodesOf>, picks: number) =>
  Array.from({ length: picks }, () => balancer.pick(nodes, {}).endpoint.id).join('')

it('takes everyone in turn', () => {
  expect(sequence(create(), nodesOf(1, 1, 1), 7)).toBe('abcabca')
})

it('spreads weights evenly instead of in bursts', () => {
  expect(sequence(create(), nodesOf(5, 1, 1), 14)).toBe('aabacaaaabacaa')
})

it('treats endpoints without weight as equals', () => {
  expect(sequence(create(), nodesOf(0, 0), 4)).toBe('abab')
})

it('goes on when the endpoints change', () => {
  const balancer = create()
  const [a, b, c] = nodesOf(1, 1, 1)
  countPicks(balancer, [a!, b!, c!], 5)

  expect(countPicks(balancer, [a!, c!], 10)).toEqual({ a: 5, c: 5 })
})
