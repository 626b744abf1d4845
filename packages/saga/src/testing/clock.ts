import type { Clock } from '../shapes.js'

/** Time that moves only when it is told to. */
export interface VirtualClock extends Required<Clock> {
  /** Moves on to this time and runs what is due, in its order. */
  moveTo(time: number): void
}

export function virtualClock(): VirtualClock {
  let now = 0
  const timers = new Set<{ readonly at: number; readonly run: () => void }>()

  return {
    now: () => now,
    after(ms, run) {
      const timer = { at: now + ms, run }
      timers.add(timer)
      return () => void timers.delete(timer)
    },
    moveTo(time) {
      now = Math.max(now, time)
      const due = [...timers].filter(({ at }) => at <= now).sort((a, b) => a.at - b.at)
      for (const timer of due) if (timers.delete(timer)) timer.run()
    },
  }
}
