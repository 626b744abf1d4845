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

export function count(name: string, value: number | undefined, fallback: number): number {
  if (value === undefined) return fallback
  if (!Number.isSafeInteger(value) || value < 1)
    throw new TypeError(`${name} must be a whole number from 1, not ${shown(value)}`)
  return value
}

export function text(name: string, value: unknown, limit = 200): string {
  if (typeof value !== 'string' || value.length === 0 || value.length > limit)
    throw new TypeError(`${name} must be a string of 1 to ${limit} characters, not ${shown(value)}`)
  if (value.includes('\0'))
    throw new TypeError(`${name} must not contain the character U+0000, which no database keeps`)
  return value
}

export function optionalFunction(name: string, value: unknown): void {
  if (value !== undefined && typeof value !== 'function')
    throw new TypeError(`${name} must be a function, not ${shown(value)}`)
}

export function shown(value: unknown): string {
  if (typeof value === 'string') return `'${value.slice(0, 80)}'`
  return typeof value === 'object' && value !== null ? 'an object' : String(value)
}
