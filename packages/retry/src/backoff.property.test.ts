import fc from 'fast-check'
import { expect, it } from 'vitest'
import { exponential } from './backoff.js'

const duration = fc.integer({ min: 0, max: 2 ** 31 - 1 })

it('never leaves [0, max], whatever the jitter, the options and the number of retries', () => {
  fc.assert(
    fc.property(
      fc.record({
        base: duration,
        max: duration,
        factor: fc.double({ min: 1, max: 1e6, noNaN: true }),
        jitter: fc.constantFrom('full' as const, 'equal' as const, 'decorrelated' as const, 'none' as const),
      }),
      fc.array(fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }), { minLength: 1, maxLength: 30 }),
      fc.nat(10_000),
      (options, draws, firstRetry) => {
        const backoff = exponential(options)

        let previous = 0
        for (const [index, draw] of draws.entries()) {
          const delay = backoff(firstRetry + index, previous, () => draw)
          expect(delay).toBeGreaterThanOrEqual(0)
          expect(delay).toBeLessThanOrEqual(options.max)
          previous = delay
        }
      },
    ),
  )
})

it('never waits less than the base with decorrelated jitter, where the cap allows it', () => {
  fc.assert(
    fc.property(
      duration,
      duration,
      fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
      (base, max, draw) => {
        const delay = exponential({ base, max, jitter: 'decorrelated' })(3, base, () => draw)

        expect(delay).toBeGreaterThanOrEqual(Math.min(base, max))
      },
    ),
  )
})
