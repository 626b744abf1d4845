import type { Timekeeper } from '../clock.js'
import type { Aborts } from './aborts.js'

export interface Limits {
  /** Whose abort to wait for, and what waits for it. */
  readonly abort?: { readonly signal: AbortSignal; readonly aborts: Aborts } | undefined
  /** In ms; `onTimeout` makes the error. */
  readonly timeout?: number | undefined
  readonly onTimeout: () => unknown
}

/** The outcome of `work`, or the abort's reason, or the timeout's error, whichever comes first. Leaves nothing behind. */
export function within<T>(work: PromiseLike<T>, time: Timekeeper, { abort, timeout, onTimeout }: Limits): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    const onAbort = (): void => {
      release()
      reject(abort?.signal.reason)
    }
    const cancel =
      timeout === undefined
        ? undefined
        : time.after(timeout, () => {
            release()
            reject(onTimeout())
          })
    const release = (): void => {
      cancel?.()
      stopListening?.()
    }
    const stopListening = abort?.aborts.on(abort.signal, onAbort)

    work.then(
      (value) => {
        release()
        resolve(value)
      },
      (error) => {
        release()
        reject(error)
      },
    )
  })
}
