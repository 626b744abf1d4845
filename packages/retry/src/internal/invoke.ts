import type { Operation, PolicyContext } from '../policy.js'

/** Calls the operation; what it throws is a rejection like any other. */
export function invoke<T, C extends PolicyContext>(operation: Operation<T, C>, context: C): Promise<T> {
  try {
    // A native promise comes back as it is; a foreign thenable is adopted, so that it settles once and later.
    return Promise.resolve(operation(context))
  } catch (error) {
    return Promise.reject(error)
  }
}
