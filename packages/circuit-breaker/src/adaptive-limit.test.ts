import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { AdaptiveLimit } from './adaptive-limit.js'
import { bulkhead } from './bulkhead.js'
import { type Deferred, deferred, errorOf, VirtualClock } from './test-support.js'

describe('an adaptive limit', () => {
  it('grows by one per round of successes', () => {
    const limit = new AdaptiveLimit({ initial: 10 })

    for (let i = 0; i < 10; i++) limit.settle(limit.begin(), 'success', 10)
    expect(limit.current).toBe(11)
    for (let i = 0; i < 11; i++) limit.settle(limit.begin(), 'success', 11)
    expect(limit.current).toBe(12)
  })

  it('does not grow while less than half of it is used', () => {
    const limit = new AdaptiveLimit({ initial: 10 })

    for (let i = 0; i < 100; i++) limit.settle(limit.begin(), 'success', 4)

    expect(limit.current).toBe(10)
  })

  it('falls by a tenth, once for all calls that were in flight together', () => {
    const limit = new AdaptiveLimit({ initial: 100 })
    const together = Array.from({ length: 50 }, () => limit.begin())

    for (const begun of together) limit.settle(begun, 'failure', 50)
    expect(limit.current).toBe(90)

    limit.settle(limit.begin(), 'failure', 1)
    expect(limit.current).toBe(81)
  })

  it('learns nothing from what is ignored', () => {
    const limit = new AdaptiveLimit({ initial: 2 })
    for (let i = 0; i < 10; i++) limit.settle(limit.begin(), 'ignore', 2)
    expect(limit.current).toBe(2)
  })

  it('stays between min and max', () =>
    fc.assert(
      fc.property(fc.array(fc.constantFrom('success', 'failure', 'ignore'), { maxLength: 300 }), (verdicts) => {
        const limit = new AdaptiveLimit({ initial: 4, min: 3, max: 6 })
        for (const verdict of verdicts) {
          limit.settle(limit.begin(), verdict, limit.current)
          expect(limit.current).toBeGreaterThanOrEqual(3)
          expect(limit.current).toBeLessThanOrEqual(6)
        }
      }),
    ))

  it('finds the capacity of a service that fails what is too much', () => {
    const limit = new AdaptiveLimit()
    const capacity = 50

    const seen: number[] = []
    for (let round = 0; round < 400; round++) {
      const running = limit.current
      const calls = Array.from({ length: running }, () => limit.begin())
      calls.forEach((begun, index) => {
        limit.settle(begun, index < capacity ? 'success' : 'failure', running - index)
      })
      if (round >= 100) seen.push(limit.current)
    }

    expect(Math.min(...seen)).toBeGreaterThanOrEqual(40)
    expect(Math.max(...seen)).toBeLessThanOrEqual(53)
  })
})

describe("a bulkhead with concurrency 'adaptive'", () => {
  const boom = new Error('503')

  it('begins with 20 calls at once', async () => {
    const slots = bulkhead({ concurrency: 'adaptive' })
    const running = Array.from({ length: 20 }, () => deferred())
    const ended = running.map(({ promise }) => slots.execute(() => promise))

    expect(await errorOf(slots.execute(() => 1))).toMatchObject({ code: 'MSX_BULKHEAD_FULL', concurrency: 20 })

    for (const { resolve } of running) resolve()
    await Promise.all(ended)
    expect(slots.metrics).toEqual({ concurrency: 20, inFlight: 0, queued: 0, rejected: 1 })
  })

  it.each([
    ['a rejection', () => Promise.reject(boom), 18],
    ['an AbortError of its own making', () => Promise.reject(new DOMException('', 'AbortError')), 18],
    ['a rejection that never reached the service', () => Promise.reject({ code: 'MSX_CIRCUIT_OPEN' }), 20],
  ])('after %s', async (_, operation, concurrency) => {
    const slots = bulkhead({ concurrency: 'adaptive' })
    await errorOf(slots.execute(operation))
    expect(slots.metrics.concurrency).toBe(concurrency)
  })

  it("learns nothing from the caller's abort", async () => {
    const slots = bulkhead({ concurrency: 'adaptive' })
    const caller = new AbortController()
    const pending = deferred()
    const call = slots.execute(() => pending.promise, { signal: caller.signal })

    caller.abort()
    pending.reject(boom)
    await errorOf(call)

    expect(slots.metrics).toMatchObject({ concurrency: 20, inFlight: 0 })
  })

  it('takes a slow call for a sign of overload', async () => {
    const clock = new VirtualClock()
    const slots = bulkhead({ concurrency: 'adaptive', adaptive: { slowCall: 100 }, clock })

    await slots.execute(() => clock.advance(99))
    expect(slots.metrics.concurrency).toBe(20)
    await slots.execute(() => clock.advance(100))
    expect(slots.metrics.concurrency).toBe(18)
  })

  it('asks classify, and keeps no slot when that throws', async () => {
    const slots = bulkhead({
      concurrency: 'adaptive',
      adaptive: {
        classify: (outcome) => (outcome.ok && outcome.value === 429 ? 'failure' : ('perhaps' as never)),
      },
    })

    await slots.execute(() => 429)
    expect(slots.metrics.concurrency).toBe(18)
    expect(await errorOf(slots.execute(() => 200))).toBeInstanceOf(TypeError)
    expect(slots.metrics.inFlight).toBe(0)
  })

  it('starts who waits only below the limit it has now', async () => {
    const slots = bulkhead({ concurrency: 'adaptive', adaptive: { initial: 10 }, queue: 10 })
    const running: Deferred<void>[] = []
    const start = () => {
      const call = deferred()
      return slots.execute(() => {
        running.push(call)
        return call.promise
      })
    }
    const calls = Array.from({ length: 12 }, () => start().catch(() => undefined))
    expect(slots.metrics).toMatchObject({ inFlight: 10, queued: 2 })

    running[0]!.reject(boom)
    await calls[0]
    expect(slots.metrics).toMatchObject({ concurrency: 9, inFlight: 9, queued: 2 })

    // Nine of nine are used: nine successes make room for a tenth call.
    for (let i = 1; i <= 2; i++) {
      running[i]!.resolve()
      await calls[i]
    }
    expect(slots.metrics).toMatchObject({ inFlight: 9, queued: 0 })
    for (const { resolve } of running) resolve()
    await Promise.resolve()
    for (const { resolve } of running) resolve()
    await Promise.all(calls)
    expect(slots.metrics).toMatchObject({ inFlight: 0, queued: 0 })
  })

  it.each([
    ['concurrency', { concurrency: 'elastic' }],
    ['concurrency', { concurrency: 5, adaptive: {} }],
    ['adaptive', { concurrency: 'adaptive', adaptive: null }],
    ['adaptive.min', { concurrency: 'adaptive', adaptive: { min: 0 } }],
    ['adaptive.max', { concurrency: 'adaptive', adaptive: { min: 5, max: 4 } }],
    ['adaptive.initial', { concurrency: 'adaptive', adaptive: { initial: 1, min: 2 } }],
    ['adaptive.slowCall', { concurrency: 'adaptive', adaptive: { slowCall: -1 } }],
    ['adaptive.classify', { concurrency: 'adaptive', adaptive: { classify: 1 } }],
  ])('refuses a wrong %s: %j', (option, options) => {
    expect(() => bulkhead(options as never)).toThrow(new RegExp(`^${option} must be `))
  })
})
