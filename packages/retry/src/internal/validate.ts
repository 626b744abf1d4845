import type { Policy } from '../policy.js'
import { hasMethods } from './has-methods.js'

/** The longest delay `setTimeout` honours; above it, it fires at once. About 24.8 days. */
export const MAX_DELAY: number = 2 ** 31 - 1

/** A duration in milliseconds: finite, not negative, not above {@link MAX_DELAY}. */
export function duration(option: string, value: unknown): number {
  if (typeof value === 'number' && value >= 0 && value <= MAX_DELAY) return value

  throw wrong(option, value, `milliseconds from 0 to ${MAX_DELAY}`)
}

/** A finite number that is at least `minimum`. */
export function atLeast(minimum: number, option: string, value: unknown): number {
  if (typeof value === 'number' && value >= minimum && value < Number.POSITIVE_INFINITY) return value

  throw wrong(option, value, `a finite number that is at least ${minimum}`)
}

export function functionOption<F>(option: string, value: F): F {
  if (typeof value === 'function') return value

  throw wrong(option, value, 'a function')
}

export function stringOption(option: string, value: unknown): string {
  if (typeof value === 'string') return value

  throw wrong(option, value, 'a string')
}

/** Anything with an `execute`. */
export function policyArgument(argument: string, value: unknown): void {
  if (!hasMethods<Policy>(value, 'execute')) throw wrong(argument, value, 'a policy')
}

/** Options themselves: `retry(5)` is a slip worth a message. */
export function optionsObject(owner: string, value: unknown): void {
  if (typeof value === 'object' && value !== null) return

  throw wrong(`${owner} options`, value, 'an object')
}

export function wrong(option: string, value: unknown, expected: string): TypeError {
  return new TypeError(`${option} must be ${expected}, got ${show(value)}`)
}

function show(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value)
  if (typeof value === 'object' && value !== null) return Array.isArray(value) ? 'an array' : 'an object'
  if (typeof value === 'function') return 'a function'

  return String(value)
}
