/** Whether two settings read the same and hold the same functions. */
export function same(a: unknown, b: unknown): boolean {
  if (Object.is(a, b)) return true
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return false

  const names = new Set([...Object.keys(a), ...Object.keys(b)])
  return [...names].every((name) => same((a as Record<string, unknown>)[name], (b as Record<string, unknown>)[name]))
}

/** Settings as they are now, whoever changes them afterwards; what is an object of some class is left as it is. */
export function copyOf<T extends object>(settings: T): T {
  const entries = Object.entries(settings).map(([name, value]) => [name, isPlain(value) ? copyOf(value) : value])

  return Object.fromEntries(entries) as T
}

const isPlain = (value: unknown): value is object =>
  typeof value === 'object' && value !== null && Object.getPrototypeOf(value) === Object.prototype
