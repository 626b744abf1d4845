import { describe, expect, it, vi } from 'vitest'
import { fallback } from './fallback.js'

describe('fallback', () => {
  it('lets a result through', async () => {
    const value = vi.fn()

    expect(await fallback(value).execute(() => 1)).toBe(1)
    expect(value).not.toHaveBeenCalled()
  })

  it('answers for an operation that rejects or throws, and is told how it ended', async () => {
    const boom = new Error('boom')
    const value = vi.fn(() => 'instead')
    const throwing = (): never => {
      throw boom
    }

    expect(await fallback(value).execute(() => Promise.reject(boom))).toBe('instead')
    expect(await fallback(value).execute(throwing)).toBe('instead')
    expect(value.mock.calls).toEqual([[{ ok: false, error: boom }], [{ ok: false, error: boom }]])
  })

  it('waits for a promise', async () => {
    expect(await fallback(async () => 'instead').execute(() => Promise.reject(new Error('boom')))).toBe('instead')
  })

  it('rejects with what it throws itself', async () => {
    const worse = new Error('worse')
    const policy = fallback(() => {
      throw worse
    })

    await expect(policy.execute(() => Promise.reject(new Error('boom')))).rejects.toBe(worse)
  })

  it('does not answer a caller that gave up', async () => {
    const value = vi.fn()
    const caller = new AbortController()
    const call = fallback(value).execute(
      () => {
        caller.abort('enough')
        return Promise.reject(new Error('boom'))
      },
      { signal: caller.signal },
    )

    await expect(call).rejects.toBe('enough')
    await expect(fallback(value).execute(vi.fn(), { signal: caller.signal })).rejects.toBe('enough')
    expect(value).not.toHaveBeenCalled()
  })

  it('refuses what is no function', () => {
    expect(() => fallback('instead' as never)).toThrow(/value must be a function, got "instead"/)
  })
})
