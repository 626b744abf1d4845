import { type Cluster, Redis } from 'ioredis'
import { createClient } from 'redis'
import { expectTypeOf, test } from 'vitest'
import type { Decision, RateLimiter, RedisClient } from './redis.js'
import { redisLimiter } from './redis.js'

const numbers = { limit: 1, window: 1_000, onError: 'local' } as const

test('takes the clients of both libraries as they are', () => {
  expectTypeOf<Redis>().toExtend<RedisClient>()
  expectTypeOf<Cluster>().toExtend<RedisClient>()
  expectTypeOf(createClient()).toExtend<RedisClient>()

  redisLimiter({ client: new Redis(), ...numbers })
  redisLimiter({ client: createClient(), ...numbers })
  // @ts-expect-error: no client
  redisLimiter({ client: {}, ...numbers })
})

test('onError is to be chosen', () => {
  // @ts-expect-error: who decides without Redis?
  redisLimiter({ client: new Redis(), limit: 1, window: 1_000 })
  // @ts-expect-error: not one of the three
  redisLimiter({ client: new Redis(), ...numbers, onError: 'throw' })
})

test('is a limiter whose decisions come later', () => {
  const limiter = redisLimiter({ client: new Redis(), ...numbers })

  expectTypeOf(limiter).toExtend<RateLimiter>()
  expectTypeOf(limiter.take('a')).toEqualTypeOf<Promise<Decision>>()
  limiter.on('back', (event) => expectTypeOf(event.after).toEqualTypeOf<number>())
  limiter.on('away', (event) => {
    if (event.reason === 'error') expectTypeOf(event.error).toEqualTypeOf<unknown>()
  })
  // @ts-expect-error: no such event
  limiter.on('gone', () => {})
})
