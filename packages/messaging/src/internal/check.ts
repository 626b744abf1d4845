/** The longest delay a Node timer keeps, in ms; above it setTimeout fires at once. */
export const LONGEST_DELAY: number = 2 ** 31 - 1

/** The longest text that AMQP carries as a name or an id, in bytes. */
export const LONGEST_TEXT = 255

/** Refuses a wrong option, naming it, what was given and what was expected. */
export function refuse(where: string, option: string, value: unknown, expected: string): never {
  throw new TypeError(`${where}: ${option} must be ${expected}, got ${show(value)}`)
}

export function checkDuration(where: string, option: string, value: number | undefined): void {
  if (value === undefined) return
  if (typeof value === 'number' && value >= 0 && value <= LONGEST_DELAY) return

  refuse(where, option, value, `a number of milliseconds from 0 to ${LONGEST_DELAY}`)
}

/** For what a database waits for, and no timer. A century, in ms. */
const LONGEST_SPAN = 100 * 365.25 * 86_400_000

export function checkSpan(where: string, option: string, value: unknown): void {
  if (typeof value === 'number' && value >= 0 && value <= LONGEST_SPAN) return

  refuse(where, option, value, `a number of milliseconds from 0 to ${LONGEST_SPAN} (100 years)`)
}

export function checkCount(where: string, option: string, value: number | undefined, least: number): void {
  if (value === undefined) return
  if (Number.isSafeInteger(value) && value >= least) return

  refuse(where, option, value, `an integer from ${least}`)
}

export function checkText(where: string, option: string, value: unknown): void {
  if (typeof value !== 'string' || value === '') refuse(where, option, value, 'a string that is not empty')
}

export function checkOptionalText(where: string, option: string, value: unknown): void {
  if (value !== undefined) checkText(where, option, value)
}

/** In bytes. */
export function checkLength(where: string, option: string, value: string, most: number): void {
  // No character has more than three bytes.
  if (value.length * 3 <= most || Buffer.byteLength(value) <= most) return

  refuse(where, option, value, `a string of at most ${most} bytes`)
}

export function checkObject(where: string, option: string, value: unknown, expected = 'an object'): void {
  if (typeof value !== 'object' || value === null) refuse(where, option, value, expected)
}

export function checkFunction(where: string, option: string, value: unknown): void {
  if (typeof value !== 'function') refuse(where, option, value, 'a function')
}

export function isAbortSignal(value: unknown): value is AbortSignal {
  return typeof (value as Partial<AbortSignal> | null | undefined)?.addEventListener === 'function'
}

export function checkSignal(where: string, option: string, value: unknown): void {
  if (value !== undefined && !isAbortSignal(value)) refuse(where, option, value, 'an AbortSignal')
}

function show(value: unknown): string {
  if (typeof value === 'string') return `'${value}'`
  if (typeof value === 'function') return 'a function'
  if (typeof value !== 'object' || value === null) return String(value)
  try {
    return JSON.stringify(value)
  } catch {
    return 'an object'
  }
}
