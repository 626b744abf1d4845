import type { Operation, PolicyContext } from '../policy.js'

/** Calls the operation; what it throws is a rejection like any other. */
export function invoke<T, C extends PolicyContext>(operation: Operation<T, C>, context: C): Promise<T> {
  try {
    const result = operation(context)
    // A native promise comes back as it is. A foreign thenable, and a promise whose `then` is not its own, are adopted, so
    // that they settle once and later, and what they throw is a rejection, too.
    if (result instanceof Promise && result.then !== Promise.prototype.then)
      return new Promise((resolve) => resolve(result))
    return Promise.resolve(result)
  } catch (error) {
    return Promise.reject(error)
  }
}
