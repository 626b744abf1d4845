import { describe, expect, it } from 'vitest'
import { type CircuitBreaker, circuitBreaker } from './circuit-breaker.js'
import { errorOf } from './test-support.js'

function openBreaker(): CircuitBreaker {
  const breaker = circuitBreaker({ trip: { failures: 1 } })
  breaker.tryAcquire()?.fail()
  return breaker
}

class Client {
  #calls = 0
  label = 'client'

  get calls(): number {
    return this.#calls
  }

  async load(id: string): Promise<string> {
    this.#calls++
    return `item ${id}`
  }

  size(): number {
    return this.#calls
  }

  async loadBoth(): Promise<string[]> {
    return [await this.load('1'), await this.load('2')]
  }

  [Symbol.toPrimitive](): string {
    return `${this.#calls} calls`
  }
}

describe('a protected client', () => {
  it('sends each method through the circuit, sync ones too', async () => {
    const breaker = circuitBreaker()
    const client = breaker.protect(new Client())

    expect(await client.load('7')).toBe('item 7')
    expect(await client.size()).toBe(1)
    expect(breaker.metrics.calls).toBe(2)
  })

  it('is rejected by an open circuit without touching the client', async () => {
    const real = new Client()
    const client = openBreaker().protect(real)

    expect(await errorOf(client.load('7'))).toMatchObject({ code: 'MSX_CIRCUIT_OPEN' })
    expect(await errorOf(client.size())).toMatchObject({ code: 'MSX_CIRCUIT_OPEN' })
    expect(real.calls).toBe(0)
  })

  it('counts a call once, though the client calls itself', async () => {
    const breaker = circuitBreaker()

    await breaker.protect(new Client()).loadBoth()

    expect(breaker.metrics.calls).toBe(1)
  })

  it('reads and writes fields of the real object, private ones behind accessors too', async () => {
    const real = new Client()
    const client = circuitBreaker().protect(real)

    client.label = 'renamed'
    await client.load('1')

    expect(real.label).toBe('renamed')
    expect(client.calls).toBe(1)
    expect(client).toBeInstanceOf(Client)
    expect(Object.keys(client)).toEqual(['label'])
    expect('load' in client).toBe(true)
  })

  it('leaves then, constructor and symbols alone', async () => {
    const breaker = openBreaker()
    const client = breaker.protect(new Client())
    const thenable = breaker.protect({ then: (done: (value: string) => void) => done('awaited') })

    expect(client.constructor).toBe(Client)
    expect(`${client}`).toBe('0 calls')
    expect(await thenable).toBe('awaited')
    expect(breaker.metrics.rejected).toBe(0)
  })

  it('guards a frozen client', async () => {
    const breaker = circuitBreaker()
    const real = Object.freeze({ load: async (id: string) => `item ${id}`, limit: 5 })
    const client = breaker.protect(real)

    expect(await client.load('7')).toBe('item 7')
    expect(client.limit).toBe(5)
    expect({ ...client }.limit).toBe(5)
    expect(breaker.metrics.calls).toBe(1)
  })

  it('shows the same method each time', () => {
    const client = circuitBreaker().protect(new Client())

    expect(client.load).toBe(client.load)
    expect(client.load.name).toBe('load')
  })
})

describe('a wrapped function', () => {
  it('keeps its this, its arguments and its name', async () => {
    const breaker = circuitBreaker()
    const counter = {
      by: 2,
      times: breaker.wrap(async function times(this: { by: number }, n: number) {
        return this.by * n
      }),
    }

    expect(await counter.times(21)).toBe(42)
    expect(counter.times.name).toBe('times')
    expect(counter.times).toHaveLength(1)
    expect(breaker.metrics.calls).toBe(1)
  })

  it('answers with a promise, though the function does not', async () => {
    const parse = circuitBreaker().wrap((text: string) => JSON.parse(text) as unknown)

    expect(await parse('{"a":1}')).toEqual({ a: 1 })
    expect(await errorOf(parse('{'))).toBeInstanceOf(SyntaxError)
  })

  it('must be a function', () => {
    expect(() => circuitBreaker().wrap(undefined as never)).toThrow('fn must be a function, got undefined')
  })
})
