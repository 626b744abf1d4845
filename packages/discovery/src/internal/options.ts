import { inspect } from 'node:util'

/** The longest delay `setTimeout` keeps: anything above fires at once. */
const LONGEST_TIMER = 2 ** 31 - 1

/** The TypeError every wrong option ends in: the option, what came, what was expected. */
export function wrongOption(option: string, value: unknown, expected: string): TypeError {
  return new TypeError(`${option} must be ${expected}, got ${inspect(value, { depth: 0, maxStringLength: 100 })}`)
}

/** A duration in milliseconds, 0 to 2^31-1. */
export function checkDuration(option: string, value: unknown): number {
  if (typeof value === 'number' && value >= 0 && value <= LONGEST_TIMER) return value

  throw wrongOption(option, value, `a number of milliseconds between 0 and ${LONGEST_TIMER}`)
}

/** A whole number of at least 0. */
export function checkCount(option: string, value: unknown): number {
  if (Number.isSafeInteger(value) && (value as number) >= 0) return value as number

  throw wrongOption(option, value, 'a whole number of at least 0')
}

/** A function, or undefined. */
export function checkFunction(option: string, value: unknown): void {
  if (value !== undefined && typeof value !== 'function') throw wrongOption(option, value, 'a function')
}
