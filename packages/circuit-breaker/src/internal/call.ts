import type { Operation, PolicyContext } from '../policy.js'

/** Calls the operation. A throw is a rejection, a value a promise. */
export function call<T, C extends PolicyContext>(operation: Operation<T, C>, context: C): Promise<T> {
  try {
    const result = operation(context)
    // What Promise.resolve does with a promise, only faster.
    if (result instanceof Promise && result.constructor === Promise) return result
    return Promise.resolve(result)
  } catch (error) {
    return Promise.reject(error)
  }
}
