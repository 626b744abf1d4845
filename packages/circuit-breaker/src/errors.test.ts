import { expect, it, vi } from 'vitest'
import {
  BulkheadFullError,
  CircuitOpenError,
  isBulkheadFullError,
  isCircuitOpenError,
  isThrottledError,
  ThrottledError,
} from './errors.js'

const open = { circuit: 'inventory', state: 'open', retryAfter: 1_500.2 } as const
const full = { bulkhead: 'reports', concurrency: 4, queue: 20 } as const

it.each([
  [new CircuitOpenError(open), 'Circuit "inventory" is open, next trial in 1501 ms'],
  [new CircuitOpenError({ ...open, state: 'half-open' }), 'Circuit "inventory" is half-open and its trials are taken'],
  [new CircuitOpenError({ ...open, state: 'isolated' }), 'Circuit "inventory" is isolated by hand'],
  [new BulkheadFullError(full), 'Bulkhead "reports" is full (4 running, 20 waiting)'],
  [new BulkheadFullError({ ...full, waited: 100 }), 'Bulkhead "reports" had no room for 100 ms'],
  [new ThrottledError({ throttle: 'search', rejectionRate: 0.45 }), 'Throttle "search" rejects 45 % of calls'],
])('%s', (error, message) => {
  expect(error.message).toBe(message)
  expect(String(error)).toBe(`${error.name}: ${message}`)
})

it('has a cause only when there is one', () => {
  const cause = new Error('503')

  expect(new CircuitOpenError({ ...open, cause }).cause).toBe(cause)
  expect(new CircuitOpenError(open)).not.toHaveProperty('cause')
})

it('is recognised when another copy of the package made it', async () => {
  vi.resetModules()
  const copy = await import('./errors.js')
  expect(copy.CircuitOpenError).not.toBe(CircuitOpenError)

  expect(isCircuitOpenError(new copy.CircuitOpenError(open))).toBe(true)
  expect(isBulkheadFullError(new copy.BulkheadFullError(full))).toBe(true)
  expect(isThrottledError(new copy.ThrottledError({ throttle: 'search', rejectionRate: 0.5 }))).toBe(true)
})

it.each([undefined, null, 'MSX_CIRCUIT_OPEN', new Error('x'), { code: 'MSX_CIRCUIT_OPEN' }])('is not %s', (error) => {
  expect(isCircuitOpenError(error)).toBe(false)
  expect(isBulkheadFullError(error)).toBe(false)
  expect(isThrottledError(error)).toBe(false)
})
