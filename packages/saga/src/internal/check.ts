/** The longest wait a Node timer can hold; a longer one would fire at once. */
export const MAX_DURATION: number = 2 ** 31 - 1

export function duration(
  name: string,
  value: number | undefined,
  fallback: number,
  least = 0,
  most: number = MAX_DURATION,
): number {
  if (value === undefined && !Number.isNaN(fallback)) return fallback
  if (typeof value !== 'number' || !(value >= least) || value > most)
    throw new TypeError(`${name} must be milliseconds from ${least} to ${most}, not ${shown(value)}`)
  return value
}

/** The largest `int` of a database. */
export const MAX_INT: number = 2 ** 31 - 1

export function count(
  name: string,
  value: number | undefined,
  fallback: number,
  most: number = Number.MAX_SAFE_INTEGER,
): number {
  if (value === undefined) return fallback
  if (!Number.isSafeInteger(value) || value < 1 || value > most) {
    const upTo = most === Number.MAX_SAFE_INTEGER ? '' : ` to ${most}`
    throw new TypeError(`${name} must be a whole number from 1${upTo}, not ${shown(value)}`)
  }
  return value
}

export function text(name: string, value: unknown, limit = 200): string {
  if (typeof value !== 'string' || value.length === 0 || value.length > limit)
    throw new TypeError(`${name} must be a string of 1 to ${limit} characters, not ${shown(value)}`)
  return storable(name, value)
}

/**
 * Text that comes back from a database as it went in. Half of a surrogate pair would not: a driver sends another character in
 * its place, the same for all of them, and two keys would become one.
 */
export function storable(name: string, value: string): string {
  if (value.includes('\0'))
    throw new TypeError(`${name} must not contain the character U+0000, which no database keeps`)
  if (/\p{Surrogate}/u.test(value))
    throw new TypeError(`${name} must not contain half of a surrogate pair, which no database keeps: ${shown(value)}`)
  return value
}

/** How ids are written. */
export const UUID: RegExp = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i

/** Of a list: the id that it goes on below. */
export function checkBelow(below: unknown): void {
  if (below === undefined || (typeof below === 'string' && UUID.test(below))) return
  throw new TypeError(`list: after must be a page's next, not ${shown(below)}`)
}

export function optionalFunction(name: string, value: unknown): void {
  if (value !== undefined && typeof value !== 'function')
    throw new TypeError(`${name} must be a function, not ${shown(value)}`)
}

export function shown(value: unknown): string {
  if (typeof value === 'string') return `'${value.slice(0, 80)}'`
  return typeof value === 'object' && value !== null ? 'an object' : String(value)
}
