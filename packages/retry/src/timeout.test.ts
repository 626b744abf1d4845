import { connect } from 'node:net'
import { Worker } from 'node:worker_threads'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { isTimeoutError, TimeoutError } from './errors.js'
import { VirtualClock } from './internal/virtual-clock.js'
import { pipeline } from './pipeline.js'
import type { Policy, PolicyContext } from './policy.js'
import { type TimeoutOptions, timeout } from './timeout.js'

function setup(ms: number | (() => number) = 100, options: TimeoutOptions = {}) {
  const clock = new VirtualClock()
  return { clock, policy: timeout(ms, { clock, ...options }) }
}

const never = () => new Promise<never>(() => {})

describe('timeout', () => {
  it('lets through what comes in time, and leaves no timer', async () => {
    const { clock, policy } = setup()
    const call = policy.execute(() => new Promise((resolve) => clock.after(99, () => resolve('done'))))

    await clock.advance(99)

    expect(await call).toBe('done')
    expect(clock.pending).toBe(0)
  })

  it('lets an error through unchanged, thrown or rejected', async () => {
    const { clock, policy } = setup()
    const boom = new Error('boom')

    await expect(policy.execute(() => Promise.reject(boom))).rejects.toBe(boom)
    await expect(
      policy.execute(() => {
        throw boom
      }),
    ).rejects.toBe(boom)
    expect(clock.pending).toBe(0)
  })

  it('rejects at its time with a TimeoutError that says how long it waited', async () => {
    const { clock, policy } = setup(100, { name: 'orders' })
    const call = policy.execute(never).catch((error: unknown) => error)

    await clock.advance(100)

    const error = await call
    expect(error).toBeInstanceOf(TimeoutError)
    expect(error).toMatchObject({
      name: 'TimeoutError',
      code: 'MSX_TIMEOUT',
      timeout: 100,
      policy: 'orders',
      message: 'Call "orders" timed out after 100 ms',
    })
  })

  it('aborts the signal of the operation with the error it rejects with', async () => {
    const { clock, policy } = setup()
    let seen: PolicyContext | undefined
    const call = policy
      .execute((context) => {
        seen = context
        void context.signal
        return never()
      })
      .catch((error: unknown) => error)

    await clock.advance(100)

    expect(seen?.signal.aborted).toBe(true)
    expect(seen?.signal.reason).toBe(await call)
  })

  it('tells also an operation that asks for its signal too late', async () => {
    const { clock, policy } = setup()
    let seen: PolicyContext | undefined
    const call = policy
      .execute((context) => {
        seen = context
        return never()
      })
      .catch((error: unknown) => error)

    await clock.advance(100)

    expect(seen?.signal.reason).toBe(await call)
  })

  it('drops what comes late, a rejection too', async () => {
    const unhandled = vi.fn()
    process.on('unhandledRejection', unhandled)
    const { clock, policy } = setup()
    const call = policy.execute(() => new Promise((_, reject) => clock.after(200, () => reject(new Error('late')))))
    const settled = call.catch((error: unknown) => error)

    await clock.advance(300)
    await new Promise((resolve) => setImmediate(resolve))
    process.off('unhandledRejection', unhandled)

    expect(isTimeoutError(await settled)).toBe(true)
    expect(unhandled).not.toHaveBeenCalled()
  })

  it('needs no AbortController when nobody reads the signal', async () => {
    const made = vi.spyOn(globalThis, 'AbortController')
    const { clock, policy } = setup()
    const inTime = policy.execute(async () => 1)
    const tooLate = policy.execute(never).catch((error: unknown) => error)

    await clock.advance(100)
    await inTime
    await tooLate

    expect(made).not.toHaveBeenCalled()
    made.mockRestore()
  })

  it('has one timer for all its calls', async () => {
    const { clock, policy } = setup()
    const first = policy.execute(never).catch((error: unknown) => error)
    await clock.advance(40)
    const second = policy.execute(never).catch((error: unknown) => error)
    expect(clock.pending).toBe(1)

    await clock.advance(60)
    expect(isTimeoutError(await first)).toBe(true)
    expect(clock.pending).toBe(1)

    await clock.advance(40)
    expect(isTimeoutError(await second)).toBe(true)
    expect(clock.pending).toBe(0)
  })

  it('does not end a call early with the timer of one that is gone', async () => {
    const { clock, policy } = setup()
    const first = policy.execute(() => new Promise<void>((resolve) => clock.after(60, resolve)))
    await clock.advance(40)
    const second = policy.execute(never).catch((error: unknown) => error)
    const settled = vi.fn()
    void second.then(settled)

    await clock.advance(99)
    await first
    expect(settled).not.toHaveBeenCalled()
    await clock.advance(1)

    expect(settled).toHaveBeenCalled()
  })

  it('asks a function for the time of each call', async () => {
    let ms = 100
    const { clock, policy } = setup(() => ms)
    const slow = policy.execute(never).catch((error: unknown) => error)
    ms = 10
    const fast = policy.execute(never).catch((error: unknown) => error)

    await clock.advance(10)
    expect(await fast).toMatchObject({ timeout: 10 })
    await clock.advance(90)

    expect(await slow).toMatchObject({ timeout: 100 })
  })

  it('rejects when the function returns nonsense', async () => {
    const operation = vi.fn()

    await expect(timeout(() => Number.NaN).execute(operation)).rejects.toThrow(/what ms returns .* got NaN/)
    expect(operation).not.toHaveBeenCalled()
  })

  it.each([Number.NaN, -1, Number.POSITIVE_INFINITY, 2 ** 31, '5', undefined, {}])('refuses %s', (ms) => {
    expect(() => timeout(ms as number)).toThrow(TypeError)
    expect(() => timeout(ms as number)).toThrow(/ms must be milliseconds/)
  })

  it.each([{ loopGrace: 1 }, { name: 5 }, { clock: 5 }, null])('refuses the options %o', (options) => {
    expect(() => timeout(1, options as never)).toThrow(TypeError)
  })

  it('takes 0 for a value', async () => {
    const { clock, policy } = setup(0)
    const call = policy.execute(never).catch((error: unknown) => error)

    await clock.advance(0)

    expect(isTimeoutError(await call)).toBe(true)
  })
})

describe("timeout: the caller's abort", () => {
  it('does not call the operation when it came before', async () => {
    const { policy } = setup()
    const operation = vi.fn()

    await expect(policy.execute(operation, { signal: AbortSignal.abort('no') })).rejects.toBe('no')
    expect(operation).not.toHaveBeenCalled()
  })

  it('rejects at once with its reason, which is no timeout (Polly#3086)', async () => {
    const { clock, policy } = setup()
    const caller = new AbortController()
    const call = policy.execute(never, { signal: caller.signal })

    caller.abort('enough')

    await expect(call).rejects.toBe('enough')
    expect(clock.pending).toBe(0)
  })

  it('reaches the operation through its signal', async () => {
    const { policy } = setup()
    const caller = new AbortController()
    let seen: AbortSignal | undefined
    const call = policy.execute(
      ({ signal }) => {
        seen = signal
        return never()
      },
      { signal: caller.signal },
    )

    caller.abort('enough')

    await expect(call).rejects.toBe('enough')
    expect(seen?.reason).toBe('enough')
  })

  it('reaches through several timeouts at once, also an operation that ignores its signal', async () => {
    const { clock, policy } = setup()
    const caller = new AbortController()
    const call = pipeline(policy, timeout(50, { clock })).execute(never, { signal: caller.signal })

    caller.abort('enough')

    await expect(call).rejects.toBe('enough')
    expect(clock.pending).toBe(0)
  })

  it('leaves no listener behind (cockatiel#81)', async () => {
    const { clock, policy } = setup()
    const both = pipeline(policy, timeout(50, { clock }))
    const { signal } = new AbortController()
    const add = vi.spyOn(signal, 'addEventListener')
    const remove = vi.spyOn(signal, 'removeEventListener')

    await Promise.all(
      Array.from({ length: 30 }, () =>
        both.execute(
          async (context) => {
            void context.signal
          },
          { signal },
        ),
      ),
    )

    expect(add.mock.calls.length).toBeGreaterThan(0)
    expect(remove.mock.calls.length).toBe(add.mock.calls.length)
    expect(clock.pending).toBe(0)
  })
})

describe('timeout: under nested timeouts', () => {
  it('aborts the innermost operation with the error of the outer one', async () => {
    const { clock, policy: outer } = setup(50)
    let seen: AbortSignal | undefined
    const call = pipeline(outer, timeout(100, { clock }))
      .execute(({ signal }) => {
        seen = signal
        return never()
      })
      .catch((error: unknown) => error)

    await clock.advance(50)

    expect(await call).toMatchObject({ timeout: 50 })
    expect(seen?.reason).toBe(await call)
    expect(clock.pending).toBe(0)
  })
})

describe('timeout: with real timers', () => {
  function block(ms: number): void {
    const end = performance.now() + ms
    while (performance.now() < end);
  }

  it('does not time out what arrived while the event loop was blocked (nodeshift/opossum#580)', async () => {
    const call = await answerWhileBlocked({})

    expect(call).toBe('in time')
  })

  it('times it out with the grace turned off', async () => {
    const call = await answerWhileBlocked({ loopGrace: false })

    expect(isTimeoutError(call)).toBe(true)
  })

  /** The answer is in the socket's buffer after a few milliseconds; the loop sees it 120 ms later. */
  async function answerWhileBlocked(options: TimeoutOptions): Promise<unknown> {
    // Another thread answers, for this one is blocked.
    const worker = new Worker(
      `const { parentPort } = require('node:worker_threads')
       require('node:net').createServer((socket) => socket.on('error', () => {}).on('data', () => socket.write('hello')))
         .listen(0, '127.0.0.1', function () { parentPort.postMessage(this.address().port) })`,
      { eval: true },
    )
    const port = await new Promise<number>((resolve) => worker.once('message', resolve))
    const socket = connect(port, '127.0.0.1')
    await new Promise((resolve) => socket.once('connect', resolve))

    try {
      const call = timeout(50, options).execute(() => {
        const answer = new Promise((resolve) => socket.once('data', () => resolve('in time')))
        socket.write('?')
        return answer
      })
      // The loop goes from here to its timers, and only then to its sockets.
      setImmediate(() => block(120))
      return await call.catch((error: unknown) => error)
    } finally {
      socket.destroy()
      await worker.terminate()
    }
  }

  it('keeps nothing alive once it has settled', async () => {
    const before = timers()

    await timeout(60_000).execute(async () => 1)
    await timeout(60_000)
      .execute(() => Promise.reject(new Error('boom')))
      .catch(() => {})

    expect(timers()).toBe(before)
  })

  it('keeps nothing alive either when it is used again and again', async () => {
    const before = timers()
    const policy = timeout(60_000)

    for (let call = 0; call < 5; call++) {
      await policy.execute(async () => 1)
      expect(timers()).toBe(before)
    }
  })

  it('sets a timer for the first call and one for all that follow it', async () => {
    const policy = timeout(60_000)

    const made = await timersMade(async () => {
      for (let call = 0; call < 100; call++) await policy.execute(async () => 1)
    })

    expect(made).toBe(2)
  })

  it('lets the timer be gone that fires when nobody calls any more', async () => {
    const policy = timeout(5)
    await callThrice(policy)

    const made = await timersMade(() => timeout(30).execute(never).catch(ignore))

    expect(made).toBe(1)
    await expect(policy.execute(never)).rejects.toThrow(TimeoutError)
  })

  it('wakes the timer that rests for a call that waits, and ends it not early', async () => {
    const policy = timeout(50)
    await callThrice(policy)
    await timeout(20).execute(never).catch(ignore)

    const before = timers()
    const start = performance.now()
    const call = policy.execute(never).catch((error: unknown) => error)
    expect(timers()).toBe(before + 1)

    expect(isTimeoutError(await call)).toBe(true)
    // Timers count whole milliseconds.
    expect(performance.now() - start).toBeGreaterThan(48)
  })

  function ignore(): void {}

  async function timersMade(run: () => Promise<unknown>): Promise<number> {
    // Imported here, so that the rest of this file runs where there is no such module.
    const { createHook } = await import('node:async_hooks')
    let made = 0
    const hook = createHook({
      init(_id, type) {
        if (type === 'Timeout') made++
      },
    })
    hook.enable()
    await run()
    hook.disable()
    return made
  }

  function timers(): number {
    return process.getActiveResourcesInfo().filter((resource) => resource === 'Timeout').length
  }
})

describe('timeout: with fake timers of a test runner', () => {
  afterEach(() => {
    vi.useRealTimers()
  })

  it.each([
    ['and a fake clock', undefined],
    ['and the real clock', ['setTimeout' as const, 'clearTimeout' as const]],
  ])('follows them, %s', async (_, toFake) => {
    vi.useFakeTimers(toFake === undefined ? {} : { toFake })
    const call = timeout(1_000)
      .execute(never)
      .catch((error: unknown) => error)

    await vi.advanceTimersByTimeAsync(1_000)

    expect(isTimeoutError(await call)).toBe(true)
    expect(vi.getTimerCount()).toBe(0)
  })

  it('follows them also when a timer of the host rests', async () => {
    const policy = timeout(60_000)
    await callThrice(policy)

    vi.useFakeTimers()
    await callThrice(policy)
    expect(vi.getTimerCount()).toBe(0)
    const call = policy.execute(never).catch((error: unknown) => error)
    await vi.advanceTimersByTimeAsync(60_000)

    expect(isTimeoutError(await call)).toBe(true)
  })

  it('follows those of the host again afterwards', async () => {
    const policy = timeout(20)
    vi.useFakeTimers()
    await callThrice(policy)

    vi.useRealTimers()

    await expect(policy.execute(never)).rejects.toThrow(TimeoutError)
  })
})

async function callThrice(policy: Policy): Promise<void> {
  for (let call = 0; call < 3; call++) await policy.execute(async () => 1)
}

it('timeout: expires a call in time that made another under the same policy, late in its first turn', async () => {
  const clock = new VirtualClock()
  const policy = timeout(100, { clock })
  const expired: number[] = []
  const outer = policy.execute(() => {
    clock.jump(50)
    policy.execute(never).catch(() => expired.push(clock.now()))
    return never()
  })
  outer.catch(() => expired.push(clock.now()))

  await clock.advance(200)

  expect(expired).toEqual([100, 150])
})
