import { type Clock, gcra, type LocalRateLimiter } from '@msx/gateway-kit'
import { quotaUsedUp } from '@shop/platform'

/** Counts wrong guesses at what opens the operations. */
export interface Guesses {
  /**
   * Whether the guess that came from `address` is right. It is not looked at, and refused with 429, once there were too
   * many wrong ones: ten a minute from one address, a hundred from all together.
   */
  check(address: string, isRight: () => boolean): boolean
}

const window = 60_000
const fromOne = 10
const fromAll = 100

/** More addresses than there are operators. */
const mostKnown = 1_000

/**
 * All of it happens in one turn, between the look at the count and the count, so that guesses which come together are
 * not more. Each gateway counts by itself.
 */
export function createGuesses(clock?: Clock): Guesses {
  const each = gcra({ limit: fromOne, window, clock })
  const all = gcra({ limit: fromAll, window, clock })
  // Where right ones came from: there the guesses of others keep nobody out.
  const known = new Set<string>()

  return {
    check(address, isRight) {
      refuseIfUsedUp(each, address, fromOne)
      if (!known.has(address)) refuseIfUsedUp(all, '', fromAll)

      if (isRight()) {
        if (known.size < mostKnown) known.add(address)
        return true
      }

      each.take(address)
      all.take('')
      return false
    },
  }
}

function refuseIfUsedUp(limiter: LocalRateLimiter, key: string, limit: number): void {
  const { remaining, resetAfter } = limiter.take(key, 0)
  if (remaining > 0) return

  throw quotaUsedUp({
    name: 'operations',
    limit,
    window,
    resetAfter,
    retryAfter: resetAfter - ((limit - 1) * window) / limit,
    detail: 'too many wrong guesses; try again later',
  })
}
