/** A source of time. Both units are milliseconds; `now` is monotonic and its zero is arbitrary. */
export interface Clock {
  now(): number
  /** Runs `run` once after `ms` and returns the function that calls it off. Without it, real timers are used. */
  after?(ms: number, run: () => void): () => void
}

/** The monotonic clock of the process. */
export const systemClock: Clock = { now: () => performance.now() }

/** Runs `run` after `ms` on the clock. Real timers are unref'd: they are housekeeping and keep no process alive. */
export function schedule(clock: Clock, ms: number, run: () => void): () => void {
  if (clock.after !== undefined) return clock.after(ms, run)

  const timer = setTimeout(run, ms)
  timer.unref()
  return () => clearTimeout(timer)
}
