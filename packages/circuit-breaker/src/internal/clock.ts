import type { Clock } from '../policy.js'

/** The process's monotonic clock. Reads the global on each call, so that fake timers see it. */
export const monotonic: Clock = { now: () => performance.now() }

/** Runs `run` once after `ms`, on the clock's own timers when it has some. The timer keeps the process alive. */
export function after(clock: Clock, ms: number, run: () => void): () => void {
  if (clock.after !== undefined) return clock.after(ms, run)

  const timer = setTimeout(run, ms)
  return () => clearTimeout(timer)
}
