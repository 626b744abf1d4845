import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { circuitBreaker } from './circuit-breaker.js'
import { MAX_DURATION } from './internal/validate.js'
import { nextOpening, openFor, parseOpenDuration, withHint } from './open-duration.js'
import { VirtualClock } from './test-support.js'

const options = fc.record({
  base: fc.integer({ min: 0, max: MAX_DURATION }),
  max: fc.integer({ min: 0, max: MAX_DURATION }),
  factor: fc.double({ min: 1, max: 1e6, noNaN: true }),
  jitter: fc.double({ min: 0, max: 1, noNaN: true }),
})
const random = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true })
const opening = fc.integer({ min: 1, max: 1_000_000 })

describe('the open duration', () => {
  it('is a duration after any number of openings', () =>
    fc.assert(
      fc.property(options, opening, random, (value, n, r) => {
        const ms = openFor(value, n, () => r)

        expect(ms).toBeGreaterThanOrEqual(0)
        expect(ms).toBeLessThanOrEqual(MAX_DURATION)
      }),
    ))

  it('stays within the jitter around the capped growth', () =>
    fc.assert(
      fc.property(options, opening, random, ({ base, max, factor, jitter }, n, r) => {
        const ms = openFor({ base, max, factor, jitter }, n, () => r)
        const middle = openFor({ base, max, factor, jitter: 0 }, n, () => r)

        expect(middle).toBeLessThanOrEqual(max)
        expect(ms).toBeGreaterThanOrEqual(middle * (1 - jitter) - 1e-6)
        expect(ms).toBeLessThanOrEqual(middle * (1 + jitter) + 1e-6)
      }),
    ))

  it('grows by the factor up to the cap', () => {
    const value = parseOpenDuration({ base: 1_000, factor: 3, max: 20_000 })

    const durations = [1, 2, 3, 4, 5].map((n) => openFor(value, n, Math.random))

    expect(durations).toEqual([1_000, 3_000, 9_000, 20_000, 20_000])
  })

  it('stays the same when given as a number', () => {
    const value = parseOpenDuration(1_000)

    expect([1, 2, 30].map((n) => openFor(value, n, Math.random))).toEqual([1_000, 1_000, 1_000])
  })

  it('caps at five minutes unless the base is longer', () => {
    expect(parseOpenDuration({ base: 1_000 }).max).toBe(300_000)
    expect(parseOpenDuration({ base: 400_000 }).max).toBe(400_000)
  })

  it('is what a plain loop makes of it', () =>
    fc.assert(
      fc.property(
        fc.record({
          base: fc.integer({ min: 0, max: 10_000 }),
          max: fc.integer({ min: 0, max: 100_000 }),
          factor: fc.integer({ min: 1, max: 5 }),
        }),
        fc.integer({ min: 1, max: 50 }),
        (value, n) => {
          let plain = value.base
          for (let i = 1; i < n; i++) plain = Math.min(plain * value.factor, 1e9)

          expect(openFor({ ...value, jitter: 0 }, n, Math.random)).toBe(Math.min(value.max, plain))
        },
      ),
    ))
})

describe('the open durations of a circuit', () => {
  it('are those of a plain model, over any healthy and failing times', () =>
    fc.assert(
      fc.property(
        fc.record({
          base: fc.integer({ min: 1, max: 500 }),
          factor: fc.constantFrom(1, 2, 3),
          max: fc.constant(4_000),
        }),
        fc.array(fc.record({ trialWorks: fc.boolean(), healthy: fc.nat(2_000) }), { minLength: 1, maxLength: 30 }),
        (openDuration, steps) => {
          const clock = new VirtualClock()
          const breaker = circuitBreaker({ trip: { failures: 1 }, openDuration, clock })
          let inARow = 0

          for (const { trialWorks, healthy } of steps) {
            breaker.tryAcquire()?.fail()
            inARow++
            let plain = openDuration.base
            for (let i = 1; i < inARow; i++) plain = Math.min(plain * openDuration.factor, openDuration.max)
            expect(breaker.metrics.retryAfter).toBe(plain)

            clock.advance(plain)
            if (!trialWorks) continue

            breaker.tryAcquire()?.succeed()
            clock.advance(healthy)
            for (let left = healthy; left >= openDuration.base && inARow > 0; left -= openDuration.base) inARow--
          }
        },
      ),
    ))
})

describe('the row of openings', () => {
  it('is taken back by one for each healthy base duration', () => {
    const value = parseOpenDuration({ base: 1_000 })

    expect([0, 999, 1_000, 2_500, 60_000].map((closedFor) => nextOpening(value, 3, closedFor))).toEqual([4, 4, 3, 2, 1])
  })

  it('never grows without a base', () => {
    expect(nextOpening(parseOpenDuration(0), 3, 0)).toBe(1)
  })
})

describe("a server's hint", () => {
  it.each([
    { hint: 5_000, expected: 5_000 },
    { hint: 500, expected: 1_000 },
    { hint: undefined, expected: 1_000 },
    { hint: Number.NaN, expected: 1_000 },
    { hint: -1, expected: 1_000 },
    { hint: Number.POSITIVE_INFINITY, expected: MAX_DURATION },
  ])('of $hint makes 1000 ms $expected', ({ hint, expected }) => {
    expect(withHint(1_000, hint)).toBe(expected)
  })
})
