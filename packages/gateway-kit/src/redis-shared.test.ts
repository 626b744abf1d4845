import { spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { fileURLToPath } from 'node:url'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Connected, connectTo, libraries, redisAnswers, redisUrl } from './internal/test-redis.js'
import { gcra } from './limit/gcra.js'
import { slidingWindow } from './limit/sliding-window.js'
import { type RedisLimiterOptions, redisLimiter } from './redis.js'

/** All keys of this run begin so, and are removed after it. */
const prefix = `msx:test:${randomUUID()}:`
/** On a busy machine a decision may be late; that is not what is tested here. */
const patient = { onError: 'deny', deadline: 30_000, prefix } as const
/** So long that nothing drains away while a test runs. */
const LONG = 2_147_483_647

const answers = await redisAnswers()

describe.skipIf(!answers)('on a real Redis', () => {
  let redis: Connected

  beforeAll(async () => {
    redis = await connectTo(redisUrl, 'ioredis')
  })

  afterAll(async () => {
    for (const key of await keys()) await redis.send('DEL', key)
    redis.close()
  })

  async function keys(start = prefix): Promise<string[]> {
    const found: string[] = []
    let cursor = '0'
    do {
      const [next, page] = (await redis.send('SCAN', cursor, 'MATCH', `${start}*`, 'COUNT', '1000')) as [
        string,
        string[],
      ]
      found.push(...page)
      cursor = next
    } while (cursor !== '0')

    return found
  }

  describe.each(libraries)('with the client of %s', (library) => {
    test.each(['gcra', 'sliding-window'] as const)('%s allows the limit, then none', async (algorithm) => {
      const { client, close } = await connectTo(redisUrl, library)
      const limiter = redisLimiter({ ...patient, client, algorithm, limit: 3, window: 60_000 })
      const key = randomUUID()

      const decisions = [await limiter.take(key, 2), await limiter.take(key), await limiter.take(key)]
      close()

      expect(decisions.map(({ allowed, remaining }) => [allowed, remaining])).toEqual([
        [true, 1],
        [true, 0],
        [false, 0],
      ])
      expect(decisions[2]!.retryAfter).toBeGreaterThan(0)
      // With two windows, this one has to end first, and then a third of the next.
      expect(decisions[2]!.retryAfter).toBeLessThanOrEqual(80_000)
    })
  })

  describe.each(['gcra', 'sliding-window'] as const)('%s', (algorithm) => {
    test('allows exactly the limit when four processes ask at once', async () => {
      const limit = 997
      const key = randomUUID()
      const program = `
        import { redisLimiter } from '@msx/gateway-kit/redis'
        import { Redis } from 'ioredis'
        import { createClient } from 'redis'

        const [library, url, options, key, takes] = process.argv.slice(1)
        const client = library === 'ioredis' ? new Redis(url) : await createClient({ url }).connect()
        const limiter = redisLimiter({ ...JSON.parse(options), client })
        await limiter.take('another')
        process.send('ready')
        process.once('message', async () => {
          const decisions = await Promise.all(Array.from({ length: Number(takes) }, () => limiter.take(key)))
          process.send(decisions.filter(({ allowed }) => allowed).length, () => process.exit())
        })`
      const options = JSON.stringify({ ...patient, algorithm, limit, window: LONG })
      const children = [...libraries, ...libraries].map((library) =>
        spawn(process.execPath, ['--input-type=module', '-e', program, library, redisUrl, options, key, '400'], {
          cwd: fileURLToPath(new URL('..', import.meta.url)),
          stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
        }),
      )
      const said = () =>
        Promise.all(
          children.map(
            (child) =>
              new Promise<unknown>((resolve, reject) => {
                child.once('message', resolve)
                child.once('exit', (code) => reject(new Error(`a child ended with ${code}`)))
              }),
          ),
        )
      await said()

      const counts = said()
      for (const child of children) child.send('go')

      const allowed = (await counts) as number[]
      expect(allowed.reduce((sum, count) => sum + count, 0)).toBe(limit)
    }, 60_000)

    test('keys go away by themselves, when they mean nothing any longer', async () => {
      const mine = `${prefix}${randomUUID()}:`
      const limiter = redisLimiter({
        ...patient,
        client: redis.client,
        algorithm,
        limit: 10,
        window: 60_000,
        prefix: mine,
      })
      const { resetAfter } = await limiter.take('a', 5)

      const [key, ...others] = await keys(mine)
      const ttl = (await redis.send('PTTL', key!)) as number
      expect(others).toEqual([])
      expect(ttl).toBeLessThanOrEqual(resetAfter + 11)
      expect(ttl).toBeGreaterThan(resetAfter - 5_000)
    })

    test('a request that takes nothing leaves nothing', async () => {
      const mine = `${prefix}${randomUUID()}:`
      const limiter = redisLimiter({
        ...patient,
        client: redis.client,
        algorithm,
        limit: 1,
        window: LONG,
        prefix: mine,
      })
      await limiter.take('a', 0)
      expect(await keys(mine)).toEqual([])

      await limiter.take('a')
      const [key] = await keys(mine)
      const before = await redis.send('GET', key!)
      for (let denied = 0; denied < 3; denied += 1) expect((await limiter.take('a')).allowed).toBe(false)
      expect(await redis.send('GET', key!)).toBe(before)
    })

    test('goes by the clock of the server', async () => {
      const limiter = redisLimiter({ ...patient, client: redis.client, algorithm, limit: 1, window: 200 })
      const key = randomUUID()
      const [seconds, micros] = (await redis.send('TIME')) as [string, string]
      const start = Number(seconds) * 1_000 + Number(micros) / 1_000
      const end = start + 1_100

      let allowed = 0
      for (let now = start; now < end; ) {
        if ((await limiter.take(key)).allowed) allowed += 1
        const [s, us] = (await redis.send('TIME')) as [string, string]
        now = Number(s) * 1_000 + Number(us) / 1_000
      }

      expect(allowed).toBeGreaterThan(1)
      expect(allowed).toBeLessThanOrEqual(algorithm === 'gcra' ? 6 : 7)
    })

    test('decides as the limiter in this process does, at every moment', async () => {
      await fc.assert(
        fc.asyncProperty(shapes, starts, moves, async ({ limit, window, burst }, epoch, steps) => {
          const time = serverTime(epoch * window)
          const options: RedisLimiterOptions = {
            ...patient,
            client: time.client(redis),
            algorithm,
            limit,
            window,
            ...(algorithm === 'gcra' && { burst }),
          }
          const remote = redisLimiter(options)
          const clock = { now: () => time.passed() }
          const local =
            algorithm === 'gcra' ? gcra({ limit, window, burst, clock }) : slidingWindow({ limit, window, clock })
          const key = randomUUID()

          for (const [pause, cost] of steps) {
            time.advance(pause)
            const decision = await remote.take(key, cost)
            const expected = local.take(key, cost)

            expect(decision).toEqual({
              ...expected,
              resetAfter: expect.closeTo(expected.resetAfter, 3),
              retryAfter: Number.isFinite(expected.retryAfter)
                ? expect.closeTo(expected.retryAfter, 3)
                : expected.retryAfter,
            })
          }
        }),
        { numRuns: 150 },
      )
    }, 60_000)

    test('a clock of the server that goes back does not hold anybody up until it is where it was', async () => {
      const time = serverTime(1_000_000 * 60_000)
      const limiter = redisLimiter({ ...patient, client: time.client(redis), algorithm, limit: 2, window: 60_000 })
      const key = randomUUID()
      await limiter.take(key, 2)

      time.advance(-3_600_000)
      expect((await limiter.take(key)).allowed).toBe(false)

      // All that was taken is given back as ever: within the window, or two that slide.
      time.advance(algorithm === 'gcra' ? 60_000 : 120_000)
      expect((await limiter.take(key, 2)).allowed).toBe(true)
    })
  })
})

const shapes = fc.record({
  limit: fc.integer({ min: 1, max: 20 }),
  window: fc.integer({ min: 20_000, max: 60_000 }),
  burst: fc.integer({ min: 1, max: 30 }),
})
/** In windows; the last is about now. */
const starts = fc.constantFrom(0, 1, 40_000_000)
/** Milliseconds with one digit, so that no step ends within what limiters forgive. */
const pauses = fc.oneof(fc.nat({ max: 50_000 }), fc.constant(0)).map((tenths) => tenths / 10)
const moves = fc.array(fc.tuple(fc.oneof(pauses, fc.nat({ max: 90_000 })), fc.integer({ min: 0, max: 4 })), {
  maxLength: 40,
})

/** A time of the server that moves only when it is told to: the script gets it as its last two arguments. */
function serverTime(start: number) {
  let micros = start * 1_000

  return {
    advance(ms: number) {
      micros += Math.round(ms * 1_000)
    },
    /** Milliseconds since the start. */
    passed: () => (micros - start * 1_000) / 1_000,
    client: ({ send }: Connected) => ({
      async call(command: string, script: string, ...args: string[]) {
        if (command === 'EVALSHA') throw new Error('NOSCRIPT')

        const timed = script.replace("redis.call('TIME')", '{ ARGV[#ARGV - 1], ARGV[#ARGV] }')
        expect(timed).not.toBe(script)
        return send(command, timed, ...args, String(Math.floor(micros / 1e6)), String(micros % 1e6))
      },
    }),
  }
}
