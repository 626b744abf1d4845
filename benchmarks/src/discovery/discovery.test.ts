import { describe, expect, test } from 'vitest'
import { type Comparison, SMOKE } from '../harness/index.js'
import { BENCHMARKS } from './index.js'

describe.each(BENCHMARKS)('$name', ({ run }) => {
  test('measures every subject', { timeout: 60_000 }, async () => {
    const comparisons: Comparison[] = []
    for await (const comparison of run(SMOKE)) comparisons.push(comparison)

    expect(comparisons.length).toBeGreaterThan(0)
    for (const { rows } of comparisons) {
      expect(rows.filter(({ role }) => role === 'ours')).toHaveLength(1)
      for (const { amount } of rows) expect(amount.median).toEqual(expect.any(Number))
    }
    expect(comparisons.flatMap(({ rows }) => rows).some(({ target }) => target?.kind === 'target')).toBe(true)
  })
})
