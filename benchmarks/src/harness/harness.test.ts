import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { missedTargets } from './cli.js'
import { compare } from './compare.js'
import { measure, orderOf, SMOKE } from './measure.js'
import { paired, spread } from './statistics.js'
import { calling, type Subject } from './subject.js'
import { table } from './table.js'

/** A subject whose calls take so many milliseconds of a clock that only subjects move. */
function taking(name: string, milliseconds: number): Subject {
  return {
    name,
    async run(calls) {
      now += calls * milliseconds
    },
  }
}

let now = 0

beforeEach(() => {
  now = 0
  vi.spyOn(performance, 'now').mockImplementation(() => now)
})

afterEach(() => {
  vi.restoreAllMocks()
})

describe('calling', () => {
  test.each(['sequential', { batch: 7 }] as const)('makes exactly so many calls (%o)', async (pattern) => {
    let calls = 0
    const subject = calling('counts', pattern, async () => ++calls > 0, true)

    await subject.run(23)

    expect(calls).toBe(23)
  })

  test.each(['sequential', { batch: 7 }] as const)('refuses a subject that answers wrongly (%o)', async (pattern) => {
    let calls = 0
    const subject = calling('errs', pattern, async () => ++calls % 10, 1)

    await expect(subject.run(23)).rejects.toThrow('errs: 20 of 23 calls did not answer 1')
  })
})

test('the median of an even number of samples lies between the middle two', () => {
  expect(spread([4, 1, 3, 2])).toEqual({ min: 1, median: 2.5, max: 4 })
  expect(spread([3, 1, 2])).toEqual({ min: 1, median: 2, max: 3 })
  expect(paired([6, 8], [2, 4], (a, b) => a / b)).toEqual([3, 2])
})

test('every subject comes first, and last, in some round', () => {
  const rounds = [0, 1, 2, 3, 4, 5].map((round) => orderOf(round, ['a', 'b', 'c']))

  expect(new Set(rounds.map((order) => order[0]))).toEqual(new Set(['a', 'b', 'c']))
  expect(new Set(rounds.map((order) => order[2]))).toEqual(new Set(['a', 'b', 'c']))
})

test('measures the time of one call', async () => {
  const subject = taking('slow', 2)

  const samples = (await measure([subject], SMOKE)).get(subject)

  expect(samples).toEqual([2e6])
})

test('compares what each subject adds to the bare work', async () => {
  const contest = {
    title: 'Work',
    bare: taking('bare', 1),
    ours: taking('ours', 2),
    peers: [
      { ...taking('slow', 3), target: 0.9 },
      { ...taking('quick', 1.5), target: 0.9 },
    ],
  }

  const comparison = await compare(contest, { ...SMOKE, rounds: 3 })

  const [bare, ours, slow, quick] = comparison.rows
  expect(bare).not.toHaveProperty('added')
  expect(ours).toMatchObject({ amount: { median: 2e6 }, added: { median: 1e6 } })
  expect(slow).toMatchObject({ ratio: { median: 0.5 }, target: { reached: true } })
  expect(quick).toMatchObject({ ratio: { median: 2 }, target: { reached: false } })
  expect(missedTargets([comparison])).toEqual(['Work: 2.000 of quick, target 0.9'])
  expect(table(comparison)).toContain('| **ours** |')
})
