import { afterEach, describe, expect, it, vi } from 'vitest'
import { constant } from './backoff.js'
import { hedge } from './hedge.js'
import { pipeline } from './pipeline.js'
import { resilientFetch } from './resilient-fetch.js'
import { retry } from './retry.js'
import { retryBudget } from './retry-budget.js'
import { timeout } from './timeout.js'

const trap = (): never => {
  throw new Error('do not look at me')
}

/** What can be thrown, and must reach the caller as it is. */
const errors = {
  'a code that cannot be read': Object.defineProperty({}, 'code', { get: trap }),
  'a retryAfter that cannot be read': Object.defineProperty({}, 'retryAfter', { get: trap }),
  'a response whose headers cannot be read': { response: { headers: { get: trap } } },
  'a proxy that lets nobody look': new Proxy({}, { get: trap, has: trap, getPrototypeOf: trap }),
  'a TypeError whose cause cannot be read': Object.defineProperty(new TypeError('odd'), 'cause', { get: trap }),
  'an object without a prototype': Object.create(null),
}

const policies = {
  retry: () => retry({ attempts: 3, backoff: constant(0) }),
  hedge: () => hedge({ delay: 1_000 }),
  'a pipeline of both': () => pipeline(retry({ attempts: 2, backoff: constant(0) }), hedge({ delay: 1_000 })),
}

describe.each(Object.entries(policies))('%s', (_, make) => {
  it.each(Object.entries(errors))('hands on %s', async (_, error) => {
    const caught = await make()
      .execute(() => Promise.reject(error))
      .catch((thrown: unknown) => ({ thrown }))

    expect((caught as { thrown: unknown }).thrown === error).toBe(true)
  })
})

describe('a signal that is none', () => {
  it.each([['timeout', () => timeout(1_000)] as const, ['hedge', () => hedge({ delay: 1_000 })] as const])(
    '%s takes null for none',
    async (_, make) => {
      expect(await make().execute(({ signal }) => signal.aborted, { signal: null as never })).toBe(false)
    },
  )

  it('makes the call reject, and nothing fail later', async () => {
    vi.useFakeTimers()
    const call = timeout(10).execute(() => new Promise(() => {}), { signal: {} as never })

    await expect(call).rejects.toBeInstanceOf(TypeError)
    expect(() => vi.advanceTimersByTime(20)).not.toThrow()
  })

  afterEach(() => {
    vi.useRealTimers()
  })
})

describe('null for an option', () => {
  it.each([
    ['retry: clock', () => retry({ clock: null as never })],
    ['retryBudget: clock', () => retryBudget({ clock: null as never })],
    ['resilientFetch options', () => resilientFetch(retry(), null as never)],
    ['resilientFetch: retryOn', () => resilientFetch(retry(), { retryOn: null as never })],
  ])('is refused by name: %s', (option, make) => {
    expect(make).toThrow(new RegExp(`^${option} must be .*, got null$`))
  })
})
