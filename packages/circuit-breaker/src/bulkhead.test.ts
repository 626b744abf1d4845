import { AsyncLocalStorage } from 'node:async_hooks'
import { getEventListeners } from 'node:events'
import { describe, expect, it } from 'vitest'
import { type Bulkhead, type BulkheadOptions, bulkhead } from './bulkhead.js'
import { isBulkheadFullError, isCircuitOpenError } from './errors.js'
import { type Deferred, deferred, errorOf, VirtualClock } from './test-support.js'

/** A bulkhead with all its slots taken by calls that the test ends. */
function fullBulkhead(options: Partial<BulkheadOptions> = {}) {
  const clock = new VirtualClock()
  const slots: Bulkhead = bulkhead({ name: 'reports', concurrency: 2, clock, ...options })
  const running: Deferred<void>[] = Array.from({ length: slots.metrics.concurrency }, () => deferred())
  const ended = running.map(({ promise }) => slots.execute(() => promise))

  return {
    slots,
    clock,
    async endOne() {
      running.shift()?.resolve()
      await ended.shift()
    },
  }
}

describe('a bulkhead', () => {
  it('runs so many calls at once and rejects the others', async () => {
    const { slots } = fullBulkhead()
    let called = false

    const error = await errorOf(
      slots.execute(() => {
        called = true
      }),
    )

    expect(called).toBe(false)
    expect(error).toMatchObject({ code: 'MSX_BULKHEAD_FULL', bulkhead: 'reports', concurrency: 2, queue: 0 })
    expect(isBulkheadFullError(error)).toBe(true)
    expect(isCircuitOpenError(error)).toBe(false)
    expect(slots.metrics).toEqual({ concurrency: 2, inFlight: 2, queued: 0, rejected: 1 })
  })

  it('gets its slot back from a value, a rejection and a throw', async () => {
    const slots = bulkhead({ concurrency: 1 })
    const boom = new Error('boom')
    const throwing = () => {
      throw boom
    }

    expect(await slots.execute(() => 1)).toBe(1)
    expect(await errorOf(slots.execute(() => Promise.reject(boom)))).toBe(boom)
    expect(await errorOf(slots.execute(throwing))).toBe(boom)

    expect(slots.metrics.inFlight).toBe(0)
  })

  it('lets calls wait in turn', async () => {
    const { slots, endOne } = fullBulkhead({ queue: 3 })
    const order: number[] = []
    const waiting = [1, 2, 3].map((n) => slots.execute(() => order.push(n)))
    expect(slots.metrics.queued).toBe(3)
    expect(isBulkheadFullError(await errorOf(slots.execute(() => 4)))).toBe(true)

    await endOne()
    await Promise.all(waiting)

    expect(order).toEqual([1, 2, 3])
    expect(slots.metrics).toMatchObject({ inFlight: 1, queued: 0 })
  })

  it('never runs more than it may', async () => {
    const slots = bulkhead({ concurrency: 3, queue: 50 })
    let running = 0
    let most = 0
    const operation = async () => {
      most = Math.max(most, ++running)
      await Promise.resolve()
      running--
    }

    await Promise.all(Array.from({ length: 50 }, () => slots.execute(operation)))

    expect(most).toBe(3)
    expect(slots.metrics).toMatchObject({ inFlight: 0, queued: 0 })
  })

  it('turns a call away that has waited too long', async () => {
    const { slots, clock } = fullBulkhead({ queue: 2, queueTimeout: 100 })
    const error = errorOf(slots.execute(() => 'never'))

    clock.advance(99)
    expect(slots.metrics.queued).toBe(1)
    clock.advance(1)

    expect(await error).toMatchObject({ code: 'MSX_BULKHEAD_FULL', waited: 100 })
    expect(slots.metrics).toMatchObject({ queued: 0, rejected: 1 })
  })

  it('leaves no timer behind for a call that got its slot', async () => {
    const { slots, clock, endOne } = fullBulkhead({ queue: 1, queueTimeout: 100 })
    const waiting = slots.execute(() => 'ran')

    await endOne()

    expect(await waiting).toBe('ran')
    expect(clock.timers).toBe(0)
  })

  it('calls a waiting operation in the async context of its own caller', async () => {
    const { slots, endOne } = fullBulkhead({ queue: 1 })
    const context = new AsyncLocalStorage<string>()

    const waiting = context.run('mine', () => slots.execute(() => context.getStore()))
    await context.run('somebody else', endOne)

    expect(await waiting).toBe('mine')
  })
})

describe("the caller's abort", () => {
  const reason = new Error('never mind')

  it('rejects at once, without taking a slot', async () => {
    const slots = bulkhead({ concurrency: 1 })

    expect(await errorOf(slots.execute(() => 1, { signal: AbortSignal.abort(reason) }))).toBe(reason)
    expect(slots.metrics.inFlight).toBe(0)
  })

  it('takes a waiting call out of the queue, and no slot is lost', async () => {
    const { slots, clock, endOne } = fullBulkhead({ queue: 1, queueTimeout: 100 })
    const controller = new AbortController()
    const error = errorOf(slots.execute(() => 'never', { signal: controller.signal }))

    controller.abort(reason)

    expect(await error).toBe(reason)
    expect(slots.metrics).toMatchObject({ queued: 0, rejected: 0 })
    expect(clock.timers).toBe(0)
    await endOne()
    await endOne()
    expect(slots.metrics.inFlight).toBe(0)
    expect(await slots.execute(() => 'next')).toBe('next')
  })

  it('counts between getting a slot and being called, too', async () => {
    const { slots, endOne } = fullBulkhead({ concurrency: 1, queue: 2 })
    const controller = new AbortController()
    let called = false
    const waiting = slots.execute(
      () => {
        called = true
      },
      { signal: controller.signal },
    )
    const behind = slots.execute(() => 'behind')

    const ended = endOne()
    // Enough turns for the slot to be handed on, not enough for the operation to be called.
    while (slots.metrics.queued === 2) await null
    controller.abort(reason)

    expect(await errorOf(waiting)).toBe(reason)
    expect(called).toBe(false)
    await ended
    expect(await behind).toBe('behind')
    expect(slots.metrics.inFlight).toBe(0)
  })

  it('is listened for once, however many wait with the same signal', async () => {
    const { slots, endOne } = fullBulkhead({ queue: 50 })
    const { signal } = new AbortController()

    const waiting = Array.from({ length: 50 }, () => slots.execute(() => 'ran', { signal }))
    expect(getEventListeners(signal, 'abort')).toHaveLength(1)
    await endOne()
    await Promise.all(waiting)

    expect(getEventListeners(signal, 'abort')).toHaveLength(0)
  })

  it('reaches all who wait with the same signal', async () => {
    const { slots } = fullBulkhead({ queue: 50 })
    const controller = new AbortController()
    const errors = Array.from({ length: 50 }, () => errorOf(slots.execute(() => 'never', controller)))

    controller.abort(reason)

    expect(new Set(await Promise.all(errors))).toEqual(new Set([reason]))
    expect(slots.metrics.queued).toBe(0)
  })

  it('costs no signal unless the call has to wait', async () => {
    let asked = 0
    const context = {
      [Symbol.for('msx.context')]: true,
      aborted: false,
      get signal() {
        asked++
        return new AbortController().signal
      },
    }

    await bulkhead({ concurrency: 1 }).execute(() => 1, context)
    expect(asked).toBe(0)

    const { slots, endOne } = fullBulkhead({ queue: 1 })
    const waiting = slots.execute(() => 1, context)
    expect(asked).toBe(1)
    await endOne()
    await waiting
  })

  it.each([[null], [{}], ['now']])('loses no slot to a signal that is none: %j', async (signal) => {
    const { slots, endOne } = fullBulkhead({ concurrency: 1, queue: 2 })

    const odd = slots.execute(() => 1, { signal: signal as never }).catch(() => 0)
    await endOne()
    await odd

    expect(slots.metrics).toMatchObject({ inFlight: 0, queued: 0 })
    expect(await slots.execute(() => 'next')).toBe('next')
  })

  it('takes null for no signal', async () => {
    const { slots, endOne } = fullBulkhead({ concurrency: 1, queue: 1 })

    const waiting = slots.execute(() => 'ran', { signal: null as never })
    await endOne()

    expect(await waiting).toBe('ran')
  })
})
