/** Reads from what anybody may have thrown: a getter or a proxy that throws in turn must not take the place of the error. */
export function safely<T>(read: () => T, otherwise: T): T {
  try {
    return read()
  } catch {
    return otherwise
  }
}
