import type { CircuitBreakerOptions, ConsecutiveTrip, RateTrip } from '@msx/circuit-breaker'

/** What Kong's upstreams know of the health of their targets. */
export interface KongHealthchecks {
  readonly passive: {
    readonly type: 'http' | 'grpc'
    readonly healthy: { readonly successes: number }
    readonly unhealthy: {
      readonly http_statuses: readonly number[]
      readonly http_failures: number
      readonly tcp_failures: number
      readonly timeouts: number
    }
  }
  readonly active: {
    readonly type: 'tcp'
    readonly healthy: { readonly interval: 0; readonly successes: number }
    readonly unhealthy: { readonly interval: number }
  }
}

/** The statuses of servers that are failures here: all of them but 501. */
const failing = [500, 502, 503, 504, 505, 506, 507, 508, 510, 511]

/** Kong counts no further. */
const MOST = 255

/**
 * A breaker as Kong has it: a target that failed so often in a row gets nothing, and is tried by connecting to it until
 * that works, for requests alone would never find out. `tell` hears in what it is not the same.
 */
export function healthchecksOf(
  { trip, openDuration = 30_000, halfOpen = {}, ...others }: CircuitBreakerOptions,
  type: 'http' | 'grpc',
  tell: (message: string) => void,
): KongHealthchecks {
  const failures = inARow({ ...trip }, tell)
  const base = typeof openDuration === 'number' ? openDuration : openDuration.base
  if (typeof openDuration === 'object') tell(`stays open for openDuration.base, ${base} ms, each time`)
  if (others.slowCall !== undefined || others.classify !== undefined || others.retryAfter !== undefined) {
    tell('does not know slow calls, classify and retryAfter in Kong, only statuses, timeouts and lost connections')
  }
  if (others.dryRun === true) tell('is a dry run, and would be a breaker in Kong')
  if (type === 'grpc') tell('counts lost connections and timeouts only: the status of a gRPC call is in its trailers')
  const successes = Math.min(MOST, halfOpen.successes ?? halfOpen.trials ?? 1)

  return {
    passive: {
      type,
      // One success ends a row of failures.
      healthy: { successes: 1 },
      unhealthy: { http_statuses: failing, http_failures: failures, tcp_failures: failures, timeouts: failures },
    },
    active: {
      type: 'tcp',
      healthy: { interval: 0, successes },
      unhealthy: { interval: Math.max(1, Math.ceil(base / 1_000)) },
    },
  }
}

function inARow(
  { failures, failureRate = 0.5, minimumCalls = 20 }: Partial<ConsecutiveTrip & RateTrip>,
  tell: (message: string) => void,
): number {
  const wanted = failures ?? Math.max(1, Math.ceil(failureRate * minimumCalls))
  if (failures === undefined) {
    tell(`opens by a rate; Kong counts failures in a row, here ${Math.min(MOST, wanted)}, of each target by itself`)
  } else if (failures > MOST) tell(`opens after ${failures} failures; Kong counts up to ${MOST}`)

  return Math.min(MOST, wanted)
}
