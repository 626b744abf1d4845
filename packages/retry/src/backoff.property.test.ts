import fc from 'fast-check'
import { expect, it } from 'vitest'
import { constant, exponential, type Jitter } from './backoff.js'

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

/** Each jitter written out by hand, one retry at a time. Fast-check prints the seed of a run that fails. */
const naive: Record<Jitter, (cap: number, base: number, max: number, previous: number, draw: number) => number> = {
  full: (cap, _base, _max, _previous, draw) => draw * cap,
  equal: (cap, _base, _max, _previous, draw) => cap / 2 + (draw * cap) / 2,
  decorrelated(_cap, base, max, previous, draw) {
    const from = Math.min(base, max)
    return from + draw * (Math.min(max, Math.max(3 * base, 3 * previous)) - from)
  },
  none: (cap) => cap,
}

it.each(Object.keys(naive) as Jitter[])('follows a naive model with %s jitter', (jitter) => {
  fc.assert(
    fc.property(
      fc.integer({ min: 0, max: 1_000 }),
      fc.integer({ min: 0, max: 100_000 }),
      fc.constantFrom(1, 1.5, 2, 3),
      fc.array(fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }), { minLength: 1, maxLength: 20 }),
      (base, max, factor, draws) => {
        const backoff = exponential({ base, max, factor, jitter })

        let grown = base
        let previous = 0
        for (const [retry, draw] of draws.entries()) {
          const delay = backoff(retry, previous, () => draw)
          expect(delay).toBeCloseTo(naive[jitter](Math.min(grown, max), base, max, previous, draw), 6)

          grown *= factor
          previous = delay
        }
      },
    ),
  )
})

it('is always the same with constant', () => {
  fc.assert(
    fc.property(duration, fc.nat(), duration, (delay, retry, previous) => {
      expect(constant(delay)(retry, previous, Math.random)).toBe(delay)
    }),
  )
})
