import type { Clock } from '../policy.js'

/** The longest delay a timer can hold; larger ones would fire at once. */
export const MAX_DURATION: number = 2 ** 31 - 1

/** The largest window we are willing to hold in memory. */
export const MAX_COUNT = 1_000_000

const INTEGER = 'an integer'

export function milliseconds(option: string, value: unknown, least = 0): number {
  return within(option, value, 'milliseconds', least, MAX_DURATION)
}

export function integer(option: string, value: unknown, least: number, most: number = MAX_COUNT): number {
  return within(option, value, INTEGER, least, most)
}

/** A part of a whole, from 0 to 1. */
export function share(option: string, value: unknown): number {
  return within(option, value, 'a number', 0, 1)
}

export function within(option: string, value: unknown, what: string, least: number, most: number): number {
  if (typeof value === 'number' && value >= least && value <= most && (what !== INTEGER || value % 1 === 0))
    return value
  throw wrong(option, value, `${what} from ${least} to ${most}`)
}

export function object<T>(option: string, value: T): T & object {
  return typed(option, value, 'an object')
}

/** Undefined is no callback, and fine. */
export function callback<F>(option: string, value: F): F {
  return value === undefined ? value : typed(option, value, 'a function')
}

export function clockOption(value: Clock): Clock {
  typed('clock.now', object('clock', value).now, 'a function')
  return value
}

/** Checks the type that the last word of `expected` names. */
export function typed<T>(option: string, value: T, expected: string): NonNullable<T> {
  if (value !== undefined && value !== null && expected.endsWith(typeof value)) return value
  throw wrong(option, value, expected)
}

/** The error every check throws: which option, what it was, what it should have been. */
export function wrong(option: string, value: unknown, expected: string): TypeError {
  return new TypeError(`${option} must be ${expected}, got ${shown(value)}`)
}

function shown(value: unknown): string {
  if (typeof value === 'string') return `"${value}"`
  if (typeof value === 'function') return 'a function'
  return Object(value) === value ? 'an object' : String(value)
}
