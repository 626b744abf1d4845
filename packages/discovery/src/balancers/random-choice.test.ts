import { expect, it } from 'vitest'
import type { Balancer } from '../balancer.js'
import { seeded, VirtualClock } from '../test-support.js'
import { randomChoice } from './random-choice.js'
import { countPicks, nodesOf } from './test-nodes.js'

const create = (random = seeded(7)): Balancer => randomChoice()({ random, clock: new VirtualClock() })

it('picks by weight', () => {
  const counts = countPicks(create(), nodesOf(1, 3), 10_000)

  expect(counts['b']! / counts['a']!).toBeGreaterThan(2.8)
  expect(counts['b']! / counts['a']!).toBeLessThan(3.2)
})

it.each([
  [0, 'a'],
  [0.249, 'a'],
  [0.25, 'b'],
  [1 - Number.EPSILON, 'b'],
])('draws %d: %s', (draw, id) => {
  expect(create(() => draw).pick(nodesOf(1, 3), {}).endpoint.id).toBe(id)
})
