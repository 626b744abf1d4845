import { Scope } from './internal/scope.js'
import type { Timers } from './internal/timers.js'

/** A limit of an attempt: after `ms` the signal aborts with `reason()`, and so does the attempt. */
export interface Limit {
  readonly ms: number
  readonly reason: () => Error
}

/**
 * Runs one attempt. It ends with `work`, with the first limit to pass, or when `owner` is aborted, whichever is first;
 * it does not wait for work that ignores its signal.
 */
export async function runAttempt<T>(
  timers: Timers,
  owner: Scope,
  limits: readonly Limit[],
  work: (scope: Scope) => T | PromiseLike<T>,
): Promise<T> {
  const scope = new Scope()
  if (owner.aborted) throw owner.reason
  // What has its result at once needs no timer; what has ended cannot be aborted either.
  const begun = work(scope)
  if (!isPromise(begun)) return begun

  const undo: (() => void)[] = []
  try {
    return await new Promise<T>((resolve, reject) => {
      const give = (reason: unknown): void => {
        scope.abort(reason)
        reject(reason as Error)
      }
      undo.push(owner.onAbort(() => give(owner.reason)))
      if (scope.aborted) return

      for (const { ms, reason } of limits) undo.push(timers.after(Math.max(0, ms), () => give(reason())))
      begun.then(resolve, reject)
    })
  } finally {
    for (const remove of undo) remove()
  }
}

export function isPromise<T>(value: T | PromiseLike<T>): value is PromiseLike<T> {
  return typeof (value as { then?: unknown } | null | undefined)?.then === 'function'
}
