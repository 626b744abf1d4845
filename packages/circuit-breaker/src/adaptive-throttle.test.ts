import { expect, it } from 'vitest'
import { type AdaptiveThrottleOptions, adaptiveThrottle } from './adaptive-throttle.js'
import { isThrottledError } from './errors.js'
import { deferred, errorOf, VirtualClock } from './test-support.js'

const boom = new Error('503')
const fails = () => Promise.reject(boom)
const works = () => Promise.resolve('fine')

/** A throttle whose dice show what the test says; 1 lets every call through. */
function throttleWith(options: AdaptiveThrottleOptions = {}) {
  const clock = new VirtualClock()
  const dice = { next: 1 }
  const throttle = adaptiveThrottle({ name: 'search', clock, random: () => dice.next, ...options })
  const calls = async (count: number, operation: () => Promise<unknown>) => {
    for (let i = 0; i < count; i++) await throttle.execute(operation).catch(() => undefined)
  }
  return { throttle, clock, dice, calls }
}

it('rejects nothing while at least every second call succeeds', async () => {
  const { throttle, dice, calls } = throttleWith()
  await calls(10, works)
  await calls(10, fails)
  dice.next = 0

  expect(throttle.metrics).toEqual({ requests: 20, accepts: 10, rejectionRate: 0, rejected: 0, inFlight: 0 })
  expect(await throttle.execute(works)).toBe('fine')
})

it('rejects the calls in excess of target times the accepted ones', async () => {
  const { throttle, calls } = throttleWith()
  await calls(5, works)
  await calls(14, fails)

  // (19 - 2 * 5) / (19 + 1)
  expect(throttle.metrics.rejectionRate).toBe(0.45)
})

it('lets the dice decide about each call', async () => {
  const { throttle, dice, calls } = throttleWith()
  await calls(5, works)
  await calls(14, fails)
  let called = 0

  dice.next = 0.45
  await throttle.execute(() => called++)
  // (20 - 2 * 6) / (20 + 1) = 0.38
  dice.next = 0.38
  const error = await errorOf(throttle.execute(() => called++))

  expect(called).toBe(1)
  expect(isThrottledError(error)).toBe(true)
  expect(error).toMatchObject({ code: 'MSX_THROTTLED', throttle: 'search' })
  expect(throttle.metrics.rejected).toBe(1)
})

it('counts what it rejects as not accepted, so that a dead service gets ever fewer calls', async () => {
  const { throttle, dice, calls } = throttleWith()
  await calls(1, fails)
  expect(throttle.metrics.rejectionRate).toBe(0.5)

  dice.next = 0
  await calls(2, works)

  expect(throttle.metrics).toMatchObject({ requests: 3, accepts: 0, rejectionRate: 0.75 })
})

it('never rejects more than maxRejectionRate', async () => {
  const { throttle, dice, calls } = throttleWith()
  await calls(500, fails)
  dice.next = 0.9

  expect(throttle.metrics.rejectionRate).toBe(0.9)
  expect(await throttle.execute(works)).toBe('fine')
})

it('tolerates more failures with a higher target', async () => {
  const { throttle, calls } = throttleWith({ target: 4 })
  await calls(5, works)
  await calls(15, fails)
  expect(throttle.metrics.rejectionRate).toBe(0)

  await calls(4, fails)
  // (24 - 4 * 5) / (24 + 1)
  expect(throttle.metrics.rejectionRate).toBe(0.16)
})

it('forgets what is older than the window, without a call', async () => {
  const { throttle, clock, calls } = throttleWith({ window: 1_000 })
  await calls(10, fails)

  clock.advance(899)
  expect(throttle.metrics.requests).toBe(10)
  clock.advance(101)
  expect(throttle.metrics).toMatchObject({ requests: 0, rejectionRate: 0 })
})

it('remembers for two minutes by default', async () => {
  const { throttle, clock, calls } = throttleWith()
  await calls(1, fails)

  clock.advance(107_999)
  expect(throttle.metrics.requests).toBe(1)
  clock.advance(12_001)
  expect(throttle.metrics.requests).toBe(0)
})

it('ignores the abort of the caller and calls that were never sent', async () => {
  const { throttle } = throttleWith()
  const caller = new AbortController()
  const pending = deferred()
  const call = throttle.execute(() => pending.promise, { signal: caller.signal })

  caller.abort()
  pending.reject(new Error('gone'))
  await errorOf(call)
  await errorOf(throttle.execute(() => Promise.reject(Object.assign(new Error(), { code: 'MSX_CIRCUIT_OPEN' }))))

  expect(throttle.metrics).toMatchObject({ requests: 0, inFlight: 0 })
})

it('does not call the operation when the caller aborted before', async () => {
  const { throttle } = throttleWith()
  const reason = new Error('too late')

  expect(await errorOf(throttle.execute(() => expect.fail('called'), { signal: AbortSignal.abort(reason) }))).toBe(
    reason,
  )
})

it('asks classify', async () => {
  const { throttle, calls } = throttleWith({
    classify: (outcome) => (outcome.ok && outcome.value === 503 ? 'failure' : 'success'),
  })

  await calls(3, () => Promise.resolve(503))
  await calls(2, fails)

  expect(throttle.metrics).toMatchObject({ requests: 5, accepts: 2 })
})

it('takes a throw for a rejection, and what classify throws reaches the caller', async () => {
  const { throttle } = throttleWith()
  expect(
    await errorOf(
      throttle.execute(() => {
        throw boom
      }),
    ),
  ).toBe(boom)
  expect(throttle.metrics).toMatchObject({ requests: 1, accepts: 0, inFlight: 0 })

  const wrong = throttleWith({ classify: () => 'perhaps' as never }).throttle
  expect(await errorOf(wrong.execute(works))).toBeInstanceOf(TypeError)
  expect(wrong.metrics.inFlight).toBe(0)
})

it.each([
  ['target', { target: 0.9 }],
  ['target', { target: Number.NaN }],
  ['window', { window: 0 }],
  ['window', { window: 2 ** 31 }],
  ['maxRejectionRate', { maxRejectionRate: 1.1 }],
  ['classify', { classify: 'failure' }],
  ['random', { random: 0.5 }],
  ['name', { name: 1 }],
  ['clock', { clock: Date.now }],
  ['adaptiveThrottle options', null],
])('refuses a wrong %s: %j', (option, options) => {
  expect(() => adaptiveThrottle(options as never)).toThrow(new RegExp(`^${option} must be `))
})
