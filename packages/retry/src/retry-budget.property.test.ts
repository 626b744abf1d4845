import fc from 'fast-check'
import { expect, it } from 'vitest'
import { VirtualClock } from './internal/virtual-clock.js'
import { retryBudget } from './retry-budget.js'

const TTL = 1_000
const SLICE = TTL / 10

/** A naive model: remembers everything, and counts anew each time. Fast-check prints the seed of a run that fails. */
class Ledger {
  readonly #deposits: number[] = []
  readonly #retries: number[] = []
  readonly #ratio: number
  readonly #reserve: number

  constructor(ratio: number, reserve: number) {
    this.#ratio = ratio
    this.#reserve = reserve
  }

  balance(now: number): number {
    const slice = (at: number) => Math.floor(at / SLICE)
    const remembered = (times: number[]) => times.filter((at) => slice(now) - slice(at) < 10).length
    return this.#reserve + this.#ratio * remembered(this.#deposits) - remembered(this.#retries)
  }

  deposit(now: number): void {
    this.#deposits.push(now)
  }

  tryWithdraw(now: number): boolean {
    const may = this.balance(now) >= 1 - 1e-9
    if (may) this.#retries.push(now)
    return may
  }
}

it('is the reserve, plus the ratio of the requests, minus the retries of the last ttl', () => {
  const step = fc.oneof(
    fc.constant('deposit' as const),
    fc.constant('withdraw' as const),
    fc.integer({ min: 1, max: 300 }),
    // Longer than all that is remembered.
    fc.integer({ min: 1_000, max: 1e9 }),
  )

  fc.assert(
    fc.property(
      fc.array(step, { maxLength: 300 }),
      fc.double({ min: 0, max: 2, noNaN: true }),
      fc.integer({ min: 0, max: 5 }),
      fc.integer({ min: 0, max: 1e9 }),
      (steps, ratio, minPerSecond, start) => {
        const clock = new VirtualClock()
        clock.jump(start)
        const budget = retryBudget({ ratio, minPerSecond, ttl: TTL, clock })
        const ledger = new Ledger(ratio, minPerSecond)

        for (const next of steps) {
          if (next === 'deposit') {
            budget.deposit()
            ledger.deposit(clock.now())
          } else if (next === 'withdraw') {
            expect(budget.tryWithdraw()).toBe(ledger.tryWithdraw(clock.now()))
          } else {
            clock.jump(next)
          }

          expect(budget.balance).toBeCloseTo(Math.max(0, ledger.balance(clock.now())), 6)
        }
      },
    ),
  )
})

it('forgets nothing, and grants nothing twice, when the clock steps back', () => {
  const clock = new VirtualClock()
  clock.jump(10_000)
  const budget = retryBudget({ ratio: 0, minPerSecond: 2, ttl: TTL, clock })
  expect([budget.tryWithdraw(), budget.tryWithdraw(), budget.tryWithdraw()]).toEqual([true, true, false])

  clock.jump(-5_000)

  expect(budget.balance).toBe(0)
  expect(budget.tryWithdraw()).toBe(false)
})
