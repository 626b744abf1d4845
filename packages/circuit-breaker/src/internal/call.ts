import type { Operation, PolicyContext } from '../policy.js'

/** Calls the operation. A throw is a rejection, a value a promise. */
export function call<T, C extends PolicyContext>(operation: Operation<T, C>, context: C): Promise<T> {
  try {
    const result = operation(context)
    if (!(result instanceof Promise)) return Promise.resolve(result)
    // What Promise.resolve does with a promise, only faster; and a promise with a `then` of its own may throw from it.
    if (result.constructor === Promise && result.then === Promise.prototype.then) return result
    return new Promise((resolve) => resolve(result))
  } catch (error) {
    return Promise.reject(error)
  }
}

/**
 * What a `then` handler returns in order to reject, as a throw would at three times the cost: the engine takes down where
 * each throw happened, and that matters to nobody when the error is an old one.
 */
export function rejected(error: unknown): PromiseLike<never> {
  return {
    then(_: unknown, reject: (error: unknown) => void) {
      reject(error)
    },
  } as PromiseLike<never>
}
