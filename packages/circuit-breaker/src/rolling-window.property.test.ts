import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { RollingWindow } from './rolling-window.js'
import { VirtualClock } from './test-support.js'

interface Call {
  readonly at: number
  readonly failed: boolean
  readonly slow: boolean
}

const call = fc.record({ wait: fc.oneof(fc.nat(30), fc.nat(3_000)), failed: fc.boolean(), slow: fc.boolean() })

function totals(calls: readonly Call[]) {
  return {
    calls: calls.length,
    failures: calls.filter(({ failed }) => failed).length,
    slow: calls.filter(({ slow }) => slow).length,
  }
}

function read({ calls, failures, slow }: RollingWindow) {
  return { calls, failures, slow }
}

describe('a count window', () => {
  it('always holds the last `size` calls', () =>
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 12 }), fc.array(call, { maxLength: 60 }), (size, calls) => {
        const window = new RollingWindow(size, 0, new VirtualClock())
        const seen: Call[] = []

        for (const { failed, slow } of calls) {
          window.record(failed, slow)
          seen.push({ at: 0, failed, slow })

          expect(read(window)).toEqual(totals(seen.slice(-size)))
        }
      }),
    ))

  it('is the same window after being saved and restored', () =>
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 12 }), fc.array(call), fc.array(call), (size, before, after) => {
        const original = new RollingWindow(size, 0, new VirtualClock())
        for (const { failed, slow } of before) original.record(failed, slow)

        const copy = new RollingWindow(size, 0, new VirtualClock())
        copy.restore(original.save(), 0)

        for (const { failed, slow } of after) {
          original.record(failed, slow)
          copy.record(failed, slow)
        }
        expect(copy.save()).toEqual(original.save())
        expect(read(copy)).toEqual(read(original))
      }),
    ))
})

describe('a time window', () => {
  const shape = fc.record({
    duration: fc.integer({ min: 1, max: 2_000 }),
    buckets: fc.integer({ min: 1, max: 12 }),
    start: fc.integer({ min: 0, max: 100_000 }),
  })

  it('holds the calls whose bucket is among the last ones, after any silence', () =>
    fc.assert(
      fc.property(shape, fc.array(call, { maxLength: 60 }), ({ duration, buckets, start }, calls) => {
        const clock = new VirtualClock(start)
        const window = new RollingWindow(buckets, duration / buckets, clock)
        const bucketOf = (at: number) => Math.floor(at / (duration / buckets))
        const seen: Call[] = []
        const remembered = () => seen.filter(({ at }) => bucketOf(at) > bucketOf(clock.now()) - buckets)

        for (const { wait, failed, slow } of calls) {
          clock.advance(wait)
          window.refresh()
          expect(read(window)).toEqual(totals(remembered()))

          window.record(failed, slow)
          seen.push({ at: clock.now(), failed, slow })
          expect(read(window)).toEqual(totals(remembered()))
        }
      }),
    ))

  it('never holds a call for longer than its duration', () =>
    fc.assert(
      fc.property(shape, fc.nat(5_000), ({ duration, buckets, start }, offset) => {
        const clock = new VirtualClock(start + offset)
        const window = new RollingWindow(buckets, duration / buckets, clock)
        window.record(true, true)

        // One more than the duration: buckets begin at fractions of a millisecond.
        clock.advance(duration + 1)
        window.refresh()

        expect(read(window)).toEqual({ calls: 0, failures: 0, slow: 0 })
      }),
    ))

  it('comes back from its saved form with the age of its calls', () =>
    fc.assert(
      fc.property(shape, fc.array(call), fc.nat(3_000), ({ duration, buckets, start }, calls, elapsed) => {
        const clock = new VirtualClock(start)
        const width = duration / buckets
        const original = new RollingWindow(buckets, duration / buckets, clock)
        for (const { wait, failed, slow } of calls) {
          clock.advance(wait)
          original.record(failed, slow)
        }

        const copy = new RollingWindow(buckets, duration / buckets, clock)
        const steps = Math.floor(elapsed / width)
        copy.restore(original.save(), steps * width + width / 2)

        const left = original.save().counts.slice(3 * steps)
        const sum = (field: number) => left.reduce((total, count, at) => total + (at % 3 === field ? count : 0), 0)
        expect(read(copy)).toEqual({ calls: sum(0), failures: sum(1), slow: sum(2) })
      }),
    ))

  it('looks at the clock for one in four successes of a stream, and is wrong about three at each pause', () =>
    fc.assert(
      fc.property(
        fc.array(
          fc.record({ wait: fc.oneof(fc.double({ min: 0, max: 2, noNaN: true }), fc.nat(40)), failed: fc.boolean() }),
        ),
        (calls) => {
          const clock = new VirtualClock()
          const window = new RollingWindow(4, 10, clock)
          const seen: Call[] = []
          // What happened longer ago than five buckets is forgotten, rightly or wrongly.
          const pauses = () =>
            seen.filter(({ at }, i) => at > clock.now() - 60 && at - (seen[i - 1]?.at ?? 0) >= 2).length

          for (const { wait, failed } of calls) {
            clock.advance(wait)
            window.record(failed, false)
            seen.push({ at: clock.now(), failed, slow: false })
            if (!failed) continue

            const bucketOf = (at: number) => Math.floor(at / 10)
            const truth = totals(seen.filter(({ at }) => bucketOf(at) > bucketOf(clock.now()) - 4))
            expect(window.failures).toBe(truth.failures)
            expect(Math.abs(window.calls - truth.calls)).toBeLessThanOrEqual(3 * pauses())
          }
        },
      ),
      { numRuns: 500 },
    ))

  it('looks at the clock for every call that is no part of a stream', () => {
    const clock = new VirtualClock()
    const window = new RollingWindow(4, 10, clock)

    for (let call = 0; call < 4; call++) {
      clock.advance(20)
      window.record(false, false)
    }

    // Two of the four are older than the window.
    expect(read(window)).toEqual({ calls: 2, failures: 0, slow: 0 })
  })

  it('reads the clock once for four successes of a stream', () => {
    const clock = new VirtualClock()
    let reads = 0
    const window = new RollingWindow(10, 1_000, { now: () => ++reads && clock.now() })
    const before = reads

    for (let call = 0; call < 400; call++) {
      clock.advance(0.01)
      window.record(false, false)
    }

    expect(window.calls).toBe(400)
    expect(reads - before).toBe(100)
  })

  it('keeps counting when its clock steps back', () => {
    const clock = new VirtualClock(10_000)
    const window = new RollingWindow(10, 100, clock)
    window.record(true, false)

    clock.stepBack(5_000)
    window.record(true, false)

    expect(read(window)).toEqual({ calls: 2, failures: 2, slow: 0 })
  })
})
