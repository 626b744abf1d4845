import process from 'node:process'

/** A source of time. Both units are milliseconds; `now` is monotonic and its zero is arbitrary. */
export interface Clock {
  now(): number
  /** Runs `run` once after `ms` and returns the function that calls it off. Without it, real timers are used. */
  after?(ms: number, run: () => void): () => void
}

/**
 * The monotonic clock of the process: the time of `performance.now()`, from another zero. On Node 20 that one takes a third
 * longer, with the getter of the global and the check of its receiver, and it is most of what a pick costs. Looked up once,
 * for the same reason: fake timers have to be there before.
 */
export function processClock(): Clock {
  const { hrtime } = process

  return {
    now() {
      const time = hrtime()
      return time[0] * 1_000 + time[1] * 1e-6
    },
  }
}

/** The monotonic clock of the process, for what asks it seldom. */
export const systemClock: Clock = { now: () => performance.now() }

/** Runs `run` after `ms` on the clock. Real timers are unref'd: they are housekeeping and keep no process alive. */
export function schedule(clock: Clock, ms: number, run: () => void): () => void {
  if (clock.after !== undefined) return clock.after(ms, run)

  const timer = setTimeout(run, ms)
  timer.unref()
  return () => clearTimeout(timer)
}
