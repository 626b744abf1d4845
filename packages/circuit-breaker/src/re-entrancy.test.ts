import { beforeEach, expect, it } from 'vitest'
import { type CircuitBreaker, circuitBreaker } from './circuit-breaker.js'
import { deferred, errorOf, VirtualClock } from './test-support.js'

let clock: VirtualClock
let breaker: CircuitBreaker
beforeEach(() => {
  clock = new VirtualClock()
  breaker = circuitBreaker({ trip: { failures: 1 }, openDuration: 1_000, clock })
})

function halfOpen() {
  breaker.tryAcquire()?.fail()
  clock.advance(1_000)
}

it.each(['isolate', 'disable', 'reset'] as const)('a trial that runs while a hand does %s decides nothing', (how) => {
  halfOpen()
  const trial = breaker.tryAcquire()
  const hold = breaker[how]()
  if (hold !== undefined) hold.release()
  if (how === 'disable') breaker.enable()
  const { state } = breaker
  const { calls } = breaker.metrics

  trial?.fail()

  expect(breaker.state).toBe(state)
  expect(breaker.metrics).toMatchObject({ inFlight: 0, calls })
})

it('an isolation during half-open leaves all trials to those who come after it', () => {
  halfOpen()
  const before = breaker.tryAcquire()
  const hold = breaker.isolate()
  expect(breaker.tryAcquire()).toBeUndefined()
  hold.release()

  const after = breaker.tryAcquire()
  before?.succeed()
  expect(breaker.state).toBe('half-open')
  after?.succeed()
  expect(breaker.state).toBe('closed')
})

it('a call made by a listener of a result is a call of its own', async () => {
  let inner: Promise<unknown> | undefined
  breaker.on('result', () => {
    inner ??= errorOf(breaker.execute(() => Promise.reject(new Error('inner'))))
  })

  expect(await breaker.execute(() => 'outer')).toBe('outer')
  await inner

  expect(breaker.state).toBe('open')
  expect(breaker.metrics.inFlight).toBe(0)
})

it('a listener of a rejection may reset the circuit; the call it told of stays rejected', async () => {
  breaker.tryAcquire()?.fail()
  breaker.on('reject', () => breaker.reset())

  expect(await errorOf(breaker.execute(() => 'never'))).toMatchObject({ state: 'open', retryAfter: 1_000 })
  expect(await breaker.execute(() => 'next')).toBe('next')
})

it('a listener that throws at a transition costs no trial', async () => {
  breaker.on('transition', () => {
    throw new Error('listener')
  })
  halfOpen()

  expect(await breaker.execute(() => 'trial')).toBe('trial')
  expect(breaker.state).toBe('closed')
})

it('a snapshot taken while a trial runs says half-open, and its heir has a trial to give', async () => {
  halfOpen()
  const hanging = deferred()
  const running = breaker.execute(() => hanging.promise)
  const snapshot = breaker.snapshot()
  expect(snapshot.state).toBe('half-open')

  const heir = circuitBreaker({ trip: { failures: 1 }, clock, initialState: snapshot })
  expect(heir.state).toBe('half-open')
  heir.tryAcquire()?.succeed()
  expect(heir.state).toBe('closed')
  hanging.resolve()
  await running
})

it('a snapshot whose failures exceed its calls is refused', () => {
  const { window, ...rest } = breaker.snapshot()

  for (const counts of [
    [0, 1, 0],
    [1, 0, 1, 0],
    [0, 0, 1],
  ]) {
    expect(() => circuitBreaker({ initialState: { ...rest, window: { ...window, counts } } })).toThrow(
      /^initialState.window.counts must be /,
    )
  }
})
