import { describe, expect, it, vi } from 'vitest'
import { constant } from './backoff.js'
import { fallback } from './fallback.js'
import { retry } from './retry.js'
import { wrap } from './wrap.js'

describe('wrap', () => {
  it('sends each call with its arguments through the policy', async () => {
    const add = vi.fn(async (a: number, b: number) => a + b).mockRejectedValueOnce(new Error('boom'))

    expect(await wrap(add, retry({ backoff: constant(0) }))(1, 2)).toBe(3)
    expect(add.mock.calls).toEqual([
      [1, 2],
      [1, 2],
    ])
  })

  it('keeps this, the name and the number of arguments', async () => {
    const counter = {
      count: 41,
      async next(step: number) {
        return this.count + step
      },
    }

    counter.next = wrap(counter.next, retry())

    expect(await counter.next(1)).toBe(42)
    expect(counter.next.name).toBe('next')
    expect(counter.next.length).toBe(1)
  })

  it('makes a promise of what a plain function returns or throws', async () => {
    const parse = wrap(
      (text: string): unknown => JSON.parse(text),
      fallback(() => 'unreadable'),
    )

    expect(await parse('1')).toBe(1)
    expect(await parse('{')).toBe('unreadable')
  })

  it('refuses what is no function or no policy', () => {
    expect(() => wrap(5 as never, retry())).toThrow(/fn must be a function, got 5/)
    expect(() => wrap(async () => 1, {} as never)).toThrow(/policy must be a policy/)
  })
})
