import { describe, expect, it } from 'vitest'
import { VirtualClock } from './internal/virtual-clock.js'
import { retryBudget } from './retry-budget.js'

function times(count: number, run: () => void): void {
  for (let i = 0; i < count; i++) run()
}

function withdrawals(budget: { tryWithdraw(): boolean }, tries: number): number {
  let count = 0
  times(tries, () => {
    if (budget.tryWithdraw()) count += 1
  })
  return count
}

describe('retryBudget', () => {
  it('allows a retry for every fifth request by default, on top of ten per second', () => {
    const budget = retryBudget({ clock: new VirtualClock() })

    times(50, () => budget.deposit())

    expect(budget.balance).toBe(110)
    expect(withdrawals(budget, 500)).toBe(110)
    expect(budget.balance).toBe(0)
  })

  it('allows exactly the ratio of the requests when nothing is in reserve', () => {
    const budget = retryBudget({ ratio: 0.1, minPerSecond: 0, clock: new VirtualClock() })

    times(30, () => budget.deposit())

    expect(withdrawals(budget, 100)).toBe(3)
  })

  it('refuses everything with a ratio of 0 and no reserve', () => {
    const budget = retryBudget({ ratio: 0, minPerSecond: 0, clock: new VirtualClock() })

    times(1_000, () => budget.deposit())

    expect(budget.tryWithdraw()).toBe(false)
  })

  it('forgets requests and retries after the ttl', async () => {
    const clock = new VirtualClock()
    const budget = retryBudget({ ratio: 1, minPerSecond: 1, ttl: 1_000, clock })
    times(5, () => budget.deposit())
    expect(withdrawals(budget, 100)).toBe(6)

    await clock.advance(899)
    expect(budget.balance).toBe(0)

    await clock.advance(101)
    expect(budget.balance).toBe(1)
  })

  it('forgets all at once after a long silence', async () => {
    const clock = new VirtualClock()
    const budget = retryBudget({ ratio: 1, minPerSecond: 0, clock })
    for (let second = 0; second < 10; second++) {
      budget.deposit()
      await clock.advance(1_000)
    }

    await clock.advance(3_600_000)

    expect(budget.balance).toBe(0)
  })

  it('survives a clock that goes back', () => {
    let now = 100_000
    const budget = retryBudget({ ratio: 1, minPerSecond: 0, clock: { now: () => now } })
    budget.deposit()

    now = 0
    budget.deposit()

    expect(budget.balance).toBe(2)
  })

  it.each([
    [{ ratio: -0.1 }, /ratio .* got -0.1/],
    [{ ratio: null }, /ratio .* got null/],
    [{ ratio: Number.NaN }, /ratio/],
    [{ minPerSecond: Number.POSITIVE_INFINITY }, /minPerSecond/],
    [{ ttl: 0 }, /ttl must be above 0, got 0/],
    [{ ttl: 2 ** 31 }, /ttl/],
    [{ clock: {} }, /clock/],
  ])('refuses %o', (options, message) => {
    expect(() => retryBudget(options as never)).toThrow(TypeError)
    expect(() => retryBudget(options as never)).toThrow(message)
  })
})
