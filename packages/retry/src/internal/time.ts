import type { Clock } from '../policy.js'
import { hasMethods } from './has-methods.js'
import { wrong } from './validate.js'

/** Monotonic time and the timers of the host. Looked up at each call, so that fake timers work. */
export const realClock: Clock = { now: () => performance.now() }

/** Runs `run` after `ms` and returns what cancels it. The timer keeps the process alive: somebody awaits it. */
export function after(clock: Clock, ms: number, run: () => void): () => void {
  if (clock.after !== undefined) return clock.after(ms, run)

  const timer = setTimeout(run, ms)
  return () => clearTimeout(timer)
}

/** Runs `run` once the event loop has looked for what arrived on its sockets. */
export function afterPoll(run: () => void): void {
  if (typeof setImmediate === 'function') setImmediate(run)
  else setTimeout(run, 0)
}

export function clockOption(option: string, clock: Clock = realClock): Clock {
  if (hasMethods<Clock>(clock, 'now') && (clock.after === undefined || hasMethods<Clock>(clock, 'after'))) return clock

  throw wrong(option, clock, 'a clock, { now(), after?(ms, run) }')
}
