import fc from 'fast-check'
import { expect, test } from 'vitest'
import { LEVELS, LONGEST_WAIT, levelFor } from './levels.js'

test('rounds a delay up to the next level, from 1 s to 1 h', () => {
  expect([1, 1_000, 1_001, 30_000, 120_000, 3_600_000].map((delay) => levelFor('x', delay))).toEqual([
    1_000, 1_000, 2_000, 30_000, 120_000, 3_600_000,
  ])
  fc.assert(
    fc.property(fc.integer({ min: 1, max: LONGEST_WAIT }), (delay) => {
      const level = levelFor('x', delay)
      expect(level).toBeGreaterThanOrEqual(delay)
      expect(LEVELS.some((other) => other >= delay && other < level)).toBe(false)
    }),
  )
})

test('has a level for each default delay of a retry', () => {
  for (const delay of [1_000, 5_000, 30_000, 120_000]) expect(levelFor('x', delay)).toBe(delay)
})

test('refuses what is longer than the last', () => {
  expect(() => levelFor("publish 'a'", 3_600_001)).toThrow(
    expect.objectContaining({ code: 'MSX_DELAY_UNSUPPORTED', details: { delay: 3_600_001, longest: 3_600_000 } }),
  )
})
