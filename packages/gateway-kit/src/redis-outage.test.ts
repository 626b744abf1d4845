import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import {
  type Connected,
  connectTo,
  libraries,
  type OwnRedis,
  ownRedis,
  redisServerInstalled,
} from './internal/test-redis.js'
import { type RedisLimiter, redisLimiter } from './redis.js'

/** Longer than the default, for where many tests share two cores. */
const DEADLINE = 200
/** How late a timer may be there. */
const SLACK = 700
const numbers = { limit: 10, window: 2_147_483_647, deadline: DEADLINE }

const installed = await redisServerInstalled()

describe.skipIf(!installed).each(libraries)('a Redis that goes away, with the client of %s', (library) => {
  let server: OwnRedis
  let connected: Connected

  beforeEach(async () => {
    server = await ownRedis()
    connected = await connectTo(server.url, library)
    // The first question of a connection is the slowest; it is not what is tested.
    await connected.send('PING')
  })

  afterEach(async () => {
    connected.close()
    await server.close()
  })

  test('frozen: nobody waits longer than the deadline, most do not wait; thawed: it counts on', async () => {
    const limiter = redisLimiter({ ...numbers, client: connected.client, onError: 'local' })
    const back = toldOf(limiter, 'back')
    const reasons: string[] = []
    limiter.on('away', ({ reason }) => reasons.push(reason))
    await takes(limiter, 4)

    server.freeze()
    const together = await timed(() => Promise.all(Array.from({ length: 5 }, () => limiter.take('a'))))
    expect(together.ms).toBeLessThan(DEADLINE + SLACK)
    expect(together.result.every(({ allowed }) => allowed)).toBe(true)
    const oneByOne = await timed(() => takes(limiter, 200))
    expect(oneByOne.ms).toBeLessThan(DEADLINE + SLACK)
    // This process counts for itself: ten, of which five were taken above.
    expect(oneByOne.result).toBe(5)

    server.thaw()
    await back
    expect(reasons).toEqual(['deadline'])
    // Four before, and the five that Redis was asked for while it was frozen.
    expect(await takes(limiter, 20)).toBe(1)
  })

  test('killed: nobody waits longer than the deadline; started again: it decides again', async () => {
    const limiter = redisLimiter({ ...numbers, client: connected.client, onError: 'deny' })
    expect(await takes(limiter, 20)).toBe(10)

    await server.kill()
    for (let time = 0; time < 20; time += 1) {
      const { result, ms } = await timed(() => limiter.take('a'))
      expect(result.allowed).toBe(false)
      expect(ms).toBeLessThan(DEADLINE + SLACK)
    }

    const back = toldOf(limiter, 'back')
    await server.start()
    const asking = setInterval(() => void limiter.take('somebody else', 0), 20)
    await back
    clearInterval(asking)
    // The new server knows neither script nor quota; what was asked meanwhile may be counted there.
    expect(await takes(limiter, 20, 'b')).toBe(10)
  })

  test('killed in the middle of a thousand questions: each gets its decision', async () => {
    const limiter = redisLimiter({ ...numbers, client: connected.client, onError: 'allow' })
    const questions = Array.from({ length: 1_000 }, (_, index) => limiter.take(`key-${index}`))
    const { result, ms } = await timed(async () => {
      await server.kill()
      return Promise.all(questions)
    })

    expect(result.every(({ allowed }) => allowed)).toBe(true)
    expect(ms).toBeLessThan(DEADLINE + SLACK)
  })

  test('a server that forgets its scripts is told them again', async () => {
    const limiter = redisLimiter({ ...numbers, deadline: 30_000, client: connected.client, onError: 'deny' })
    expect(await takes(limiter, 4)).toBe(4)

    await connected.send('SCRIPT', 'FLUSH')

    expect(await takes(limiter, 20)).toBe(6)
  })

  test('a server that refuses to write is away with its error, and back when it writes', async () => {
    const limiter = redisLimiter({ ...numbers, deadline: 30_000, client: connected.client, onError: 'allow' })
    const away = toldOf(limiter, 'away')
    await connected.send('CONFIG', 'SET', 'maxmemory', '1')
    expect(await takes(limiter, 20)).toBe(20)
    expect(await away).toMatchObject({ reason: 'error', error: { message: expect.stringContaining('OOM') } })

    await connected.send('CONFIG', 'SET', 'maxmemory', '0')
    expect(await takes(limiter, 20)).toBe(10)
  })
})

const toldOf = (limiter: RedisLimiter, name: 'away' | 'back') =>
  new Promise((resolve) => {
    limiter.on(name, resolve)
  })

/** How many of so many, one after another, are allowed. */
async function takes(limiter: RedisLimiter, times: number, key = 'a'): Promise<number> {
  let allowed = 0
  for (let time = 0; time < times; time += 1) if ((await limiter.take(key)).allowed) allowed += 1

  return allowed
}

async function timed<T>(run: () => Promise<T>): Promise<{ readonly result: T; readonly ms: number }> {
  const start = performance.now()
  const result = await run()

  return { result, ms: performance.now() - start }
}
