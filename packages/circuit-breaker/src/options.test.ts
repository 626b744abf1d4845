import { expect, it } from 'vitest'
import { bulkhead } from './bulkhead.js'
import { circuitBreaker } from './circuit-breaker.js'
import type { CircuitBreakerOptions } from './options.js'
import { circuitRegistry } from './registry.js'

const window = { calls: 10 }
const snapshot = circuitBreaker().snapshot()

it.each<[option: string, options: unknown]>([
  ['circuitBreaker options', null],
  ['name', { name: 7 }],
  ['trip', { trip: null }],
  ['trip', { trip: { failureRate: 0.5 } }],
  ['trip.failures', { trip: { failures: 0 } }],
  ['trip.failures', { trip: { failures: 1.5 } }],
  ['trip.failures', { trip: { failures: Number.POSITIVE_INFINITY } }],
  ['trip.failureRate', { trip: { failureRate: 1.1, window } }],
  ['trip.failureRate', { trip: { failureRate: Number.NaN, window } }],
  ['trip.slowRate', { trip: { slowRate: -0.1, window }, slowCall: 10 }],
  ['slowCall', { trip: { slowRate: 0.5, window } }],
  ['trip.minimumCalls', { trip: { minimumCalls: 0, window } }],
  ['trip.minimumCalls', { trip: { minimumCalls: 11, window } }],
  ['trip.window', { trip: { window: 10 } }],
  ['trip', { trip: { failures: 5, window } }],
  ['trip', { trip: { failures: 5, failureRate: 0.5 } }],
  ['trip', { trip: { failures: 5, minimumCalls: 10 } }],
  ['trip.window', { trip: { window: { calls: 10, duration: 1_000 } } }],
  ['trip.window', { trip: { window: { calls: 10, buckets: 10 } } }],
  ['trip.minimumCalls', { trip: { minimumCalls: null, window } }],
  ['trip.window.calls', { trip: { window: { calls: 0 } } }],
  ['trip.window.duration', { trip: { window: { duration: 0 } } }],
  ['trip.window.duration', { trip: { window: { duration: 2 ** 31 } } }],
  ['trip.window.duration', { trip: { window: { duration: Number.NaN } } }],
  ['trip.window.duration', { trip: { window: { duration: -1 } } }],
  ['trip.window.duration', { trip: { window: {} } }],
  ['trip.window.calls', { trip: { window: { calls: Number.NaN } } }],
  ['trip.window.calls', { trip: { window: { calls: 2_000_000 } } }],
  ['trip.window.buckets', { trip: { window: { duration: 10, buckets: 0 } } }],
  ['openDuration', { openDuration: -1 }],
  ['openDuration', { openDuration: Number.NaN }],
  ['openDuration', { openDuration: '30s' }],
  ['openDuration', { openDuration: Number.POSITIVE_INFINITY }],
  ['openDuration', { openDuration: 2 ** 31 }],
  ['openDuration', { openDuration: null }],
  ['openDuration.base', { openDuration: {} }],
  ['openDuration.base', { openDuration: { base: 2 ** 31 } }],
  ['openDuration.factor', { openDuration: { base: 1, factor: Number.NaN } }],
  ['openDuration.max', { openDuration: { base: 1, max: Number.POSITIVE_INFINITY } }],
  ['openDuration.factor', { openDuration: { base: 1, factor: 0.5 } }],
  ['openDuration.jitter', { openDuration: { base: 1, jitter: 2 } }],
  ['halfOpen', { halfOpen: 1 }],
  ['halfOpen.trials', { halfOpen: { trials: 0 } }],
  ['halfOpen.successes', { halfOpen: { trials: 2, successes: 3 } }],
  ['halfOpen.trialTimeout', { halfOpen: { trialTimeout: Number.POSITIVE_INFINITY } }],
  ['halfOpen.trials', { halfOpen: { trials: Number.NaN } }],
  ['halfOpen.trialTimeout', { halfOpen: { trialTimeout: 2 ** 31 } }],
  ['slowCall', { slowCall: -1 }],
  ['slowCall', { slowCall: Number.NaN }],
  ['slowCall', { slowCall: Number.POSITIVE_INFINITY }],
  ['slowCall', { slowCall: 2 ** 31 }],
  ['classify', { classify: 'failure' }],
  ['retryAfter', { retryAfter: 5 }],
  ['dryRun', { dryRun: 'yes' }],
  ['clock', { clock: Date }],
  ['random', { random: 0.5 }],
  ['initialState', { initialState: 'open' }],
  ['initialState.version', { initialState: { ...snapshot, version: 2 } }],
  ['initialState.state', { initialState: { ...snapshot, state: 'ajar' } }],
  ['initialState.takenAt', { initialState: { ...snapshot, takenAt: 'now' } }],
  ['initialState.openUntil', { initialState: { ...snapshot, state: 'open', openUntil: -1 } }],
  ['initialState.openUntil', { initialState: { ...snapshot, state: 'open' } }],
  ['initialState.openUntil', { initialState: { ...snapshot, state: 'half-open' } }],
  ['initialState.openUntil', { initialState: { ...snapshot, state: 'open', openUntil: Number.MAX_SAFE_INTEGER } }],
  ['initialState.state', { initialState: { ...snapshot, state: 'closed', openUntil: snapshot.takenAt } }],
  ['initialState.window', { initialState: { ...snapshot, window: undefined } }],
  ['initialState.window.width', { initialState: { ...snapshot, window: { width: -1, counts: [] } } }],
  ['initialState.window.counts', { initialState: { ...snapshot, window: { width: 0, counts: '110' } } }],
  ['initialState.window.counts', { initialState: { ...snapshot, window: { width: 0, counts: [2, 0, 0] } } }],
  ['initialState.window.counts', { initialState: { ...snapshot, window: { width: 1, counts: [Number.NaN, 0, 0] } } }],
])('a circuit breaker refuses a wrong %s: %j', (option, options) => {
  expect(() => circuitBreaker(options as CircuitBreakerOptions)).toThrow(TypeError)
  expect(() => circuitBreaker(options as CircuitBreakerOptions)).toThrow(
    new RegExp(`^${option.replaceAll('.', '\\.')} must be `),
  )
})

it('a refusal says what the option was and what it should have been', () => {
  expect(() => circuitBreaker({ halfOpen: { trials: 2, successes: 3 } })).toThrow(
    'halfOpen.successes must be an integer from 1 to 2, got 3',
  )
})

it.each([
  { trip: undefined, openDuration: undefined, halfOpen: undefined, slowCall: undefined, classify: undefined },
  { openDuration: 0, slowCall: 0, halfOpen: { trialTimeout: 0 } },
  { trip: { failureRate: 1, slowRate: 1, minimumCalls: 10, window }, slowCall: 1 },
])('a circuit breaker takes %j', (options) => {
  expect(circuitBreaker(options as CircuitBreakerOptions).state).toBe('closed')
})

it.each([
  ['concurrency', { concurrency: 0 }],
  ['queue', { concurrency: 1, queue: -1 }],
  ['concurrency', { concurrency: Number.POSITIVE_INFINITY }],
  ['queue', { concurrency: 1, queue: 0.5 }],
  ['queueTimeout', { concurrency: 1, queueTimeout: Number.NaN }],
  ['queueTimeout', { concurrency: 1, queueTimeout: 2 ** 31 }],
  ['name', { concurrency: 1, name: 1 }],
  ['clock.now', { concurrency: 1, clock: {} }],
])('a bulkhead refuses a wrong %s: %j', (option, options) => {
  expect(() => bulkhead(options as never)).toThrow(new RegExp(`^${option} must be `))
})

it('a registry refuses a wrong factory or max', () => {
  expect(() => circuitRegistry(undefined as never)).toThrow('create must be a function, got undefined')
  expect(() => circuitRegistry(() => circuitBreaker(), { max: 0 })).toThrow(/^max must be .*, got 0$/)
})
