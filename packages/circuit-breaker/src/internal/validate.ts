import type { Clock } from '../policy.js'

/** The longest delay a timer can hold; larger ones would fire at once. */
export const MAX_DURATION: number = 2 ** 31 - 1

/** The largest window we are willing to hold in memory. */
const MAX_COUNT = 1_000_000

export function duration(option: string, value: unknown): number {
  if (typeof value === 'number' && value >= 0 && value <= MAX_DURATION) return value
  throw wrong(option, value, `milliseconds from 0 to ${MAX_DURATION}`)
}

export function positiveDuration(option: string, value: unknown): number {
  if (typeof value === 'number' && value > 0 && value <= MAX_DURATION) return value
  throw wrong(option, value, `milliseconds above 0, up to ${MAX_DURATION}`)
}

export function integer(option: string, value: unknown, least: number, most: number = MAX_COUNT): number {
  if (Number.isInteger(value) && (value as number) >= least && (value as number) <= most) return value as number
  throw wrong(option, value, `an integer from ${least} to ${most}`)
}

export function fraction(option: string, value: unknown): number {
  if (typeof value === 'number' && value >= 0 && value <= 1) return value
  throw wrong(option, value, 'a number from 0 to 1')
}

export function atLeast(option: string, value: unknown, least: number): number {
  if (typeof value === 'number' && value >= least && Number.isFinite(value)) return value
  throw wrong(option, value, `a finite number of at least ${least}`)
}

export function text(option: string, value: unknown): string {
  if (typeof value === 'string') return value
  throw wrong(option, value, 'a string')
}

export function flag(option: string, value: unknown): boolean {
  if (typeof value === 'boolean') return value
  throw wrong(option, value, 'a boolean')
}

export function object<T>(option: string, value: T): T & object {
  if (typeof value === 'object' && value !== null) return value
  throw wrong(option, value, 'an object')
}

export function callback<F>(option: string, value: F): F {
  if (value === undefined || typeof value === 'function') return value
  throw wrong(option, value, 'a function')
}

export function clockOption(value: Clock): Clock {
  if (typeof value === 'object' && value !== null && typeof value.now === 'function') return value
  throw wrong('clock', value, 'an object with now(): number')
}

/** The error every check throws: which option, what it was, what it should have been. */
export function wrong(option: string, value: unknown, expected: string): TypeError {
  return new TypeError(`${option} is ${shown(value)}, expected ${expected}`)
}

function shown(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value)
  if (typeof value === 'function') return 'a function'
  if (typeof value === 'object' && value !== null) return Array.isArray(value) ? 'an array' : 'an object'
  return String(value)
}
