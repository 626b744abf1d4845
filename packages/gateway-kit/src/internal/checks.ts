/** The longest delay a Node timer can hold; above it, it fires at once. */
const LONGEST_TIMER = 2 ** 31 - 1

/** What is wrong with a value, or nothing. */
export type Check = (value: unknown) => string | undefined

export const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

export const positiveInteger: Check = (value) =>
  Number.isSafeInteger(value) && (value as number) > 0 ? undefined : 'a positive integer'

export const wholeNumber: Check = (value) =>
  Number.isSafeInteger(value) && (value as number) >= 0 ? undefined : 'a whole number, 0 or more'

export const positiveNumber: Check = (value) =>
  typeof value === 'number' && Number.isFinite(value) && value > 0 ? undefined : 'a number above 0'

export const duration: Check = (value) =>
  typeof value === 'number' && value >= 0 && value <= LONGEST_TIMER
    ? undefined
    : `a number of milliseconds between 0 and ${LONGEST_TIMER}`

export const anObject: Check = (value) => (isRecord(value) ? undefined : 'an object')

export const aFunction: Check = (value) => (typeof value === 'function' ? undefined : 'a function')

export const aString: Check = (value) => (typeof value === 'string' && value !== '' ? undefined : 'a non-empty string')

export const listOfStrings: Check = (value) =>
  Array.isArray(value) && value.length > 0 && value.every((item) => typeof item === 'string' && item !== '')
    ? undefined
    : 'a non-empty list of strings'

/** `check`, or `false`. */
export const orFalse =
  (check: Check): Check =>
  (value) => {
    if (value === false) return undefined

    const expected = check(value)
    return expected === undefined ? undefined : `${expected}, or false`
  }

/** Throws a TypeError that names the option, the value and what was expected; `undefined` passes. */
export function checkOption(owner: string, name: string, value: unknown, check: Check): void {
  if (value === undefined) return

  const expected = check(value)
  if (expected !== undefined) throw new TypeError(`${owner}: ${name} must be ${expected}, got ${show(value)}`)
}

/** A value, short enough for a message. */
export function show(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value.length > 80 ? `${value.slice(0, 80)}…` : value)
  if (typeof value === 'bigint') return `${value}n`
  if (typeof value === 'object' && value !== null)
    return Array.isArray(value) ? `a list of ${value.length}` : 'an object'
  if (typeof value === 'function') return 'a function'

  return String(value)
}
