import type { Resolver } from 'node:dns/promises'
import { describe, expect, it } from 'vitest'
import type { EndpointInit } from '../endpoint.js'
import { VirtualClock } from '../test-support.js'
import { type Found, pollingSource } from './poll.js'

/** A DNS that answers when a test says so. */
class Bench {
  readonly clock = new VirtualClock()
  readonly asked: string[] = []
  readonly updates: (readonly EndpointInit[])[] = []
  readonly failures: Error[] = []
  readonly end = new AbortController()
  cancelled = 0
  #settle: ((found: Found | Error) => void) | undefined
  readonly source

  constructor(random: () => number = () => 0.5) {
    this.source = pollingSource(
      {
        createResolver: () => ({ cancel: () => (this.cancelled += 1) }) as unknown as Resolver,
        name: (service) => `${service}.test`,
        minInterval: 5_000,
        maxInterval: 30_000,
        clock: this.clock,
        random,
      },
      () => (name) => {
        this.asked.push(name)
        return new Promise((resolve, reject) => {
          this.#settle = (found) => (found instanceof Error ? reject(found) : resolve(found))
        })
      },
    )
    const sink = {
      update: (endpoints: readonly EndpointInit[]) => void this.updates.push(endpoints),
      fail: (error: Error) => void this.failures.push(error),
    }
    this.source.watch('users', sink, this.end.signal)
  }

  async answer(ttl: number): Promise<void> {
    await this.settle({ endpoints: [{ host: '10.0.0.1', port: 80 }], ttl })
  }

  async settle(found: Found | Error): Promise<void> {
    this.#settle?.(found)
    await new Promise(setImmediate)
  }

  /** How long it takes, ms, until it asks again. */
  pause(): number {
    const before = this.asked.length
    let pause = 0
    for (; this.asked.length === before && pause < 100_000; pause += 50) this.clock.advance(50)
    return pause
  }
}

describe('pollingSource', () => {
  it('asks at once, by the name of the service in DNS', async () => {
    const bench = new Bench()
    await bench.answer(10_000)

    expect(bench.asked).toEqual(['users.test'])
    expect(bench.updates).toHaveLength(1)
  })

  it.each([
    [0, 5_000],
    [1_000, 5_000],
    [10_000, 8_000],
    [20_000, 16_000],
    [3_600_000, 30_000],
    [Number.POSITIVE_INFINITY, 30_000],
  ])('asks again before a TTL of %i ms is over, after %i ms', async (ttl, pause) => {
    const bench = new Bench()
    await bench.answer(ttl)

    expect(bench.pause()).toBe(pause)
  })

  it.each([
    [0, 9_000],
    [0.999_999, 11_000],
  ])('spreads its questions by a tenth either way (random %d)', async (random, pause) => {
    const bench = new Bench(() => random)
    await bench.answer(12_500)

    expect(bench.pause()).toBe(pause)
  })

  it('waits longer with each failure, and not after it is over', async () => {
    const bench = new Bench(() => 0.999_999)
    const pauses: number[] = []
    for (let i = 0; i < 7; i++) {
      await bench.settle(new Error('SERVFAIL'))
      pauses.push(bench.pause())
    }
    expect(pauses).toEqual([1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000])
    expect(bench.failures).toHaveLength(7)

    await bench.answer(0)
    bench.pause()
    await bench.settle(new Error('SERVFAIL'))
    expect(bench.pause()).toBe(1_000)
  })

  it('asks early on a hint, once the shortest interval is over', async () => {
    const bench = new Bench()
    await bench.answer(3_600_000)
    bench.clock.advance(10_000)
    bench.source.refresh?.('users')
    bench.clock.advance(0)

    expect(bench.asked).toHaveLength(2)
  })

  it('asks once per shortest interval, however many hints there are', async () => {
    const bench = new Bench()
    await bench.answer(3_600_000)
    for (let second = 0; second < 4; second++) {
      bench.source.refresh?.('users')
      bench.clock.advance(1_000)
    }
    expect(bench.asked).toHaveLength(1)

    bench.clock.advance(1_000)
    expect(bench.asked).toHaveLength(2)
  })

  it('does not put off, on a hint, what would be asked sooner', async () => {
    const bench = new Bench(() => 0)
    await bench.settle(new Error('SERVFAIL')) // again in 500 ms
    bench.source.refresh?.('users')

    expect(bench.pause()).toBe(500)
  })

  it('does not ask twice at a time', async () => {
    const bench = new Bench()
    bench.clock.advance(60_000)
    bench.source.refresh?.('users')
    bench.clock.advance(60_000)

    expect(bench.asked).toHaveLength(1)
  })

  it.each([
    ['while it asks', async () => {}],
    ['between two questions', (bench: Bench) => bench.answer(0)],
    ['after a failure', (bench: Bench) => bench.settle(new Error('SERVFAIL'))],
  ])('ends %s, and leaves nothing behind', async (_, before) => {
    const bench = new Bench()
    await before(bench)
    const told = bench.updates.length + bench.failures.length
    bench.end.abort()
    await bench.answer(0)
    await bench.settle(new Error('ECANCELLED'))
    bench.source.refresh?.('users')
    bench.clock.advance(100_000)

    expect(bench.cancelled).toBe(1)
    expect(bench.clock.pending).toBe(0)
    expect(bench.asked).toHaveLength(1)
    expect(bench.updates.length + bench.failures.length).toBe(told)
  })

  it('does not begin with a signal that has aborted', () => {
    const bench = new Bench()
    bench.source.watch('orders', { update: () => {}, fail: () => {} }, AbortSignal.abort())

    expect(bench.asked).toEqual(['users.test'])
  })
})
