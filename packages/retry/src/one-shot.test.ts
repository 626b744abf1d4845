import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { constant } from './backoff.js'
import { isTimeoutError } from './errors.js'
import { retryWithBackoff, withTimeout } from './one-shot.js'

describe('withTimeout', () => {
  beforeEach(() => {
    vi.useFakeTimers()
  })

  afterEach(() => {
    vi.useRealTimers()
  })

  it('waits five seconds for a promise by default', async () => {
    const call = withTimeout(new Promise(() => {})).catch((error: unknown) => error)

    await vi.advanceTimersByTimeAsync(4_999)
    expect(vi.getTimerCount()).toBe(1)
    await vi.advanceTimersByTimeAsync(1)

    expect(await call).toMatchObject({ code: 'MSX_TIMEOUT', timeout: 5_000 })
  })

  it('aborts the signal of an operation', async () => {
    let seen: AbortSignal | undefined
    const call = withTimeout<never>(({ signal }) => {
      seen = signal
      return new Promise(() => {})
    }, 10).catch((error: unknown) => error)

    await vi.advanceTimersByTimeAsync(10)

    expect(isTimeoutError(await call)).toBe(true)
    expect(seen?.aborted).toBe(true)
  })

  it('hands through what comes in time', async () => {
    expect(await withTimeout(Promise.resolve(1), 10)).toBe(1)
    expect(await withTimeout(async () => 2, 10)).toBe(2)
  })

  it('refuses a time that is none', () => {
    expect(() => withTimeout(() => 1, Number.NaN)).toThrow(TypeError)
  })
})

describe('retryWithBackoff', () => {
  it('retries', async () => {
    const operation = vi.fn(async ({ attempt }: { attempt: number }) => {
      if (attempt < 3) throw new Error('boom')
      return attempt
    })

    expect(await retryWithBackoff(operation, { backoff: constant(0) })).toBe(3)
  })

  it('takes a signal', async () => {
    await expect(retryWithBackoff(vi.fn(), { signal: AbortSignal.abort('no') })).rejects.toBe('no')
  })
})
