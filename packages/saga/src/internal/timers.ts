import type { Clock } from '../shapes.js'

export interface Timers {
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
    const timer = setTimeout(run, ms)
    if (!keepsAlive) timer.unref()
    return () => clearTimeout(timer)
  }
  const after = clock?.after ? clock.after.bind(clock) : (ms: number, run: () => void) => real(ms, run, true)
  const background = clock?.after ? after : (ms: number, run: () => void) => real(ms, run, false)

  return {
    now,
    after,
    background,
    sleep: (ms) => new Promise((resolve) => void after(ms, resolve)),
  }
}
