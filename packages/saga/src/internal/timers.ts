import type { Clock } from '../shapes.js'
import { MAX_DURATION } from './check.js'

export interface Timers {
  /** Whether time passes by itself. */
  readonly isReal: boolean
  now(): number
  /** Runs once after `ms`; returns its cancel. */
  after(ms: number, run: () => void): () => void
  /** The same for housekeeping: it keeps no process alive. */
  background(ms: number, run: () => void): () => void
  sleep(ms: number): Promise<void>
}

export function timersOf(clock: Clock | undefined): Timers {
  const now = clock ? () => clock.now() : () => performance.now()
  const real = (ms: number, run: () => void, keepsAlive: boolean): (() => void) => {
    const set = (left: number): NodeJS.Timeout => {
      const passed = (): void => {
        if (left <= MAX_DURATION) run()
        else current = set(left - MAX_DURATION)
      }
      const timer = setTimeout(passed, Math.min(left, MAX_DURATION))
      if (!keepsAlive) timer.unref()
      return timer
    }
    let current = set(ms)
    return () => clearTimeout(current)
  }
  const after = clock?.after ? clock.after.bind(clock) : (ms: number, run: () => void) => real(ms, run, true)
  const background = clock?.after ? after : (ms: number, run: () => void) => real(ms, run, false)

  return {
    isReal: clock === undefined,
    now,
    after,
    background,
    sleep: (ms) => new Promise((resolve) => void after(ms, resolve)),
  }
}
