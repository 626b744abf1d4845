import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { gcra } from './gcra.js'
import { RecentMap } from './recent-map.js'
import { slidingWindow } from './sliding-window.js'

function clock() {
  let time = 0
  return {
    now: () => time,
    advance(ms: number) {
      time += ms
    },
  }
}

const steps = fc.array(fc.tuple(fc.nat({ max: 500 }), fc.integer({ min: 1, max: 3 })), { maxLength: 80 })
const limits = fc.record({ limit: fc.integer({ min: 1, max: 20 }), window: fc.integer({ min: 10, max: 2_000 }) })

describe.each([
  ['gcra', gcra],
  ['slidingWindow', slidingWindow],
] as const)('%s', (name, create) => {
  test('allows the limit at once, then none, and says when the next is allowed', () => {
    const time = clock()
    const limiter = create({ limit: 3, window: 3_000, clock: time })

    expect([1, 2, 3].map(() => limiter.take('a').remaining)).toEqual([2, 1, 0])
    const denied = limiter.take('a')
    expect(denied).toMatchObject({ allowed: false, limit: 3, remaining: 0 })

    time.advance(denied.retryAfter - 1)
    expect(limiter.take('a').allowed).toBe(false)
    time.advance(1)
    expect(limiter.take('a').allowed).toBe(true)
  })

  test('a denied request changes nothing', () => {
    const time = clock()
    const limiter = create({ limit: 1, window: 1_000, clock: time })
    limiter.take('a')

    const first = limiter.take('a')
    for (let more = 0; more < 10; more += 1) expect(limiter.take('a')).toEqual(first)
  })

  test('counts each key by itself', () => {
    const limiter = create({ limit: 1, window: 1_000, clock: clock() })
    limiter.take('a')

    expect(limiter.take('b').allowed).toBe(true)
  })

  test('the whole quota is there again after resetAfter', () => {
    fc.assert(
      fc.property(limits, steps, (options, moves) => {
        const time = clock()
        const limiter = create({ ...options, clock: time })
        for (const [pause, cost] of moves) {
          time.advance(pause)
          limiter.take('a', cost)
        }

        time.advance(limiter.take('a', 0).resetAfter)
        expect(limiter.take('a', options.limit).allowed).toBe(true)
      }),
    )
  })

  test('is allowed after retryAfter, and not a moment earlier', () => {
    fc.assert(
      fc.property(limits, steps, (options, moves) => {
        const time = clock()
        const limiter = create({ ...options, clock: time })
        for (const [pause, cost] of moves) {
          time.advance(pause)
          const { allowed, retryAfter } = limiter.take('a', cost)
          expect(retryAfter === 0).toBe(allowed)
          if (allowed || !Number.isFinite(retryAfter)) continue

          if (retryAfter > 0.01) {
            time.advance(retryAfter - 0.01)
            expect(limiter.take('a', cost).allowed).toBe(false)
            time.advance(0.01)
          } else time.advance(retryAfter)
          time.advance(1e-6)
          expect(limiter.take('a', cost).allowed).toBe(true)
        }
      }),
    )
  })

  test('never allows more than twice the limit in one window', () => {
    fc.assert(
      fc.property(limits, steps, (options, moves) => {
        const time = clock()
        const limiter = create({ ...options, clock: time })
        const taken: { at: number; cost: number }[] = []
        for (const [pause, cost] of moves) {
          time.advance(pause)
          if (limiter.take('a', cost).allowed) taken.push({ at: time.now(), cost })
        }

        for (const { at } of taken) {
          const within = taken.filter((one) => one.at >= at && one.at < at + options.window)
          expect(within.reduce((sum, { cost }) => sum + cost, 0)).toBeLessThanOrEqual(2 * options.limit)
        }
      }),
    )
  })

  test('never allows what costs more than there can be', () => {
    expect(create({ limit: 2, window: 1_000, clock: clock() }).take('a', 3)).toMatchObject({
      allowed: false,
      retryAfter: Number.POSITIVE_INFINITY,
    })
  })

  test.each([
    [{ limit: 0, window: 1 }, 'limit must be a positive integer, got 0'],
    [{ limit: Number.NaN, window: 1 }, 'limit must be'],
    [{ limit: 1, window: 0 }, 'window must be'],
    [{ limit: 1, window: 2 ** 31 }, 'window must be'],
    [{ limit: 1, window: Number.POSITIVE_INFINITY }, 'window must be'],
    [{ limit: 1, window: 1, maxKeys: 0 }, 'maxKeys must be'],
    [{ limit: 1 }, 'window must be'],
  ])('refuses %j', (options, message) => {
    expect(() => create(options as never)).toThrow(`${name}: ${message}`)
  })

  test.each([-1, Number.NaN, Number.POSITIVE_INFINITY])('refuses a cost of %d', (cost) => {
    expect(() => create({ limit: 1, window: 1 }).take('a', cost)).toThrow(TypeError)
  })
})

test('gcra spaces requests evenly once the burst is spent', () => {
  const time = clock()
  const limiter = gcra({ limit: 10, window: 1_000, burst: 2, clock: time })
  let allowed = 0
  for (let at = 0; at < 10_000; at += 10) {
    if (limiter.take('a').allowed) allowed += 1
    time.advance(10)
  }

  expect(allowed).toBe(101)
})

test.each([1_000, 60_000, 86_400_000, 2_147_483_647])(
  'gcra allows the limit exactly, however the interval is rounded, in windows of %d ms',
  (window) => {
    for (const limit of [7, 97, 997, 9_973]) {
      for (const start of [0, 1_234.567, 1e9 + 0.1]) {
        const limiter = gcra({ limit, window, clock: { now: () => start } })
        const allowed = Array.from({ length: limit + 2 }, () => limiter.take('a').allowed)

        expect(allowed.filter(Boolean)).toHaveLength(limit)
      }
    }
  },
)

test('slidingWindow counts the window before by what is left of it', () => {
  const time = clock()
  const limiter = slidingWindow({ limit: 10, window: 1_000, clock: time })
  for (let one = 0; one < 10; one += 1) limiter.take('a')
  time.advance(1_250)

  expect(limiter.take('a', 0).remaining).toBe(2)
})

describe('RecentMap', () => {
  test('is bounded, and keeps what is used', () => {
    const map = new RecentMap<number>(100)
    for (let index = 0; index < 10_000; index += 1) {
      map.set(`random-${index}`, index)
      map.set('used', index)
    }

    expect(map.size).toBeLessThanOrEqual(101)
    expect(map.get('used')).toBe(9_999)
    expect(map.get('random-0')).toBeUndefined()
  })
})
