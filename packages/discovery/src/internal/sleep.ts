import { type Clock, schedule } from '../clock.js'

/** Resolves after `ms` on the clock, or as soon as the signal aborts. Keeps no process alive. */
export function sleep(clock: Clock, ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve()

    let cancel: () => void = () => {}
    const end = () => {
      cancel()
      signal.removeEventListener('abort', end)
      resolve()
    }
    signal.addEventListener('abort', end, { once: true })
    cancel = schedule(clock, ms, end)
  })
}
