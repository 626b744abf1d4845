/** Monotonic time in milliseconds. Without `after`, real timers are used. */
export interface Clock {
  now(): number
  /** Runs something once, `ms` from now; returns the cancel. */
  after?(ms: number, run: () => void): () => void
}

export const systemClock: Clock = {
  now: () => performance.now(),
}

/** Runs something after `ms` by this clock, or by a real timer where the clock has none. */
export function after(clock: Clock, ms: number, run: () => void): () => void {
  if (clock.after !== undefined) return clock.after(ms, run)

  const timer = setTimeout(run, ms)
  return () => clearTimeout(timer)
}
