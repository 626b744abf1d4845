import { aString, show } from '../internal/checks.js'
import { aboveZero } from '../limit/gcra.js'
import type { RedisClient } from '../limit/redis-client.js'
import type { RedisLimiter, RedisLimiterOptions } from '../redis.js'
import { type Issues, oneOf, refuseOthers } from './issues.js'
import { ifInstalled } from './libraries.js'

type Said = Readonly<Record<string, unknown>>

/** What a file says of its Redis. */
export interface RedisSettings {
  readonly url: string
  readonly deadline: number | undefined
  readonly onError: 'allow' | 'deny' | 'local'
  readonly prefix: string
}

/** One connection, which all limiters share. */
export interface RedisConnection {
  readonly client: RedisClient
  /** Tells, once for all limiters, that Redis is away, and that it is back. */
  follow(limiter: RedisLimiter): void
  close(): void
}

/** `redis: 'redis://…'`, or `{ url, deadline?, onError?, prefix? }`, of which only the url is looked at here. */
export function readRedis(said: unknown, issues: Issues): RedisSettings | undefined {
  if (said === undefined) return undefined

  const options = typeof said === 'string' ? { url: said } : issues.object('redis', said)
  const { url, deadline, onError = 'local', prefix = 'msx:limit:' } = options as Said & Partial<RedisSettings>
  issues.members('redis', options, { url: () => undefined, deadline: aboveZero, onError: aFallback, prefix: aString })
  // Not repeated: it may hold a password.
  if (typeof url !== 'string' || !URL.canParse(url) || !/^rediss?:$/.test(new URL(url).protocol)) {
    issues.add(typeof said === 'string' ? 'redis' : 'redis.url', "a URL such as 'redis://127.0.0.1:6379' was expected")
    return undefined
  }
  return { url, deadline, onError, prefix }
}

const aFallback = oneOf('allow', 'deny', 'local')

/** How long a start waits for the connection, in milliseconds: without it limits are this process's own for a while. */
const WAIT_AT_START = 1_000

/** How often a connection that broke is tried again, in milliseconds. */
const TRY_AGAIN = 500

/** A client of whichever library is installed. It connects at `connect`, and again whenever it has lost its connection. */
export async function createRedis(
  { url, onError }: RedisSettings,
  connect: boolean,
  warn: (text: string) => void,
): Promise<RedisConnection> {
  const client = (await ioredisClient(url)) ?? (await redisClient(url))
  if (client === undefined) {
    throw new TypeError('needs a client of Redis, and neither ioredis nor redis is installed: npm install ioredis')
  }

  let away = false
  if (connect) {
    const trouble = await settled(client.connect(), WAIT_AT_START)
    if (trouble !== undefined)
      warn(`redis cannot be reached: ${trouble}; until it can, onError decides, which is ${show(onError)}`)
  }
  return {
    client,
    follow(limiter) {
      limiter.on('away', (event) => {
        if (away) return

        away = true
        const why = event.reason === 'deadline' ? 'does not answer in time' : `fails: ${textOf(event.error)}`
        warn(`redis ${why}; onError decides, which is ${show(onError)}`)
      })
      limiter.on('back', () => {
        if (away) warn('redis decides again')
        away = false
      })
    },
    close: () => client.close(),
  }
}

/** What went wrong with it within so many milliseconds, or nothing. */
async function settled(work: Promise<unknown>, ms: number): Promise<string | undefined> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<string>((resolve) => {
    timer = setTimeout(resolve, ms, `no answer within ${ms} ms`)
  })
  const outcome = await Promise.race([work.then(() => undefined, textOf), late])
  clearTimeout(timer)

  return outcome
}

interface OwnClient {
  connect(): Promise<unknown>
  close(): void
}

// A question that waits for a connection would be answered from this process meanwhile, and then counted all the same:
// so none waits.

async function ioredisClient(url: string): Promise<(RedisClient & OwnClient) | undefined> {
  const library = await ifInstalled('ioredis', () => import('ioredis'))
  if (library === undefined) return undefined

  const client = new library.Redis(url, {
    lazyConnect: true,
    enableOfflineQueue: false,
    autoResendUnfulfilledCommands: false,
    retryStrategy: () => TRY_AGAIN,
  })
  client.on('error', () => {})
  return {
    call: (command, ...args) => client.call(command, ...args),
    connect: () => client.connect(),
    close: () => client.disconnect(),
  }
}

async function redisClient(url: string): Promise<(RedisClient & OwnClient) | undefined> {
  const library = await ifInstalled('redis', () => import('redis'))
  if (library === undefined) return undefined

  const client = library.createClient({
    url,
    disableOfflineQueue: true,
    socket: { reconnectStrategy: () => TRY_AGAIN },
  })
  client.on('error', () => {})
  return {
    sendCommand: (args) => client.sendCommand(args),
    connect: () => client.connect(),
    // Closing what never connected is a mistake to this library.
    close: () => {
      if (client.isOpen) client.destroy()
    },
  }
}

/** Options of a limiter of this file, whose keys nobody else of the same Redis counts. */
export async function createRedisLimiter(
  name: string,
  { store: _, ...options }: Said,
  connection: RedisConnection,
  { deadline, onError, prefix }: RedisSettings,
): Promise<RedisLimiter> {
  refuseOthers(options, ['algorithm', 'limit', 'window', 'burst'])
  const { redisLimiter } = await import('../redis.js')
  const limiter = redisLimiter({
    ...(options as unknown as Pick<RedisLimiterOptions, 'limit' | 'window'>),
    client: connection.client,
    ...(deadline !== undefined && { deadline }),
    onError,
    prefix: `${prefix}${name}:`,
  })
  connection.follow(limiter)
  return limiter
}

const textOf = (error: unknown): string => (error instanceof Error ? error.message : String(error))
