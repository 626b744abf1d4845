import { gcra, type RateLimiter } from '@msx/gateway-kit'
import { type RedisClient, redisLimiter } from '@msx/gateway-kit/redis'

/** How much one address may ask of the gateway. */
export interface Quota {
  readonly name: 'requests' | 'sign-in'
  readonly limit: number
  /** Milliseconds. */
  readonly window: number
}

/** Makes the limiter of a quota. */
export type Limiters = (quota: Quota) => RateLimiter

/** Each gateway counts for itself. */
export const localLimiters: Limiters = ({ limit, window }) => gcra({ limit, window })

/**
 * All gateways with the same `prefix` count together, in Redis. While it is away each counts for itself, so that
 * nobody is locked out and nobody gets in unlimited.
 */
export function redisLimiters(client: RedisClient, prefix: string): Limiters {
  return ({ name, limit, window }) =>
    redisLimiter({ client, limit, window, onError: 'local', prefix: `${prefix}:limit:${name}:` })
}
