import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { type CircuitBreaker, circuitBreaker } from './circuit-breaker.js'
import type { CircuitBreakerOptions } from './options.js'
import type { CircuitSnapshot } from './snapshot.js'

beforeEach(() => {
  vi.useFakeTimers({ now: Date.UTC(2026, 0, 1) })
})
afterEach(() => {
  vi.useRealTimers()
})

function breakerOf(options: CircuitBreakerOptions = {}): CircuitBreaker {
  return circuitBreaker({ name: 'inventory', trip: { failures: 2 }, openDuration: { base: 1_000 }, ...options })
}

function fail(breaker: CircuitBreaker, times = 1): void {
  for (let i = 0; i < times; i++) breaker.tryAcquire()?.fail()
}

/** What a file or a cache gives back. */
function stored(snapshot: CircuitSnapshot): CircuitSnapshot {
  return JSON.parse(JSON.stringify(snapshot)) as CircuitSnapshot
}

it('a snapshot is plain JSON with wall-clock times', () => {
  const breaker = breakerOf()
  fail(breaker, 2)

  expect(stored(breaker.snapshot())).toEqual({
    version: 1,
    name: 'inventory',
    state: 'open',
    takenAt: Date.UTC(2026, 0, 1),
    openings: 1,
    openedAt: Date.UTC(2026, 0, 1),
    openUntil: Date.UTC(2026, 0, 1) + 1_000,
    window: { width: 0, counts: [1, 1, 0, 1, 1, 0] },
  })
})

it('a circuit carries on where another one was, less the time in between', () => {
  const breaker = breakerOf()
  fail(breaker, 2)
  const snapshot = stored(breaker.snapshot())
  vi.advanceTimersByTime(400)

  const next = breakerOf({ initialState: snapshot })

  expect(next.state).toBe('open')
  expect(next.metrics.retryAfter).toBe(600)
  expect(next.metrics.openedAt).toBe(performance.now() - 400)
  vi.advanceTimersByTime(600)
  fail(next)
  expect(next.metrics.retryAfter).toBe(2_000)
})

it('a circuit that was open long ago may try at once', () => {
  const breaker = breakerOf()
  fail(breaker, 2)
  const snapshot = stored(breaker.snapshot())
  vi.advanceTimersByTime(60_000)

  const next = breakerOf({ initialState: snapshot })

  expect(next.state).toBe('half-open')
  next.tryAcquire()?.succeed()
  expect(next.state).toBe('closed')
})

it('a wall clock that was set back keeps a circuit open no longer than it had left', () => {
  const breaker = breakerOf()
  fail(breaker, 2)
  const snapshot = stored(breaker.snapshot())
  vi.setSystemTime(Date.UTC(2025, 0, 1))

  const next = breakerOf({ initialState: snapshot })

  expect(next.metrics.retryAfter).toBe(1_000)
})

it('a closed circuit remembers the calls of the one before it', () => {
  const breaker = breakerOf({ trip: { failures: 3 } })
  fail(breaker, 2)

  const next = breakerOf({ trip: { failures: 3 }, initialState: stored(breaker.snapshot()) })
  fail(next)

  expect(next.state).toBe('open')
})

it('calls grow old while a snapshot lies around', () => {
  const trip = { minimumCalls: 3, window: { duration: 10_000 } }
  const breaker = breakerOf({ trip })
  fail(breaker, 2)
  const snapshot = stored(breaker.snapshot())

  vi.advanceTimersByTime(5_000)
  expect(breakerOf({ trip, initialState: snapshot }).metrics.failures).toBe(2)
  vi.advanceTimersByTime(5_000)
  expect(breakerOf({ trip, initialState: snapshot }).metrics.failures).toBe(0)
})

it('a disabled circuit comes back disabled, an isolated one as it was beneath', () => {
  const disabled = breakerOf()
  disabled.disable()
  const isolated = breakerOf()
  fail(isolated, 2)
  isolated.isolate()

  expect(breakerOf({ initialState: stored(disabled.snapshot()) }).state).toBe('disabled')
  expect(breakerOf({ initialState: stored(isolated.snapshot()) }).state).toBe('open')
})
