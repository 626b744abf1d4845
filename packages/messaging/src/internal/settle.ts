import type { Timekeeper } from '../clock.js'

export interface Limits {
  readonly signal?: AbortSignal | undefined
  /** In ms; `onTimeout` makes the error. */
  readonly timeout?: number | undefined
  readonly onTimeout: () => unknown
}

/** The outcome of `work`, or the abort's reason, or the timeout's error, whichever comes first. Leaves nothing behind. */
export function within<T>(work: PromiseLike<T>, time: Timekeeper, { signal, timeout, onTimeout }: Limits): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    const onAbort = (): void => {
      release()
      reject(signal?.reason)
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
      signal?.removeEventListener('abort', onAbort)
    }
    signal?.addEventListener('abort', onAbort, { once: true })

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
