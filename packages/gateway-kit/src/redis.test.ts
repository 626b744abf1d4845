import { connect } from 'node:net'
import { Worker } from 'node:worker_threads'
import { describe, expect, test, vi } from 'vitest'
import { manualClock } from './internal/test-servers.js'
import { type RedisLimiterOptions, redisLimiter } from './redis.js'

type Answer = (command: string, args: string[]) => unknown

/** A client that answers as the test says; a promise that never settles is a server that hangs. */
function clientOf(answer: Answer) {
  const call = vi.fn(async (command: string, ...args: string[]) => answer(command, args))

  return { call }
}

const never = new Promise<never>(() => {})
/** What the script says of a bucket with one request in it. */
const taken = [1, '1']

function limiterOf(answer: Answer, options: Partial<RedisLimiterOptions> = {}) {
  const clock = manualClock()
  const client = clientOf(answer)
  const limiter = redisLimiter({ client, limit: 10, window: 1_000, onError: 'deny', clock, ...options })
  const events: unknown[] = []
  limiter.on('away', (event) => events.push(['away', event]))
  limiter.on('back', (event) => events.push(['back', event]))

  return { clock, client, limiter, events }
}

describe('asking', () => {
  test('asks by the digest of the script, and says what came of it', async () => {
    const { limiter, client } = limiterOf(() => taken)

    expect(await limiter.take('a')).toEqual({ allowed: true, limit: 10, remaining: 9, resetAfter: 100, retryAfter: 0 })
    expect(client.call.mock.calls).toEqual([
      ['EVALSHA', expect.stringMatching(/^[0-9a-f]{40}$/), '1', expect.any(String), '1', '10', '100'],
    ])
  })

  test('sends the text of a script the server does not know', async () => {
    const { limiter, client, events } = limiterOf((command) => {
      if (command === 'EVALSHA') throw new Error('NOSCRIPT No matching script. Please use EVAL.')
      return taken
    })

    expect((await limiter.take('a')).allowed).toBe(true)
    expect(client.call.mock.calls.map(([command]) => command)).toEqual(['EVALSHA', 'EVAL'])
    expect(client.call.mock.calls[1]![1]).toContain("redis.call('TIME')")
    expect(events).toEqual([])
  })

  test('reads replies of clients that make strings of numbers, or buffers', async () => {
    const { limiter } = limiterOf(() => ['1', Buffer.from('2.5')])

    expect(await limiter.take('a')).toMatchObject({ allowed: true, remaining: 7, resetAfter: 250 })
  })

  test('the names of keys are short and plain, whatever the keys are', async () => {
    const { limiter, client } = limiterOf(() => taken)
    const keys = ['', 'a', 'A', 'a\r\nFLUSHALL\r\n', '{tag}', '\0', 'é', 'x'.repeat(1_000_000)]

    for (const key of keys) await limiter.take(key)

    const names = client.call.mock.calls.map(([, , , name]) => name)
    expect(new Set(names).size).toBe(keys.length)
    for (const name of names) expect(name).toMatch(/^msx:limit:gcra:10:1000:10:[\w-]{43}$/)
  })

  test('limiters with other numbers, another algorithm or another prefix do not count together', async () => {
    const names = new Set<string>()
    for (const options of [
      {},
      { limit: 11 },
      { window: 999 },
      { burst: 3 },
      { algorithm: 'sliding-window' as const },
      { prefix: 'other:' },
    ]) {
      const { limiter, client } = limiterOf(() => [1, '1', '0', '0'], options)
      await limiter.take('a')
      names.add(client.call.mock.calls[0]![3]!)
    }

    expect(names.size).toBe(6)
  })

  test('sendCommand of a client without call keeps its this', async () => {
    const client = {
      reply: taken,
      async sendCommand(this: { reply: unknown }, args: string[]) {
        expect(args).toHaveLength(7)
        return this.reply
      },
    }
    const limiter = redisLimiter({ client, limit: 10, window: 1_000, onError: 'deny' })

    expect((await limiter.take('a')).allowed).toBe(true)
  })
})

describe('without Redis', () => {
  const refused = () => {
    throw new Error('ECONNREFUSED')
  }

  test('onError allow lets everybody in', async () => {
    const { limiter } = limiterOf(refused, { onError: 'allow', burst: 3 })

    for (let time = 0; time < 20; time += 1) {
      expect(await limiter.take('a')).toEqual({ allowed: true, limit: 10, remaining: 2, resetAfter: 0, retryAfter: 0 })
    }
  })

  test('onError deny lets nobody in, and says to come back in a second', async () => {
    const { limiter } = limiterOf(refused, { onError: 'deny' })

    expect(await limiter.take('a')).toMatchObject({ allowed: false, remaining: 0, retryAfter: 1_000 })
  })

  test.each(['gcra', 'sliding-window'] as const)('onError local counts in this process, with %s', async (algorithm) => {
    const { limiter, clock } = limiterOf(refused, { onError: 'local', algorithm, limit: 3 })
    const decisions = [1, 2, 3, 4].map(() => limiter.take('a'))

    expect((await Promise.all(decisions)).map(({ allowed }) => allowed)).toEqual([true, true, true, false])

    clock.advance(2_000)
    expect((await limiter.take('a')).allowed).toBe(true)
  })

  test.each([
    ['nothing', null],
    ['a text', 'OK'],
    ['a list without the state', [1]],
    ['what is no number', [1, 'x']],
  ])('a reply of %s is an error', async (_, reply) => {
    const { limiter, events } = limiterOf(() => reply)

    expect((await limiter.take('a')).allowed).toBe(false)
    expect(events).toEqual([['away', { reason: 'error', error: expect.any(TypeError) }]])
  })

  test('a client that throws at once is an error too', async () => {
    const client = {
      call() {
        throw new Error('closed')
      },
    }
    const limiter = redisLimiter({ client, limit: 1, window: 1_000, onError: 'allow' })

    expect((await limiter.take('a')).allowed).toBe(true)
  })

  test('says once that Redis is away, and once that it is back', async () => {
    let up = true
    const error = new Error('LOADING')
    const { limiter, events, clock } = limiterOf(() => {
      if (!up) throw error
      return taken
    })

    await limiter.take('a')
    up = false
    await limiter.take('a')
    clock.advance(5)
    await limiter.take('a')
    up = true
    await limiter.take('a')
    await limiter.take('a')

    expect(events).toEqual([
      ['away', { reason: 'error', error }],
      ['back', { after: 5 }],
    ])
  })
})

describe('the deadline', () => {
  test('is 50 ms unless said otherwise; then onError decides', async () => {
    const { limiter, clock, events } = limiterOf(() => never)
    const decided = vi.fn()
    const decision = limiter.take('a').then(decided)

    clock.advance(49)
    await nextTurn()
    expect(decided).not.toHaveBeenCalled()

    clock.advance(1)
    await decision
    expect(decided.mock.calls[0]![0]).toMatchObject({ allowed: false })
    expect(events).toEqual([['away', { reason: 'deadline' }]])
  })

  test('leaves no timer behind', async () => {
    const answered = limiterOf(() => taken)
    await answered.limiter.take('a')
    expect(answered.clock.waiting).toBe(0)

    const failed = limiterOf(() => Promise.reject(new Error('no')))
    await failed.limiter.take('a')
    expect(failed.clock.waiting).toBe(0)
  })

  test('an answer that comes after it changes nothing but that Redis is back', async () => {
    let answer!: (reply: unknown) => void
    const { limiter, clock, events } = limiterOf(
      () =>
        new Promise((resolve) => {
          answer = resolve
        }),
    )
    const decision = limiter.take('a')
    clock.advance(50)
    expect((await decision).allowed).toBe(false)

    clock.advance(200)
    answer(taken)
    await nextTurn()

    expect((await decision).allowed).toBe(false)
    expect(events.at(-1)).toEqual(['back', { after: 200 }])
  })

  test('an error that comes after it is dropped', async () => {
    let fail!: (error: Error) => void
    const { limiter, clock, events } = limiterOf(
      () =>
        new Promise((_, reject) => {
          fail = reject
        }),
    )
    const decision = limiter.take('a')
    clock.advance(50)
    await decision

    fail(new Error('Connection is closed.'))
    await nextTurn()

    expect(events).toEqual([['away', { reason: 'deadline' }]])
  })

  test('a script that turns out to be unknown after it is not sent again', async () => {
    let fail!: (error: Error) => void
    const { limiter, clock, client } = limiterOf(
      () =>
        new Promise((_, reject) => {
          fail = reject
        }),
    )
    const decision = limiter.take('a')
    clock.advance(50)
    await decision

    fail(new Error('NOSCRIPT No matching script. Please use EVAL.'))
    await nextTurn()

    expect(client.call).toHaveBeenCalledTimes(1)
  })

  test('does not pass over an answer that came while this process was busy', async () => {
    // The other side must not be in this thread, which is going to be busy.
    const worker = new Worker(
      `const { createServer } = require('node:net')
       const { parentPort } = require('node:worker_threads')
       const server = createServer((socket) => socket.on('data', () => socket.write('answer')))
       server.listen(0, '127.0.0.1', () => parentPort.postMessage(server.address().port))`,
      { eval: true },
    )
    const port = await new Promise<number>((resolve) => worker.once('message', resolve))
    const socket = connect(port, '127.0.0.1')
    await new Promise<void>((resolve) => socket.once('connect', resolve))
    const client = {
      call: () =>
        new Promise((resolve) => {
          socket.once('data', () => resolve(taken))
          socket.write('question')
        }),
    }
    const limiter = redisLimiter({ client, limit: 10, window: 1_000, deadline: 20, onError: 'deny' })

    const decision = limiter.take('a')
    await nextTurn()
    for (const busyUntil = performance.now() + 200; performance.now() < busyUntil; );

    expect((await decision).allowed).toBe(true)
    socket.destroy()
    await worker.terminate()
  })
})

describe('while Redis hangs', () => {
  async function hanging() {
    const state = { answer: (): unknown => never }
    const made = limiterOf(() => state.answer())
    const first = made.limiter.take('a')
    made.clock.advance(50)
    await first
    made.client.call.mockClear()

    return { ...made, state }
  }

  test('nobody else waits for it', async () => {
    const { limiter, client, clock } = await hanging()

    for (let time = 0; time < 100; time += 1) expect((await limiter.take('a')).allowed).toBe(false)

    expect(client.call).not.toHaveBeenCalled()
    expect(clock.waiting).toBe(0)
  })

  test('it is asked again once per second, and decides again when it answers', async () => {
    const { limiter, client, clock, state } = await hanging()

    clock.advance(950)
    const probe = limiter.take('a')
    await limiter.take('a')
    expect(client.call).toHaveBeenCalledTimes(1)
    clock.advance(50)
    await probe

    state.answer = () => taken
    clock.advance(950)
    expect((await limiter.take('a')).allowed).toBe(true)
    expect((await limiter.take('a')).allowed).toBe(true)
    expect(client.call).toHaveBeenCalledTimes(3)
  })

  test('it is asked again at once when its connection breaks, for then errors come at once', async () => {
    let fail!: (error: Error) => void
    const state = { answer: (): unknown => new Promise((_, reject) => (fail = reject)) }
    const { limiter, clock, client } = limiterOf(() => state.answer())
    const first = limiter.take('a')
    clock.advance(50)
    await first

    fail(new Error('Connection is closed.'))
    await nextTurn()
    state.answer = () => taken

    expect((await limiter.take('a')).allowed).toBe(true)
    expect(client.call).toHaveBeenCalledTimes(2)
  })
})

describe('what is refused', () => {
  const options = { client: clientOf(() => taken), limit: 1, window: 1_000, onError: 'deny' as const }

  test.each<[object, string]>([
    [{ client: undefined }, 'client must have a method call (ioredis) or sendCommand (redis), got undefined'],
    [{ client: {} }, 'client must have'],
    [{ algorithm: 'fixed' }, `algorithm must be 'gcra' or 'sliding-window', got "fixed"`],
    [{ limit: 0 }, 'limit must be a positive integer, got 0'],
    [{ limit: undefined }, 'limit must be'],
    [{ window: Number.NaN }, 'window must be'],
    [{ window: 2 ** 31 }, 'window must be'],
    [{ burst: 1.5 }, 'burst must be'],
    [{ burst: 1, algorithm: 'sliding-window' }, 'burst must be left out'],
    [{ deadline: 0 }, 'deadline must be a number above 0, got 0'],
    [{ deadline: -1 }, 'deadline must be'],
    [{ deadline: Number.POSITIVE_INFINITY }, 'deadline must be'],
    [{ onError: undefined }, `onError must be 'allow' or 'deny' or 'local', got undefined`],
    [{ onError: 'throw' }, 'onError must be'],
    [{ prefix: '' }, 'prefix must be'],
  ])('the options %j', (wrong, message) => {
    const create = () => redisLimiter({ ...options, ...wrong } as never)

    expect(create).toThrow(TypeError)
    expect(create).toThrow(`redisLimiter: ${message}`)
  })

  test.each([-1, Number.NaN, Number.POSITIVE_INFINITY])('a cost of %d', (cost) => {
    expect(() => redisLimiter(options).take('a', cost)).toThrow(TypeError)
  })
})

/** Until what was due has happened, immediates included. */
const nextTurn = () => new Promise((resolve) => setImmediate(() => setImmediate(resolve)))
