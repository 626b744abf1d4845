import { describe, expect, it, vi } from 'vitest'
import { type HedgeOptions, hedge } from './hedge.js'
import { VirtualClock } from './internal/virtual-clock.js'
import { pipeline } from './pipeline.js'
import type { PolicyContext } from './policy.js'
import { resilientFetch } from './resilient-fetch.js'
import { retry } from './retry.js'
import { retryBudget } from './retry-budget.js'
import { timeout } from './timeout.js'

/** A hedge under a virtual clock that waits 100 ms unless told otherwise, its copies by hand, and what it told. */
function setup(options: Partial<HedgeOptions> = {}) {
  const clock = new VirtualClock()
  const policy = hedge({ delay: 100, clock, ...options })
  const copies: Copy[] = []
  const operation = vi.fn((context: PolicyContext) => {
    const copy = { context, signal: context.signal } as Copy
    copies.push(copy)
    return new Promise<unknown>((resolve, reject) => Object.assign(copy, { resolve, reject }))
  })
  const events: unknown[] = []
  for (const name of ['hedge', 'budgetExhausted', 'success'] as const) {
    policy.on(name, (event) => events.push([name, event]))
  }

  return { clock, policy, copies, operation, events }
}

interface Copy {
  readonly context: PolicyContext
  readonly signal: AbortSignal
  resolve(value: unknown): void
  reject(error: unknown): void
}

const boom = new Error('boom')
const emptyBudget = { balance: 0, deposit: () => {}, tryWithdraw: () => false }

describe('hedge', () => {
  it('starts one copy of what answers in time, and leaves no timer', async () => {
    const { clock, policy, copies, operation, events } = setup()
    const call = policy.execute(operation)

    await clock.advance(99)
    copies[0]?.resolve('first')

    expect(await call).toBe('first')
    expect(copies).toHaveLength(1)
    expect(clock.pending).toBe(0)
    expect(events).toEqual([['success', { copy: 1 }]])
  })

  it('starts a second after the delay, takes the first answer and aborts the other', async () => {
    const { clock, policy, copies, operation, events } = setup()
    const call = policy.execute(operation)

    await clock.advance(100)
    expect(copies).toHaveLength(2)
    copies[1]?.resolve('second')

    expect(await call).toBe('second')
    expect(copies[0]?.signal.aborted).toBe(true)
    expect(copies[0]?.signal.reason).toMatchObject({ name: 'AbortError' })
    expect(copies[1]?.signal.aborted).toBe(false)
    expect(events).toEqual([
      ['hedge', { copy: 2, delay: 100 }],
      ['success', { copy: 2 }],
    ])
  })

  it('starts a copy for each delay up to max', async () => {
    const { clock, policy, copies, operation } = setup({ max: 3 })
    const call = policy.execute(operation)

    await clock.advance(200)
    expect(copies).toHaveLength(3)
    await clock.advance(1_000)
    expect(copies).toHaveLength(3)
    expect(clock.pending).toBe(0)

    copies[0]?.resolve('first')
    expect(await call).toBe('first')
    expect(copies.map(({ signal }) => signal.aborted)).toEqual([false, true, true])
  })

  it('starts all at once with a delay of 0', async () => {
    const { clock, policy, copies, operation } = setup({ delay: 0, max: 3 })
    void policy.execute(operation)

    await clock.advance(0)

    expect(copies).toHaveLength(3)
  })

  it('starts no second with a max of 1', async () => {
    const { clock, policy, copies, operation } = setup({ max: 1 })
    const call = policy.execute(operation)

    await clock.advance(1_000)
    copies[0]?.reject(boom)

    await expect(call).rejects.toBe(boom)
    expect(copies).toHaveLength(1)
  })

  it('starts the next at once when a copy fails, and rejects with the last error when all have', async () => {
    const { clock, policy, copies, operation } = setup({ max: 3 })
    const call = policy.execute(operation)

    await clock.advance(50)
    copies[0]?.reject(new Error('first'))
    await clock.advance(0)
    expect(copies).toHaveLength(2)
    await clock.advance(99)
    expect(copies).toHaveLength(2)
    await clock.advance(1)
    expect(copies).toHaveLength(3)
    copies[2]?.reject(new Error('third'))
    copies[1]?.reject(boom)

    await expect(call).rejects.toBe(boom)
  })

  it('takes an answer that comes after another copy failed', async () => {
    const { clock, policy, copies, operation } = setup()
    const call = policy.execute(operation)

    await clock.advance(100)
    copies[1]?.reject(boom)
    await clock.advance(1)
    copies[0]?.resolve('first')

    expect(await call).toBe('first')
  })

  it('ends with a mistake in the program, and aborts the copies that run', async () => {
    const { clock, policy, copies, operation } = setup({ max: 3 })
    const mistake = new TypeError('x is not a function')
    const call = policy.execute(operation)

    await clock.advance(100)
    copies[1]?.reject(mistake)

    await expect(call).rejects.toBe(mistake)
    expect(copies).toHaveLength(2)
    expect(copies[0]?.signal.reason).toBe(mistake)
    expect(clock.pending).toBe(0)
  })

  it('starts no copy because a breaker let one not through, and awaits those that run', async () => {
    const { clock, policy, copies, operation } = setup({ max: 3 })
    const refused = { code: 'MSX_CIRCUIT_OPEN', retryAfter: 10 }

    const alone = policy.execute(operation)
    copies[0]?.reject(refused)
    await expect(alone).rejects.toBe(refused)
    expect(clock.pending).toBe(0)

    const call = policy.execute(operation)
    await clock.advance(100)
    copies[2]?.reject(refused)
    await clock.advance(0)
    copies[1]?.resolve('first')
    expect(await call).toBe('first')
    expect(copies).toHaveLength(3)
  })

  it('takes what an operation throws for a rejection', async () => {
    const { policy } = setup()
    const operation = vi.fn((): never => {
      throw boom
    })

    await expect(policy.execute(operation)).rejects.toBe(boom)
    expect(operation).toHaveBeenCalledTimes(2)
  })

  it('swallows what a loser rejects with, and disposes of what it resolves with', async () => {
    const discard = vi.fn()
    const { clock, policy, copies, operation } = setup({ max: 3, discard })
    const call = policy.execute(operation)
    await clock.advance(200)

    copies[2]?.resolve('winner')
    await call
    copies[0]?.reject(boom)
    copies[1]?.resolve('late')
    await clock.advance(0)

    expect(discard.mock.calls).toEqual([['late']])
  })

  it('keeps a call alive when discarding throws', async () => {
    const discard = vi.fn(() => {
      throw boom
    })
    const { clock, policy, copies, operation } = setup({ discard })
    const call = policy.execute(operation)
    await clock.advance(100)

    copies[0]?.resolve('winner')
    copies[1]?.resolve('late')

    expect(await call).toBe('winner')
    await clock.advance(0)
    expect(discard).toHaveBeenCalledTimes(1)
  })

  it('hands on the reason of the caller, to the call and to each copy, and removes its listener', async () => {
    const { clock, policy, copies, operation } = setup()
    const controller = new AbortController()
    const removed = vi.spyOn(controller.signal, 'removeEventListener')
    const reason = { why: 'closing' }
    const call = policy.execute(operation, { signal: controller.signal })

    await clock.advance(100)
    controller.abort(reason)

    await expect(call).rejects.toBe(reason)
    expect(copies.map(({ signal }) => signal.reason)).toEqual([reason, reason])
    expect(clock.pending).toBe(0)
    expect(removed).toHaveBeenCalledTimes(1)
  })

  it('does not call what was aborted before', async () => {
    const { policy, operation } = setup()
    const reason = new Error('gone')

    await expect(policy.execute(operation, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason)
    expect(operation).not.toHaveBeenCalled()
  })

  it('starts no copy after the caller aborted through a context nobody listens to', async () => {
    const clock = new VirtualClock()
    const hedging = hedge({ delay: 100, clock })
    const started = vi.fn()
    hedging.on('hedge', started)
    const operation = vi.fn(() => new Promise(() => {}))
    const call = pipeline(timeout(50, { clock }), hedging).execute(operation)

    const rejected = expect(call).rejects.toMatchObject({ code: 'MSX_TIMEOUT' })
    await clock.advance(1_000)

    await rejected
    expect(operation).toHaveBeenCalledTimes(1)
    expect(started).not.toHaveBeenCalled()
  })

  it('listens to every caller once it has started a second copy', async () => {
    const clock = new VirtualClock()
    const policy = pipeline(timeout(150, { clock }), hedge({ delay: 100, max: 3, clock }))
    const rejected = expect(policy.execute(() => new Promise(() => {}))).rejects.toMatchObject({ code: 'MSX_TIMEOUT' })

    await clock.advance(150)

    await rejected
    expect(clock.pending).toBe(0)
  })

  it('leaves the signal of the winner alone when the caller aborts later', async () => {
    const { policy, copies, operation } = setup()
    const controller = new AbortController()
    const call = policy.execute(operation, { signal: controller.signal })
    copies[0]?.resolve('first')
    await call

    controller.abort()

    expect(copies[0]?.signal.aborted).toBe(false)
  })

  it('pays for each copy from the budget, and goes on with those it has when it is empty', async () => {
    const { clock, policy, copies, operation, events } = setup({ max: 3, budget: emptyBudget })
    const call = policy.execute(operation)

    await clock.advance(1_000)
    expect(copies).toHaveLength(1)
    copies[0]?.resolve('late but right')

    expect(await call).toBe('late but right')
    expect(events).toEqual([
      ['budgetExhausted', { copy: 2 }],
      ['success', { copy: 1 }],
    ])
  })

  it('rejects with the error itself when the budget refuses a copy after it', async () => {
    const { policy, copies, operation } = setup({ budget: emptyBudget })
    const call = policy.execute(operation)

    copies[0]?.reject(boom)

    await expect(call).rejects.toBe(boom)
  })

  it('tells a budget shared with a retry around it of one request, and takes one for each copy and each retry', async () => {
    const clock = new VirtualClock()
    const budget = retryBudget({ ratio: 1, minPerSecond: 10, ttl: 1_000, clock })
    const deposit = vi.spyOn(budget, 'deposit')
    const withdraw = vi.spyOn(budget, 'tryWithdraw')
    const policy = pipeline(
      retry({ attempts: 2, backoff: () => 0, budget, clock }),
      timeout(1_000, { clock }),
      hedge({ delay: 10, budget, clock }),
    )

    await expect(policy.execute(() => Promise.reject(boom))).rejects.toBe(boom)

    expect(deposit).toHaveBeenCalledTimes(1)
    expect(withdraw).toHaveBeenCalledTimes(3)
  })

  it('tells each of two budgets', async () => {
    const inner = { ...emptyBudget, deposit: vi.fn() }
    const outer = { ...emptyBudget, deposit: vi.fn() }

    await pipeline(retry({ budget: outer }), hedge({ delay: 10, budget: inner })).execute(() => 1)

    expect(inner.deposit).toHaveBeenCalledTimes(1)
    expect(outer.deposit).toHaveBeenCalledTimes(1)
  })

  it.each([
    [{}, /delay.* got undefined/],
    [{ delay: -1 }, /delay .* got -1/],
    [{ delay: Number.NaN }, /delay/],
    [{ delay: 2 ** 31 }, /delay/],
    [{ delay: 'p99' }, /delay .* got "p99"/],
    [{ delay: 1, max: 0 }, /max .* got 0/],
    [{ delay: 1, max: 1.5 }, /max/],
    [{ delay: 1, budget: {} }, /budget/],
    [{ delay: 1, discard: 1 }, /discard/],
    [{ delay: 1, name: 1 }, /name/],
    [{ delay: 1, clock: {} }, /clock/],
    [5, /options/],
  ])('refuses %o', (options, message) => {
    expect(() => hedge(options as never)).toThrow(TypeError)
    expect(() => hedge(options as never)).toThrow(message)
  })
})

describe("hedge with a delay of 'p95'", () => {
  /** A call whose first copy takes `ms`; a second copy takes 5. Returns how many there were. */
  async function call({ clock, policy }: ReturnType<typeof setup>, ms: number): Promise<number> {
    const takes = [ms, 5]
    let copies = 0
    const done = policy.execute(() => new Promise<void>((resolve) => clock.after(takes[copies++] ?? 0, resolve)))
    await clock.advance(Math.max(ms, 5))
    await done
    return copies
  }

  it('starts no copy for being late before it has seen 20 calls', async () => {
    const subject = setup({ delay: 'p95' })

    for (let i = 0; i < 19; i++) expect(await call(subject, 10)).toBe(1)
    expect(await call(subject, 10_000)).toBe(1)
  })

  it('starts one when a call takes longer than 95 of 100', async () => {
    const subject = setup({ delay: 'p95' })
    for (let i = 1; i <= 100; i++) await call(subject, i <= 20 ? i : 20 - (i % 20))

    expect(await call(subject, 18)).toBe(1)
    expect(await call(subject, 30)).toBe(2)
    expect(subject.events.at(-2)).toEqual(['hedge', { copy: 2, delay: 19 }])
  })

  it('does not let the slow calls it cuts short pull the percentile down', async () => {
    const subject = setup({ delay: 'p95' })
    let copies = 0

    for (let i = 0; i < 1_000; i++) copies += await call(subject, i % 10 === 0 ? 500 + ((i * 7) % 1_000) : 10)

    // One call in ten is slow; half of those are slower than the 95th percentile.
    expect(copies - 1_000).toBeGreaterThan(30)
    expect(copies - 1_000).toBeLessThan(75)
  })

  it('learns from calls that the caller gave up', async () => {
    const subject = setup({ delay: 'p95' })
    for (let i = 0; i < 100; i++) await call(subject, 10)

    for (let i = 0; i < 10; i++) {
      const given = new AbortController()
      const abandoned = subject.policy.execute(() => new Promise(() => {}), { signal: given.signal })
      const rejected = expect(abandoned).rejects.toThrow('aborted')
      await subject.clock.advance(200)
      given.abort()
      await rejected
    }

    expect(await call(subject, 390)).toBe(1)
  })

  it('follows a service that becomes slower', async () => {
    const subject = setup({ delay: 'p95' })
    for (let i = 0; i < 100; i++) await call(subject, 10)

    let copies = 0
    for (let i = 0; i < 20; i++) copies += (await call(subject, 12)) - 1
    for (let i = 0; i < 100; i++) await call(subject, 12)

    expect(copies).toBeGreaterThan(0)
    expect(await call(subject, 12)).toBe(1)
  })
})

it('gives resilientFetch a response whose body can still be read, and cancels the request of the loser', async () => {
  const clock = new VirtualClock()
  const signals: AbortSignal[] = []
  const send = (_url: string, init?: { signal?: AbortSignal }): Promise<Response> => {
    signals.push(init?.signal as AbortSignal)
    return signals.length === 1 ? new Promise(() => {}) : Promise.resolve(new Response('second'))
  }
  const http = resilientFetch(hedge({ delay: 100, clock }), { fetch: send as never }) as typeof send

  const answer = http('http://stock.test/')
  await clock.advance(100)

  expect(await (await answer).text()).toBe('second')
  expect(signals.map(({ aborted }) => aborted)).toEqual([true, false])
})

it('sends what must be sent once in one copy', async () => {
  const clock = new VirtualClock()
  const send = vi.fn(async () => {
    await new Promise<void>((resolve) => clock.after(1_000, resolve))
    return new Response('done')
  })
  const http = resilientFetch(hedge({ delay: 100, clock }), { fetch: send as never }) as typeof fetch

  const answer = http('http://stock.test/', { method: 'POST', body: 'order' })
  await clock.advance(1_000)

  expect(await (await answer).text()).toBe('done')
  expect(send).toHaveBeenCalledTimes(1)
})
