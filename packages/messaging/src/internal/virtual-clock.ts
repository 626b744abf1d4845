import { setImmediate } from 'node:timers/promises'
import type { Timekeeper } from '../clock.js'

/** A clock for tests: time stands still until it is moved. */
export interface VirtualClock extends Timekeeper {
  /** Lets what is under way come to rest, moves the time, and lets what that set off come to rest. */
  advance(ms: number): Promise<void>
}

export function virtualClock(): VirtualClock {
  let now = 0
  let timers: { readonly due: number; readonly run: () => void }[] = []

  return {
    now: () => now,
    after(ms, run) {
      const timer = { due: now + ms, run }
      timers.push(timer)
      return () => {
        timers = timers.filter((other) => other !== timer)
      }
    },
    async advance(ms) {
      await rest()
      const end = now + ms
      for (;;) {
        const [next] = timers.filter(({ due }) => due <= end).sort((a, b) => a.due - b.due)
        if (next === undefined) break
        timers = timers.filter((timer) => timer !== next)
        now = Math.max(now, next.due)
        next.run()
        await rest()
      }
      now = end
    },
  }
}

/** A few turns of the event loop: more than anything takes that waits for no time. */
export async function rest(): Promise<void> {
  for (let turn = 0; turn < 5; turn += 1) await setImmediate()
}
