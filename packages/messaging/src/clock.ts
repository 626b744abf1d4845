/** Where time comes from. Monotonic milliseconds; `after` runs something later and returns what cancels it. */
export interface Clock {
  now(): number
  after?(ms: number, run: () => void): () => void
}

/** A clock whose every part is there. */
export type Timekeeper = Required<Clock>

/** The given clock completed with real timers, or the machine's own. */
export function timekeeper(clock: Clock | undefined): Timekeeper {
  if (clock === undefined) return { now: () => performance.now(), after: afterRealTime }

  return {
    now: () => clock.now(),
    after: (ms, run) => (clock.after === undefined ? afterRealTime(ms, run) : clock.after(ms, run)),
  }
}

export function sleep(time: Timekeeper, ms: number): Promise<void> {
  return new Promise((resolve) => {
    time.after(ms, resolve)
  })
}

function afterRealTime(ms: number, run: () => void): () => void {
  const timer = setTimeout(run, ms)

  return () => clearTimeout(timer)
}
