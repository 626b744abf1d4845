import type { Operation, PolicyContext } from '../policy.js'

/** Calls the operation. A throw is a rejection, a value a promise. */
export function call<T, C extends PolicyContext>(operation: Operation<T, C>, context: C): Promise<T> {
  try {
    return Promise.resolve(operation(context)) as Promise<T>
  } catch (error) {
    return Promise.reject(error)
  }
}
