import { expect, test, vi } from 'vitest'
import { type Clock, createSagaEngine, memoryStore, saga } from './index.js'

/** Time that only moves when told to, and lets everything that became possible happen before it moves on. */
function virtualClock(): Clock & { advance(ms: number): Promise<void> } {
  let now = 0
  const timers = new Set<{ at: number; run: () => void }>()
  const settle = async (): Promise<void> => {
    for (let i = 0; i < 50; i++) await Promise.resolve()
  }

  return {
    now: () => now,
    after(ms, run) {
      const timer = { at: now + ms, run }
      timers.add(timer)
      return () => void timers.delete(timer)
    },
    async advance(ms) {
      const end = now + ms
      for (;;) {
        await settle()
        const [first] = [...timers].filter(({ at }) => at <= end).sort((a, b) => a.at - b.at)
        if (!first) break
        timers.delete(first)
        now = Math.max(now, first.at)
        first.run()
      }
      now = end
      await settle()
    },
  }
}

test('retries by its back-off, in the time of the clock it was given', async () => {
  const clock = virtualClock()
  const attempts: number[] = []
  const order = saga<null>('order')
    .step(
      'a',
      () => {
        attempts.push(clock.now())
        throw new Error('no')
      },
      { retry: { attempts: 3, backoff: (retry) => 10_000 * (retry + 1) } },
    )
    .returns(() => null)
  const engine = createSagaEngine({ store: memoryStore(), sagas: [order], clock })
  await engine.run()
  const { id } = await engine.start(order, null)

  await clock.advance(9_000)
  expect(attempts).toHaveLength(1)
  await clock.advance(31_000)

  expect(attempts.map((at) => Math.round(at / 1_000))).toEqual([0, 10, 30])
  expect(await engine.get(id)).toMatchObject({ status: 'compensated' })
  await engine.close()
})

test('gives each attempt its timeout, and 60 seconds by default', async () => {
  const clock = virtualClock()
  const aborted = vi.fn()
  const order = saga<null>('order')
    .step(
      'a',
      ({ signal }) => {
        signal.addEventListener('abort', () => aborted(clock.now(), signal.reason.code), { once: true })
        return new Promise<never>(() => undefined)
      },
      { retry: { attempts: 1 } },
    )
    .returns(() => null)
  const engine = createSagaEngine({ store: memoryStore(), sagas: [order], clock, lease: { ttl: 1_000_000 } })
  await engine.run()
  const { id } = await engine.start(order, null)

  await clock.advance(59_999)
  expect(aborted).not.toHaveBeenCalled()
  await clock.advance(1)

  expect(aborted).toHaveBeenCalledExactlyOnceWith(60_000, 'MSX_SAGA_STEP_TIMEOUT')
  expect((await engine.get(id))?.error).toMatchObject({ code: 'MSX_SAGA_STEP_TIMEOUT' })
  await engine.close()
})
