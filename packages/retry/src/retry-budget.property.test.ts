import fc from 'fast-check'
import { expect, it } from 'vitest'
import { VirtualClock } from './internal/virtual-clock.js'
import { retryBudget } from './retry-budget.js'

it('never allows more retries within a ttl than the reserve and the ratio of the requests within it', async () => {
  const step = fc.oneof(
    fc.constant('deposit' as const),
    fc.constant('withdraw' as const),
    fc.integer({ min: 1, max: 300 }),
  )

  await fc.assert(
    fc.asyncProperty(
      fc.array(step, { maxLength: 200 }),
      fc.double({ min: 0, max: 1, noNaN: true }),
      async (steps, ratio) => {
        const ttl = 1_000
        const clock = new VirtualClock()
        const budget = retryBudget({ ratio, minPerSecond: 2, ttl, clock })
        const deposits: number[] = []
        const retries: number[] = []

        for (const next of steps) {
          if (next === 'deposit') {
            budget.deposit()
            deposits.push(clock.now())
          } else if (next === 'withdraw') {
            if (budget.tryWithdraw()) retries.push(clock.now())
          } else {
            clock.jump(next)
          }

          // A slice may forget up to a tenth early, so look at what is surely still remembered, and what could be.
          const surely = retries.filter((at) => clock.now() - at < ttl * 0.9).length
          const couldBe = deposits.filter((at) => clock.now() - at < 2 * ttl).length
          expect(surely).toBeLessThanOrEqual(2 + ratio * couldBe + 1e-9)
          expect(budget.balance).toBeGreaterThanOrEqual(0)
        }
      },
    ),
  )
})
