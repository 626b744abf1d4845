import { describe, expect, it } from 'vitest'
import { constant, exponential } from './backoff.js'

const half = () => 0.5

describe('constant', () => {
  it('waits the same each time', () => {
    const backoff = constant(250)

    expect([0, 1, 50].map((retry) => backoff(retry, 0, half))).toEqual([250, 250, 250])
  })

  it('takes 0 for a value', () => {
    expect(constant(0)(0, 0, half)).toBe(0)
  })

  it.each([Number.NaN, -1, Number.POSITIVE_INFINITY, 2 ** 31, '5', null, undefined])(
    'refuses a delay of %s',
    (delay) => {
      expect(() => constant(delay as number)).toThrow(TypeError)
    },
  )
})

describe('exponential', () => {
  it('doubles from 100 ms to 20 s by default', () => {
    const backoff = exponential({ jitter: 'none' })

    expect([0, 1, 2, 7, 8, 5_000].map((retry) => backoff(retry, 0, half))).toEqual([
      100, 200, 400, 12_800, 20_000, 20_000,
    ])
  })

  it('has full jitter by default: anywhere from 0 to the range', () => {
    const backoff = exponential()

    expect(backoff(2, 0, () => 0)).toBe(0)
    expect(backoff(2, 0, half)).toBe(200)
    expect(backoff(2, 0, () => 0.999)).toBeCloseTo(399.6)
  })

  it('spreads clients at the cap too: the jitter comes after the cap', () => {
    const backoff = exponential({ base: 1_000, max: 1_000 })

    expect(backoff(10, 0, half)).toBe(500)
  })

  it('keeps equal jitter in the upper half', () => {
    const backoff = exponential({ jitter: 'equal' })

    expect(backoff(0, 0, () => 0)).toBe(50)
    expect(backoff(0, 0, half)).toBe(75)
  })

  it('draws decorrelated jitter between the base and three times the delay before', () => {
    const backoff = exponential({ base: 100, max: 1_000, jitter: 'decorrelated' })

    expect(backoff(0, 0, () => 0)).toBe(100)
    expect(backoff(0, 0, half)).toBe(200)
    expect(backoff(1, 200, half)).toBe(350)
    expect(backoff(9, 900, half)).toBe(550)
  })

  it('stays 0 with a base of 0, after any number of retries', () => {
    expect(exponential({ base: 0, jitter: 'none' })(5_000, 0, half)).toBe(0)
  })

  it.each([
    [{ base: -1 }, /base .* got -1/],
    [{ base: null }, /base .* got null/],
    [{ base: Number.NaN }, /base/],
    [{ factor: 0.5 }, /factor .* at least 1, got 0.5/],
    [{ factor: Number.POSITIVE_INFINITY }, /factor/],
    [{ max: 2 ** 31 }, /max .* got 2147483648/],
    [{ jitter: 'some' }, /jitter .* full, equal, decorrelated, none, got "some"/],
    [{ jitter: 'toString' }, /jitter/],
  ])('refuses %o', (options, message) => {
    expect(() => exponential(options as never)).toThrow(TypeError)
    expect(() => exponential(options as never)).toThrow(message)
  })
})
