import { describe, expect, it } from 'vitest'
import type { EndpointInit } from '../endpoint.js'
import { RegistryError } from '../errors.js'
import { VirtualClock } from '../test-support.js'
import type { ConsulApi, HealthAnswer, HealthQuestion } from './api.js'
import { watchService } from './watch.js'

/** A Consul that answers when a test says so, and what a watch makes of it. */
class Bench {
  readonly clock = new VirtualClock()
  readonly questions: HealthQuestion[] = []
  readonly updates: (readonly EndpointInit[])[] = []
  readonly failures: Error[] = []
  readonly end = new AbortController()
  mayRead = true
  #settle: ((answer: HealthAnswer | Error) => void) | undefined
  readonly over: Promise<void>

  constructor({ random = () => 0 }: { random?: () => number } = {}) {
    const api = {
      health: (question: HealthQuestion) => {
        this.questions.push(question)
        return new Promise<HealthAnswer>((resolve, reject) => {
          this.#settle = (answer) => (answer instanceof Error ? reject(answer) : resolve(answer))
        })
      },
      mayRead: async () => this.mayRead,
    } as unknown as ConsulApi
    const sink = {
      update: (endpoints: readonly EndpointInit[]) => void this.updates.push(endpoints),
      fail: (error: Error) => void this.failures.push(error),
    }
    const settings = {
      api,
      clock: this.clock,
      random,
      stale: true,
      passing: true,
      tags: ['v2'],
      dc: 'dc2',
      wait: 55_000,
    }
    this.over = watchService('users', sink, this.end.signal, settings)
  }

  get indices(): (bigint | undefined)[] {
    return this.questions.map(({ index }) => index)
  }

  async answer(index: string | undefined, ...ids: string[]): Promise<void> {
    const entries = ids.map((ID) => ({ Service: { ID, Address: '10.0.0.1', Port: 80, Tags: ['v2'] } }))
    await this.settle({ index, entries })
  }

  async settle(answer: HealthAnswer | Error): Promise<void> {
    this.#settle?.(answer)
    this.#settle = undefined
    await new Promise(setImmediate)
  }

  async pass(ms: number): Promise<void> {
    this.clock.advance(ms)
    await new Promise(setImmediate)
  }

  get seen(): (string | undefined)[] {
    return (this.updates.at(-1) ?? []).map(({ id }) => id)
  }
}

describe('watchService', () => {
  it('asks at first for what is there now, then for what changes', async () => {
    const bench = new Bench()
    await bench.answer('7', 'a')
    await bench.pass(1_000)

    expect(bench.seen).toEqual(['a'])
    const common = { service: 'users', passing: true, tags: ['v2'], stale: true, dc: 'dc2', wait: 55_000 }
    expect(bench.questions).toEqual([
      { ...common, index: undefined },
      { ...common, index: 7n },
    ])
  })

  it('tells of a change at once, and asks on without delay after a long wait', async () => {
    const bench = new Bench()
    await bench.answer('7', 'a')
    await bench.pass(100)
    await bench.pass(30_000)
    await bench.answer('8', 'a', 'b')

    expect(bench.seen).toEqual(['a', 'b'])
    await bench.pass(0)
    expect(bench.indices).toEqual([undefined, 7n, 8n])
  })

  it('takes the end of a wait for no news', async () => {
    const bench = new Bench()
    await bench.answer('7', 'a')
    await bench.pass(100)
    await bench.pass(55_000)
    await bench.answer('7', 'a')

    expect(bench.updates).toHaveLength(1)
  })

  it('asks at most once in a tenth of a second, however the index moves', async () => {
    const bench = new Bench()
    for (let index = 1; index <= 10_000; index++) {
      await bench.answer(String(index), 'a')
      await bench.pass(1)
    }

    expect(bench.questions.length).toBeGreaterThan(90)
    expect(bench.questions.length).toBeLessThanOrEqual(101)
  })

  it('dithers, so that not all watchers ask in step', async () => {
    const bench = new Bench({ random: () => 0.5 })
    await bench.answer('7')
    await bench.pass(109)
    expect(bench.questions).toHaveLength(1)

    await bench.pass(1)
    expect(bench.questions).toHaveLength(2)
  })

  it('takes what a Consul says whose index went back, and asks it for all again', async () => {
    const bench = new Bench()
    await bench.answer('700', 'a')
    await bench.pass(100)
    await bench.answer('20', 'b')
    await bench.pass(100)

    expect(bench.seen).toEqual(['b'])
    expect(bench.indices).toEqual([undefined, 700n, undefined])
  })

  it.each([undefined, '0', 'x'])(
    'takes an answer with the index %j for a failure, and keeps what it knew',
    async (index) => {
      const bench = new Bench({ random: () => 0.999 })
      await bench.answer('7', 'a')
      await bench.pass(120)
      for (let i = 0; i < 5; i++) {
        await bench.answer(index)
        await bench.pass(20_000)
      }

      expect(bench.updates).toHaveLength(1)
      expect(bench.failures).toHaveLength(5)
      expect(bench.failures[0]?.message).toMatch(/X-Consul-Index/)
    },
  )

  it('waits longer with each failure, up to ten seconds, and asks for all then', async () => {
    const bench = new Bench({ random: () => 0.999_999 })
    await bench.answer('7', 'a')
    await bench.pass(120)

    const pauses: number[] = []
    for (let i = 0; i < 8; i++) {
      const asked = bench.questions.length
      await bench.settle(new RegistryError('away'))
      let pause = 0
      for (; bench.questions.length === asked; pause += 50) await bench.pass(50)
      pauses.push(pause)
    }
    expect(pauses).toEqual([250, 500, 1_000, 2_000, 4_000, 8_000, 10_000, 10_000])
    expect(new Set(bench.indices.slice(2))).toEqual(new Set([undefined]))
  })

  it('never asks without a pause after a failure, whatever chance says', async () => {
    const bench = new Bench({ random: () => 0 })
    await bench.settle(new RegistryError('away'))
    await bench.pass(99)
    expect(bench.questions).toHaveLength(1)

    await bench.pass(1)
    expect(bench.questions).toHaveLength(2)
  })

  it('starts over with short pauses after a good answer, and says what it knows again', async () => {
    const bench = new Bench({ random: () => 0.999_999 })
    for (let i = 0; i < 6; i++) {
      await bench.settle(new RegistryError('away'))
      await bench.pass(10_000)
    }
    await bench.answer('7', 'a')
    await bench.pass(120)
    await bench.settle(new RegistryError('away'))
    await bench.pass(250)
    await bench.answer('7', 'a')

    expect(bench.updates).toHaveLength(2)
  })

  it('reads all again after ten minutes, in case a change was missed', async () => {
    const bench = new Bench()
    await bench.answer('7', 'a')
    await bench.pass(100)
    for (let minute = 0; minute < 11; minute++) {
      await bench.pass(60_000)
      await bench.answer('7', 'a')
      await bench.pass(0)
    }

    expect(bench.indices.filter((index) => index === undefined)).toHaveLength(2)
  })

  it('reports what is no list as a failure', async () => {
    const bench = new Bench()
    await bench.settle({ index: '7', entries: { error: 'x' } })

    expect(bench.failures).toHaveLength(1)
    expect(bench.updates).toHaveLength(0)
  })

  it.each([
    ['while it asks', async () => {}],
    ['between two questions', (bench: Bench) => bench.answer('7', 'a')],
    ['after a failure', (bench: Bench) => bench.settle(new RegistryError('away'))],
  ])('ends %s, and leaves nothing behind', async (_, before) => {
    const bench = new Bench()
    await before(bench)
    const told = bench.updates.length + bench.failures.length
    bench.end.abort()
    await bench.answer('9', 'z')
    await bench.over

    expect(bench.updates.length + bench.failures.length).toBe(told)
    expect(bench.clock.pending).toBe(0)
    expect(bench.questions).toHaveLength(1)
  })
})

describe('a Consul that starts over', () => {
  /** Knows five instances, and has lost its Consul. */
  async function without(random = 0) {
    const bench = new Bench({ random: () => random })
    await bench.answer('700', 'a', 'b', 'c', 'd', 'e')
    await bench.pass(100)
    await bench.settle(new RegistryError('away'))
    await bench.pass(250)
    return bench
  }

  it('is believed about who is back, and about who is not once half of them are', async () => {
    const bench = await without()

    await bench.answer('12', 'a')
    expect(bench.seen).toEqual(['a', 'b', 'c', 'd', 'e'])
    await bench.pass(100)
    await bench.answer('13', 'f', 'a')
    expect(bench.seen).toEqual(['f', 'a', 'b', 'c', 'd', 'e'])
    await bench.pass(100)
    await bench.answer('14', 'f', 'a', 'b')

    expect(bench.seen).toEqual(['f', 'a', 'b'])
    bench.end.abort()
  })

  it('is believed after ten seconds, whatever it lists, without any news', async () => {
    const bench = await without()
    await bench.answer('12', 'a')
    await bench.pass(100)
    expect(bench.questions.at(-1)).toMatchObject({ index: 12n, wait: 9_900 })

    await bench.pass(9_900)
    expect(bench.seen).toHaveLength(5)
    await bench.answer('12', 'a')

    expect(bench.seen).toEqual(['a'])
    await bench.pass(100)
    expect(bench.questions.at(-1)).toMatchObject({ index: 12n, wait: 55_000 })
    bench.end.abort()
  })

  it('is known by its index, too', async () => {
    const bench = new Bench()
    await bench.answer('700', 'a', 'b', 'c')
    await bench.pass(100)
    await bench.answer('20', 'c')

    expect(bench.seen).toEqual(['c', 'a', 'b'])
    bench.end.abort()
  })

  it.each([
    ['half of them', ['a', 'b', 'x']],
    ['others in their place', ['v', 'w', 'x', 'y', 'z']],
  ])('is believed at once when it lists %s', async (_, listed) => {
    const bench = await without()
    await bench.answer('12', ...listed)

    expect(bench.seen).toEqual(listed)
    bench.end.abort()
  })

  it('may list nobody, which is for the discovery to believe, and then somebody', async () => {
    const bench = await without()
    await bench.answer('12')
    expect(bench.seen).toEqual([])
    await bench.pass(100)
    await bench.answer('13', 'a')

    expect(bench.seen).toEqual(['a', 'b', 'c', 'd', 'e'])
    bench.end.abort()
  })

  it('brings nobody back who has been gone for longer', async () => {
    const bench = await without()
    await bench.answer('12')
    await bench.pass(10_000)
    await bench.answer('12')
    await bench.pass(100)
    await bench.settle(new RegistryError('away again'))
    await bench.pass(250)
    await bench.answer('13', 'a')

    expect(bench.seen).toEqual(['a'])
    bench.end.abort()
  })

  it('is the only one that is doubted: a fall of an index that rises is believed', async () => {
    const bench = new Bench()
    await bench.answer('700', 'a', 'b', 'c', 'd', 'e')
    await bench.pass(100)
    await bench.answer('701', 'a')

    expect(bench.seen).toEqual(['a'])
    bench.end.abort()
  })
})

describe('what the token may not read', () => {
  it('is a failure of the source, not a service without instances', async () => {
    const bench = new Bench()
    await bench.answer('7', 'a')
    await bench.pass(100)
    bench.mayRead = false

    await bench.answer('8')

    expect(bench.updates).toHaveLength(1)
    expect(bench.failures).toMatchObject([
      { code: 'MSX_REGISTRY', status: 403, message: expect.stringContaining('users') },
    ])
    bench.end.abort()
  })

  it('is said by newer versions themselves', async () => {
    const bench = new Bench()

    await bench.settle({ index: '7', entries: [], filtered: true })

    expect(bench.updates).toEqual([])
    expect(bench.failures).toMatchObject([{ status: 403 }])
    bench.end.abort()
  })

  it('is asked for once while there is nobody', async () => {
    const bench = new Bench()
    await bench.answer('7')
    bench.mayRead = false // would now be told, if it were asked

    await bench.pass(100)
    await bench.answer('8')

    expect(bench.updates).toEqual([[], []])
    expect(bench.failures).toEqual([])
    bench.end.abort()
  })
})
