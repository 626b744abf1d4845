import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { CountWindow } from './count-window.js'
import { VirtualClock } from './test-support.js'
import { TimeWindow } from './time-window.js'

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

function read({ calls, failures, slow }: CountWindow | TimeWindow) {
  return { calls, failures, slow }
}

describe('a count window', () => {
  it('always holds the last `size` calls', () =>
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 12 }), fc.array(call, { maxLength: 60 }), (size, calls) => {
        const window = new CountWindow(size)
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
        const original = new CountWindow(size)
        for (const { failed, slow } of before) original.record(failed, slow)

        const copy = new CountWindow(size)
        copy.restore(original.save())

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
        const window = new TimeWindow(duration, buckets, clock)
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
        const window = new TimeWindow(duration, buckets, clock)
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
        const original = new TimeWindow(duration, buckets, clock)
        for (const { wait, failed, slow } of calls) {
          clock.advance(wait)
          original.record(failed, slow)
        }

        const copy = new TimeWindow(duration, buckets, clock)
        const steps = Math.floor(elapsed / width)
        copy.restore(original.save(), steps * width + width / 2)

        const left = original.save()
        const expected = left.kind === 'duration' ? left.buckets.slice(steps) : []
        expect(read(copy)).toEqual({
          calls: sum(expected.map(({ calls }) => calls)),
          failures: sum(expected.map(({ failures }) => failures)),
          slow: sum(expected.map(({ slow }) => slow)),
        })
      }),
    ))

  it('keeps counting when its clock steps back', () => {
    const clock = new VirtualClock(10_000)
    const window = new TimeWindow(1_000, 10, clock)
    window.record(true, false)

    clock.stepBack(5_000)
    window.record(true, false)

    expect(read(window)).toEqual({ calls: 2, failures: 2, slow: 0 })
  })
})

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0)
}
