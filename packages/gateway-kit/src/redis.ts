import { hash } from 'node:crypto'
import { after, type Clock, systemClock } from './clock.js'
import { aString, checkOption, positiveInteger, show } from './internal/checks.js'
import { aboveZero, bucketDecision, checkLimit, gcra } from './limit/gcra.js'
import { checkCost, type Decision, type RateLimiter } from './limit/limiter.js'
import { PROBE_EVERY, Reachability, type RedisLimiterEvents } from './limit/reachability.js'
import { isRedisClient, type RedisClient, scriptRunner } from './limit/redis-client.js'
import { gcraScript, slidingWindowScript } from './limit/redis-scripts.js'
import { slidingWindow, windowDecision } from './limit/sliding-window.js'

export type { Decision, RateLimiter } from './limit/limiter.js'
export type { RedisLimiterEvents } from './limit/reachability.js'
export type { CallingClient, RedisClient, SendingClient } from './limit/redis-client.js'

export interface RedisLimiterOptions {
  /** A client of ioredis (`call`) or of redis (`sendCommand`); connecting, its errors and closing it are yours. */
  readonly client: RedisClient
  /** Default `gcra`. Both decide as their namesakes in this process do. */
  readonly algorithm?: 'gcra' | 'sliding-window' | undefined
  /** Requests per window, for all processes together. */
  readonly limit: number
  /** Milliseconds. */
  readonly window: number
  /** How many may come at once, with `gcra` only. Default: `limit`. */
  readonly burst?: number | undefined
  /** How long a decision may take, in milliseconds; after it `onError` decides. Default 50. */
  readonly deadline?: number | undefined
  /**
   * Who decides while Redis does not: everybody may come in (`allow`), nobody (`deny`), or a limiter in this process
   * with the same numbers (`local`), so that N processes let in at most N times the limit.
   */
  readonly onError: 'allow' | 'deny' | 'local'
  /**
   * What the names of the keys begin with. Limiters with the same prefix, algorithm and numbers count together.
   * Default `msx:limit:`.
   */
  readonly prefix?: string | undefined
  readonly clock?: Clock | undefined
}

export interface RedisLimiter extends RateLimiter {
  readonly window: number
  /** Takes `cost` (default 1) from the quota of `key`. It never rejects, and settles within the deadline. */
  take(key: string, cost?: number): Promise<Decision>
  /** Returns the function that ends the subscription. */
  on<Name extends keyof RedisLimiterEvents>(name: Name, listener: (event: RedisLimiterEvents[Name]) => void): () => void
}

/** How one algorithm asks Redis, and reads what comes back. */
interface Strategy {
  readonly script: string
  /** The numbers of the limiter, which are part of the name of its keys. */
  readonly numbers: readonly number[]
  readonly args: readonly string[]
  /** The most that can be taken at once. */
  readonly capacity: number
  read(reply: readonly number[], cost: number, allowed: boolean): Decision
}

/**
 * A limiter whose quotas are in Redis, for many processes together: each decision is one script there, by the clock of
 * the server, so that N allowed are exactly N. A Redis that is stopped or hangs stalls nobody beyond the deadline.
 *
 * @throws {TypeError} at construction, for a wrong option.
 *
 * @example
 * const limiter = redisLimiter({ client: new Redis(), limit: 100, window: 60_000, onError: 'local' })
 * app.use(rateLimit({ limiter }))
 */
export function redisLimiter(options: RedisLimiterOptions): RedisLimiter {
  checkOptions(options)
  const { client, window, deadline = 50, prefix = 'msx:limit:', clock = systemClock } = options
  const { algorithm = 'gcra' } = options
  const strategy = algorithm === 'gcra' ? gcraStrategy(options) : slidingWindowStrategy(options)
  const evaluate = scriptRunner(client, strategy.script)
  const fallback = fallbackOf(options, strategy.capacity)
  const server = new Reachability(clock)
  const keyStart = `${prefix}${algorithm}:${strategy.numbers.join(':')}:`

  return {
    window,
    on: (name, listener) => server.events.on(name, listener),
    take(key, cost = 1) {
      checkCost(cost)
      // Whoever chooses a key chooses neither its length nor its characters.
      const name = keyStart + hash('sha256', key, 'base64url')

      return server.worthAsking ? ask(name, key, cost) : Promise.resolve(fallback(key, cost))
    },
  }

  function ask(name: string, key: string, cost: number): Promise<Decision> {
    return new Promise((resolve) => {
      const question = server.ask()
      let settled = false
      const cancel = after(clock, deadline, () => {
        // When this process was busy, timers come before what was received meanwhile: read that first.
        setImmediate(() => {
          if (settled) return
          question.missedDeadline()
          resolve(fallback(key, cost))
        })
      })
      evaluate(name, [String(cost), ...strategy.args], () => !question.overdue)
        .then((reply) => decide(reply, cost))
        .then(
          (decision) => {
            settled = true
            cancel()
            question.answered()
            resolve(decision)
          },
          (error: unknown) => {
            settled = true
            cancel()
            question.failed(error)
            if (!question.overdue) resolve(fallback(key, cost))
          },
        )
    })
  }

  function decide(reply: unknown, cost: number): Decision {
    const numbers = Array.isArray(reply) ? reply.map((item) => Number(String(item))) : []
    if (numbers.length < 2 || !numbers.every(Number.isFinite)) {
      throw new TypeError(`redisLimiter: the script's reply was ${show(reply)}, not a list of numbers`)
    }

    const [allowed, ...state] = numbers
    return strategy.read(state, cost, allowed === 1)
  }
}

function gcraStrategy({ limit, window, burst = limit }: RedisLimiterOptions): Strategy {
  const shape = { limit, burst, interval: window / limit }

  return {
    script: gcraScript,
    numbers: [limit, window, burst],
    args: [String(burst), String(shape.interval)],
    capacity: burst,
    read: ([level], cost, allowed) => bucketDecision(shape, level!, cost, allowed),
  }
}

function slidingWindowStrategy({ limit, window }: RedisLimiterOptions): Strategy {
  return {
    script: slidingWindowScript,
    numbers: [limit, window],
    args: [String(limit), String(window)],
    capacity: limit,
    read: ([current, previous, elapsed], cost, allowed) =>
      windowDecision(limit, window, { current: current!, previous: previous!, elapsed: elapsed! }, cost, allowed),
  }
}

function fallbackOf(options: RedisLimiterOptions, capacity: number): (key: string, cost: number) => Decision {
  const { onError, limit } = options
  if (onError === 'local') {
    const local = options.algorithm === 'sliding-window' ? slidingWindow(options) : gcra(options)
    return (key, cost) => local.take(key, cost)
  }
  if (onError === 'deny') {
    return () => ({ allowed: false, limit, remaining: 0, resetAfter: PROBE_EVERY, retryAfter: PROBE_EVERY })
  }

  return (_, cost) => ({
    allowed: true,
    limit,
    remaining: Math.max(0, Math.floor(capacity - cost)),
    resetAfter: 0,
    retryAfter: 0,
  })
}

function checkOptions(options: RedisLimiterOptions): void {
  const { client, algorithm, limit, window, burst, deadline, onError, prefix } = options
  if (!isRedisClient(client)) {
    throw new TypeError(
      `redisLimiter: client must have a method call (ioredis) or sendCommand (redis), got ${show(client)}`,
    )
  }
  checkOption('redisLimiter', 'algorithm', algorithm, oneOf('gcra', 'sliding-window'))
  checkLimit('redisLimiter', limit, window)
  checkOption('redisLimiter', 'burst', burst, positiveInteger)
  if (burst !== undefined && algorithm === 'sliding-window') {
    throw new TypeError(`redisLimiter: burst must be left out with the algorithm sliding-window, got ${burst}`)
  }
  checkOption('redisLimiter', 'deadline', deadline, aboveZero)
  const fallback = oneOf('allow', 'deny', 'local')
  if (onError === undefined) throw new TypeError(`redisLimiter: onError must be ${fallback(onError)}, got undefined`)
  checkOption('redisLimiter', 'onError', onError, fallback)
  checkOption('redisLimiter', 'prefix', prefix, aString)
}

const oneOf =
  (...values: string[]) =>
  (value: unknown) =>
    values.includes(value as string) ? undefined : values.map((one) => `'${one}'`).join(' or ')
