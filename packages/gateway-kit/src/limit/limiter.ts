/** What a limiter says about one request. Times are milliseconds from now. */
export interface Decision {
  readonly allowed: boolean
  /** How many are allowed per window. */
  readonly limit: number
  /** How many more would be allowed at once. */
  readonly remaining: number
  /** Until the whole quota is there again. */
  readonly resetAfter: number
  /** Until this request would be allowed; 0 when it is, Infinity when it never will be. */
  readonly retryAfter: number
}

export interface RateLimiter {
  /** The window of the limit, in milliseconds, where there is one; it is told to clients in `RateLimit-Policy`. */
  readonly window?: number | undefined
  /** Takes `cost` (default 1) from the quota of `key`. A denied request takes nothing. */
  take(key: string, cost?: number): Decision | Promise<Decision>
}

/** A limiter in this process, which answers at once. */
export interface LocalRateLimiter extends RateLimiter {
  take(key: string, cost?: number): Decision
}

/** The cost of a request, checked. */
export function checkCost(cost: number): void {
  if (!Number.isFinite(cost) || cost < 0) throw new TypeError(`cost must be a number, 0 or more, got ${cost}`)
}
