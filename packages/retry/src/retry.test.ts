import { describe, expect, it, vi } from 'vitest'
import { constant, exponential } from './backoff.js'
import { VirtualClock } from './internal/virtual-clock.js'
import type { Outcome } from './policy.js'
import { type RetryOptions, retry } from './retry.js'
import { retryBudget } from './retry-budget.js'

/** A retry under a virtual clock, waiting 100 ms unless told otherwise, and what it was called for. */
function setup(options: RetryOptions = {}) {
  const clock = new VirtualClock()
  const policy = retry({ backoff: constant(100), clock, ...options })
  const events: unknown[] = []
  for (const name of ['retry', 'exhausted', 'budgetExhausted', 'success'] as const) {
    policy.on(name, (event) => events.push([name, event]))
  }

  return { clock, policy, events }
}

/** Fails with each of `errors` in turn, then resolves with 'done'. */
function failing(...errors: unknown[]) {
  const left = [...errors]
  return vi.fn(async () => {
    if (left.length > 0) throw left.shift()
    return 'done'
  })
}

const boom = new Error('boom')

it.each([
  ['after its attempts', {}],
  ['without a retry', { attempts: 1 }],
  ['when it judges values too', { attempts: 1, shouldRetry: () => false }],
])('a failure that nobody awaits is an unhandled rejection, once, %s', async (_, options: RetryOptions) => {
  const unhandled = vi.fn()
  process.on('unhandledRejection', unhandled)

  void retry({ backoff: constant(0), ...options }).execute(() => Promise.reject(boom))
  // Told when the microtasks are done.
  for (let turn = 0; turn < 3; turn++) await new Promise((resolve) => setImmediate(resolve))
  process.off('unhandledRejection', unhandled)

  expect(unhandled.mock.calls.map(([reason]) => reason)).toEqual([boom])
})

describe('retry', () => {
  it('calls once what succeeds', async () => {
    const { policy, events } = setup()
    const operation = failing()

    expect(await policy.execute(operation)).toBe('done')
    expect(operation).toHaveBeenCalledTimes(1)
    expect(events).toEqual([['success', { attempt: 1 }]])
  })

  it('takes an operation that returns no promise', async () => {
    expect(await retry().execute(() => 7)).toBe(7)
  })

  it('tries again after the back-off, and numbers the attempts from 1', async () => {
    const { clock, policy } = setup()
    const attempts: number[] = []
    const call = policy.execute(({ attempt }) => {
      attempts.push(attempt)
      if (attempt < 3) throw boom
      return clock.now()
    })

    await clock.advance(99)
    expect(attempts).toEqual([1])
    await clock.advance(1)
    expect(attempts).toEqual([1, 2])
    await clock.advance(100)

    expect(await call).toBe(200)
  })

  it('rejects with the last error, the same object, after three attempts by default', async () => {
    const { clock, policy, events } = setup()
    const last = new Error('last')
    const operation = failing(boom, boom, last, boom)
    const call = policy.execute(operation).catch((error: unknown) => error)

    await clock.advance(1_000)

    expect(await call).toBe(last)
    expect(operation).toHaveBeenCalledTimes(3)
    expect(events).toEqual([
      ['retry', { attempt: 1, delay: 100, outcome: { ok: false, error: boom } }],
      ['retry', { attempt: 2, delay: 100, outcome: { ok: false, error: boom } }],
      ['exhausted', { attempt: 3, outcome: { ok: false, error: last }, reason: 'attempts' }],
    ])
  })

  it('gives the back-off the retry from 0, what it returned before, and the source of chance', async () => {
    const random = () => 0.5
    const backoff = vi.fn((retries: number) => 10 * (retries + 1))
    const { clock, policy } = setup({ backoff, random })
    const call = policy.execute(failing(boom, boom))

    await clock.advance(1_000)
    await call

    expect(backoff.mock.calls).toEqual([
      [0, 0, random],
      [1, 10, random],
    ])
  })

  it('needs no timer where there is no wait', async () => {
    const { clock, policy } = setup({ backoff: constant(0), attempts: 50 })

    expect(await policy.execute(failing(...Array(49).fill(boom)))).toBe('done')
    expect(clock.pending).toBe(0)
  })

  it('lets the event loop turn in an endless loop of immediate failures, so that it can be aborted', async () => {
    const policy = retry({ attempts: Number.POSITIVE_INFINITY, backoff: constant(0) })
    const caller = new AbortController()
    setImmediate(() => caller.abort(boom))

    const call = policy.execute(
      () => {
        throw new Error('at once')
      },
      { signal: caller.signal },
    )

    await expect(call).rejects.toBe(boom)
  })

  it('leaves the error of a back-off that returns nonsense where it can be seen', async () => {
    const { policy } = setup({ backoff: () => Number.NaN })

    await expect(policy.execute(failing(boom))).rejects.toThrow(/backoff returns .* got NaN/)
  })
})

describe('retry: what is worth a retry', () => {
  async function attemptsFor(error: unknown, options: RetryOptions = {}): Promise<number> {
    const { clock, policy } = setup({ attempts: 2, ...options })
    const operation = failing(error)
    const call = policy.execute(operation).catch(() => undefined)
    await clock.advance(100_000)
    await call

    return operation.mock.calls.length
  }

  it.each([
    ['an error', boom],
    ['a thrown string', 'boom'],
    ['nothing thrown', undefined],
    ['a network error', new TypeError('fetch failed')],
    ['a timeout', Object.assign(new Error(), { code: 'MSX_TIMEOUT' })],
    ["an AbortError of the operation's own making", new DOMException('stop', 'AbortError')],
    [
      'an open circuit that says when to come back',
      Object.assign(new Error(), { code: 'MSX_CIRCUIT_OPEN', retryAfter: 500 }),
    ],
  ])('retries %s', async (_, error) => {
    expect(await attemptsFor(error)).toBe(2)
  })

  it.each([
    ['a mistake in the program', new TypeError('x is not a function')],
    ['an open circuit that does not say when', Object.assign(new Error(), { code: 'MSX_CIRCUIT_OPEN' })],
    ['a full bulkhead', Object.assign(new Error(), { code: 'MSX_BULKHEAD_FULL' })],
    ['a throttle', Object.assign(new Error(), { code: 'MSX_THROTTLED' })],
    [
      'an open circuit for longer than we wait',
      Object.assign(new Error(), { code: 'MSX_CIRCUIT_OPEN', retryAfter: 30_000 }),
    ],
  ])('does not retry %s', async (_, error) => {
    expect(await attemptsFor(error)).toBe(1)
  })

  it('does not retry an open circuit that opens after the deadline', async () => {
    const open = Object.assign(new Error(), { code: 'MSX_CIRCUIT_OPEN', retryAfter: 500 })

    expect(await attemptsFor(open, { deadline: 499 })).toBe(1)
    expect(await attemptsFor(open, { deadline: 501 })).toBe(2)
  })

  it('asks shouldRetry with the outcome and the attempt', async () => {
    const shouldRetry = vi.fn((outcome: Outcome) => !outcome.ok)
    const { clock, policy } = setup({ shouldRetry })
    const call = policy.execute(failing(new TypeError('x is not a function')))

    await clock.advance(1_000)

    expect(await call).toBe('done')
    expect(shouldRetry.mock.calls).toEqual([
      [{ ok: false, error: expect.any(TypeError) }, 1],
      [{ ok: true, value: 'done' }, 2],
    ])
  })

  it('rejects with what shouldRetry throws', async () => {
    const mistake = new Error('in shouldRetry')
    const { policy } = setup({
      shouldRetry() {
        throw mistake
      },
    })

    await expect(policy.execute(() => 1)).rejects.toBe(mistake)
  })

  it('repeats for a value that is refused, discards it, and returns the last one all the same', async () => {
    const discard = vi.fn()
    const { clock, policy, events } = setup({ shouldRetry: (outcome) => outcome.ok, discard })
    let count = 0
    const call = policy.execute(() => ++count)

    await clock.advance(1_000)

    expect(await call).toBe(3)
    expect(discard.mock.calls).toEqual([[1], [2]])
    expect(events.at(-1)).toEqual(['exhausted', { attempt: 3, outcome: { ok: true, value: 3 }, reason: 'attempts' }])
  })

  it('is not disturbed by a discard that fails', async () => {
    const discard = vi
      .fn()
      .mockRejectedValueOnce(boom)
      .mockImplementationOnce(() => {
        throw boom
      })
    const { clock, policy } = setup({ shouldRetry: (outcome) => outcome.ok, discard })
    const call = policy.execute(() => 'value')

    await clock.advance(1_000)

    expect(await call).toBe('value')
  })
})

describe('retry: Retry-After', () => {
  const busy = (retryAfter: unknown) => Object.assign(new Error('busy'), { retryAfter })

  it('waits for as long as the error asks', async () => {
    const { clock, policy } = setup()
    const operation = failing(busy(5_000))
    const call = policy.execute(operation)

    await clock.advance(4_999)
    expect(operation).toHaveBeenCalledTimes(1)
    await clock.advance(1)

    expect(await call).toBe('done')
  })

  it('reads the header of the response an error carries', async () => {
    const { clock, policy } = setup()
    const response = new Response(null, { headers: { 'retry-after': '2' } })
    const call = policy.execute(failing(Object.assign(new Error(), { response })))

    await clock.advance(1_999)
    expect(clock.pending).toBe(1)
    await clock.advance(1)

    expect(await call).toBe('done')
  })

  it('reads the header of a response that shouldRetry refused', async () => {
    const { clock, policy, events } = setup({
      attempts: 2,
      shouldRetry: ({ ok, value }: Outcome & { value?: unknown }) => ok && (value as Response).status === 503,
    })
    const call = policy.execute(() => new Response('busy', { status: 503, headers: { 'retry-after-ms': '700' } }))

    await clock.advance(1_000)
    await call

    expect(events[0]).toMatchObject(['retry', { delay: 700 }])
  })

  it('never waits less than the back-off', async () => {
    const { clock, policy, events } = setup()
    const call = policy.execute(failing(busy(5)))

    await clock.advance(100)
    await call

    expect(events[0]).toMatchObject(['retry', { delay: 100 }])
  })

  it.each([-1, Number.NaN, 'soon', null])('takes %s for no hint', async (hint) => {
    const { clock, policy } = setup()
    const call = policy.execute(failing(busy(hint)))

    await clock.advance(100)

    expect(await call).toBe('done')
  })

  it('gives up with the real error instead of coming back early', async () => {
    const { policy, events } = setup({ maxRetryAfter: 1_000 })
    const error = busy(1_001)
    const operation = failing(error)

    await expect(policy.execute(operation)).rejects.toBe(error)
    expect(operation).toHaveBeenCalledTimes(1)
    expect(events).toEqual([['exhausted', { attempt: 1, outcome: { ok: false, error }, reason: 'retryAfter' }]])
  })
})

describe('retry: deadline', () => {
  it('does not begin a wait that would cross it', async () => {
    const { clock, policy, events } = setup({ attempts: 100, deadline: 250 })
    const operation = failing(...Array(100).fill(boom))
    const call = policy.execute(operation).catch((error: unknown) => error)

    await clock.advance(200)

    expect(await call).toBe(boom)
    expect(operation).toHaveBeenCalledTimes(3)
    expect(events.at(-1)).toMatchObject(['exhausted', { attempt: 3, reason: 'deadline' }])
  })

  it('counts the time of the attempts, and aborts none', async () => {
    const { clock, policy } = setup({ deadline: 250 })
    const signals: AbortSignal[] = []
    const call = policy
      .execute(async ({ signal }) => {
        signals.push(signal)
        await new Promise<void>((resolve) => clock.after(200, resolve))
        throw boom
      })
      .catch((error: unknown) => error)

    await clock.advance(1_000)

    expect(await call).toBe(boom)
    expect(signals.map((signal) => signal.aborted)).toEqual([false])
  })
})

describe('retry: a timer that comes late', () => {
  it('starts no attempt after the deadline: the last error is what the caller gets', async () => {
    const { clock, policy, events } = setup({ deadline: 250 })
    const operation = failing(boom, boom)
    const call = policy.execute(operation).catch((error: unknown) => error)
    await clock.advance(0)

    clock.jump(1_000)
    await clock.advance(0)

    expect(await call).toBe(boom)
    expect(operation).toHaveBeenCalledTimes(1)
    expect(events.at(-1)).toEqual([
      'exhausted',
      { attempt: 1, outcome: { ok: false, error: boom }, reason: 'deadline' },
    ])
  })

  it('gives back a value that was refused, not thrown away yet', async () => {
    const discard = vi.fn()
    const { clock, policy } = setup({ deadline: 250, shouldRetry: ({ ok }) => ok, discard })
    const call = policy.execute(() => 'busy')
    await clock.advance(0)

    clock.jump(1_000)
    await clock.advance(0)

    expect(await call).toBe('busy')
    expect(discard).not.toHaveBeenCalled()
  })

  it('throws a refused value away once, when it tries again or when the caller gives up', async () => {
    const discard = vi.fn()
    const { clock, policy } = setup({ deadline: 1_000, shouldRetry: ({ ok }) => ok, discard })
    const caller = new AbortController()
    let attempts = 0
    const call = policy.execute(() => `busy ${++attempts}`, { signal: caller.signal }).catch((error: unknown) => error)

    await clock.advance(150)
    expect(discard.mock.calls).toEqual([['busy 1']])
    caller.abort(boom)

    expect(await call).toBe(boom)
    expect(discard.mock.calls).toEqual([['busy 1'], ['busy 2']])
  })
})

describe('retry: a clock that steps back', () => {
  it('makes the deadline later, and no wait longer', async () => {
    const clock = new VirtualClock()
    let skew = 0
    const stepping = { now: () => clock.now() + skew, after: (ms: number, run: () => void) => clock.after(ms, run) }
    const { policy } = setup({ clock: stepping, deadline: 250, attempts: 5 })
    const operation = failing(...Array(5).fill(boom))
    const call = policy.execute(operation).catch((error: unknown) => error)

    await clock.advance(100)
    skew = -1_000
    await clock.advance(300)

    expect(await call).toBe(boom)
    expect(operation).toHaveBeenCalledTimes(5)
  })
})

describe('retry: strange operations', () => {
  it.each([undefined, null, 0, ''])('takes a thrown %s for an error like any other', async (thrown) => {
    const { clock, policy } = setup()
    const operation = vi.fn(() => Promise.reject(thrown))
    const call = policy.execute(operation).then(
      () => expect.fail('resolved'),
      (error: unknown) => [error],
    )

    await clock.advance(1_000)

    expect(await call).toEqual([thrown])
    expect(operation).toHaveBeenCalledTimes(3)
  })

  it('takes the first settlement of a thenable that settles twice', async () => {
    const { policy } = setup()
    const both = {
      then(resolve: (value: string) => void, reject: (error: unknown) => void) {
        resolve('first')
        reject(boom)
        resolve('second')
      },
    }

    expect(await policy.execute(() => both as PromiseLike<string>)).toBe('first')
  })

  it.each([undefined, null, 'operation', {}])(
    'rejects with a TypeError for the operation %o, and tries it once',
    async (operation) => {
      const { clock, policy, events } = setup()
      const call = policy.execute(operation as never).catch((error: unknown) => error)

      await clock.advance(1_000)

      expect(await call).toBeInstanceOf(TypeError)
      expect(events).toEqual([])
    },
  )
})

describe('retry: budget', () => {
  it('rejects with the last real error when it is empty', async () => {
    const clock = new VirtualClock()
    const budget = retryBudget({ ratio: 0, minPerSecond: 0.1, clock })
    const { policy, events } = setup({ attempts: 10, budget, clock })
    const call = policy.execute(failing(...Array(10).fill(boom))).catch((error: unknown) => error)

    await clock.advance(100)

    expect(await call).toBe(boom)
    expect(events.at(-1)).toEqual(['budgetExhausted', { attempt: 2, outcome: { ok: false, error: boom } }])
  })

  it('is paid before the wait, so that retries in back-off count', async () => {
    const clock = new VirtualClock()
    const budget = retryBudget({ ratio: 0, minPerSecond: 0.1, clock })
    const { policy } = setup({ budget, clock })
    const waiting = policy.execute(failing(boom))

    await expect(policy.execute(failing(boom))).rejects.toBe(boom)

    await clock.advance(100)
    expect(await waiting).toBe('done')
  })

  it('gets a deposit for each call, and none for a retry', async () => {
    const budget = { balance: 1, deposit: vi.fn(), tryWithdraw: vi.fn(() => true) }
    const { clock, policy } = setup({ budget })
    const call = policy.execute(failing(boom, boom))
    await clock.advance(1_000)
    await call

    expect(budget.deposit).toHaveBeenCalledTimes(1)
    expect(budget.tryWithdraw).toHaveBeenCalledTimes(2)
  })

  it('is not asked for a retry that is not made anyway', async () => {
    const budget = { balance: 1, deposit: vi.fn(), tryWithdraw: vi.fn(() => true) }
    const { policy } = setup({ budget, deadline: 50 })

    await expect(policy.execute(failing(boom))).rejects.toBe(boom)
    expect(budget.tryWithdraw).not.toHaveBeenCalled()
  })
})

describe("retry: the caller's abort", () => {
  it('does not call the operation when it came before', async () => {
    const { policy } = setup()
    const operation = failing()

    await expect(policy.execute(operation, { signal: AbortSignal.abort(boom) })).rejects.toBe(boom)
    expect(operation).not.toHaveBeenCalled()
  })

  it('ends a wait at once, with the reason, the same object, and no further attempt (sindresorhus/p-retry#97)', async () => {
    const { clock, policy } = setup()
    const caller = new AbortController()
    const operation = failing(boom)
    const call = policy.execute(operation, { signal: caller.signal }).catch((error: unknown) => error)
    await clock.advance(20)

    const reason = { why: 'tired' }
    caller.abort(reason)

    expect(await call).toBe(reason)
    expect(clock.pending).toBe(0)
    await clock.advance(1_000)
    expect(operation).toHaveBeenCalledTimes(1)
  })

  it('is not retried, whatever shouldRetry says, and its reason replaces the error of the attempt', async () => {
    const { policy } = setup({ shouldRetry: () => true })
    const caller = new AbortController()
    const operation = vi.fn(() => {
      caller.abort('enough')
      throw boom
    })

    await expect(policy.execute(operation, { signal: caller.signal })).rejects.toBe('enough')
    expect(operation).toHaveBeenCalledTimes(1)
  })

  it('is the signal of the operation', async () => {
    const caller = new AbortController()

    expect(await retry().execute(({ signal }) => signal === caller.signal, { signal: caller.signal })).toBe(true)
  })

  it('costs one listener, however many calls wait on the same signal, and none afterwards (cockatiel#69)', async () => {
    const { clock, policy } = setup()
    const { signal } = new AbortController()
    const add = vi.spyOn(signal, 'addEventListener')
    const remove = vi.spyOn(signal, 'removeEventListener')
    const calls = Array.from({ length: 50 }, () => policy.execute(failing(boom), { signal }))
    await clock.advance(50)
    expect(add).toHaveBeenCalledTimes(1)

    await clock.advance(50)
    await Promise.all(calls)

    expect(add.mock.calls.length).toBe(remove.mock.calls.length)
  })
})

describe('retry: events', () => {
  it('are not disturbed by listeners that throw or reject', async () => {
    const { clock, policy } = setup()
    policy.on('retry', () => {
      throw new Error('listener')
    })
    policy.on('success', (async () => {
      throw new Error('listener')
    }) as () => void)
    const call = policy.execute(failing(boom))

    await clock.advance(100)

    expect(await call).toBe('done')
  })

  it('stop when asked to, once for each time they were asked for', async () => {
    const policy = retry()
    const listener = vi.fn()
    const stop = policy.on('success', listener)
    policy.on('success', listener)

    stop()
    stop()
    await policy.execute(() => 1)

    expect(listener).toHaveBeenCalledTimes(1)
  })

  it('refuse a name that is none', () => {
    expect(() => retry().on('sucess' as 'success', () => {})).toThrow(
      /retry, exhausted, budgetExhausted, success, got "sucess"/,
    )
  })
})

describe('retry: options', () => {
  it.each([
    [{ attempts: 0 }, /attempts .* got 0/],
    [{ attempts: null }, /attempts .* got null/],
    [{ attempts: 1.5 }, /attempts/],
    [{ attempts: Number.NaN }, /attempts/],
    [{ attempts: '3' }, /attempts .* got "3"/],
    [{ backoff: 100 }, /backoff must be a function, got 100/],
    [{ deadline: -1 }, /deadline/],
    [{ deadline: Number.POSITIVE_INFINITY }, /deadline/],
    [{ maxRetryAfter: 2 ** 31 }, /maxRetryAfter .* got 2147483648/],
    [{ budget: {} }, /budget must be a retryBudget\(\), got an object/],
    [{ shouldRetry: true }, /shouldRetry/],
    [{ retryAfter: 5 }, /retryAfter/],
    [{ discard: null }, /discard .* got null/],
    [{ random: 0.5 }, /random/],
    [{ clock: {} }, /clock must be a clock/],
    [{ name: 1 }, /name/],
    [5, /options must be an object, got 5/],
  ])('refuse %o', (options, message) => {
    expect(() => retry(options as never)).toThrow(TypeError)
    expect(() => retry(options as never)).toThrow(message)
  })

  it('take 0 for a value: a deadline of 0 allows the first attempt alone', async () => {
    const { policy } = setup({ deadline: 0 })
    const operation = failing(boom)

    await expect(policy.execute(operation)).rejects.toBe(boom)
    expect(operation).toHaveBeenCalledTimes(1)
  })

  it('take undefined for the default', async () => {
    const { clock, policy } = setup({
      attempts: undefined,
      backoff: exponential({ jitter: 'none' }),
      deadline: undefined,
    })
    const operation = failing(boom, boom, boom)
    const call = policy.execute(operation).catch((error: unknown) => error)

    await clock.advance(300)

    expect(await call).toBe(boom)
    expect(operation).toHaveBeenCalledTimes(3)
  })

  it('take a name', () => {
    expect(retry({ name: 'orders' }).name).toBe('orders')
    expect(retry().name).toBe('retry')
  })
})
