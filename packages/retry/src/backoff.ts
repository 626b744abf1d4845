import { atLeast, duration, optionsObject, wrong } from './internal/validate.js'

/**
 * How long to wait before a retry, in milliseconds.
 *
 * @param retry 0 before the first retry.
 * @param previous what the back-off returned before, 0 at first.
 * @param random a number in [0, 1).
 */
export type Backoff = (retry: number, previous: number, random: () => number) => number

/** Where in its range the delay falls. See {@link exponential}. */
export type Jitter = 'full' | 'equal' | 'decorrelated' | 'none'

export interface ExponentialOptions {
  /** The range before the first retry, in milliseconds. Default 100. */
  readonly base?: number | undefined
  /** What the range grows by with each retry, at least 1. Default 2. */
  readonly factor?: number | undefined
  /** No delay is longer, in milliseconds. Default 20_000. */
  readonly max?: number | undefined
  /** Default 'full'. */
  readonly jitter?: Jitter | undefined
}

/**
 * Waits the same `delay` (milliseconds) before each retry. Clients that failed together come back together: prefer
 * {@link exponential} where many share a server.
 */
export function constant(delay: number): Backoff {
  duration('constant: delay', delay)

  return function constantBackoff() {
    return delay
  }
}

/**
 * Waits longer with each retry: the range is `min(max, base * factor ** retry)`, and `jitter` says where in it the
 * delay falls. The range is capped before the jitter, so clients stay spread also at the cap.
 *
 * - `full`: anywhere in it. Spreads clients best, and the default.
 * - `equal`: in its upper half, so that there is always some wait.
 * - `decorrelated`: between `base` and three times the delay before, up to `max`; `factor` plays no part.
 * - `none`: at its end. For tests.
 *
 * The jitters are those of "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015).
 *
 * @throws TypeError for options out of range.
 * @example
 * const policy = retry({ backoff: exponential({ base: 50, max: 1_000 }) })
 */
export function exponential(options: ExponentialOptions = {}): Backoff {
  optionsObject('exponential', options)
  const { base = 100, factor = 2, max = 20_000, jitter = 'full' } = options
  duration('exponential: base', base)
  atLeast(1, 'exponential: factor', factor)
  duration('exponential: max', max)
  if (!Object.hasOwn(jitters, jitter)) {
    throw wrong('exponential: jitter', jitter, `one of ${Object.keys(jitters).join(', ')}`)
  }

  return function exponentialBackoff(retry, previous, random) {
    // 0 * Infinity, after very many retries, would be NaN.
    const range = base === 0 ? 0 : Math.min(max, base * factor ** retry)
    const [low, high] = jitters[jitter]({ base, max, previous, range })

    return low + random() * (high - low)
  }
}

interface Step {
  readonly base: number
  readonly max: number
  readonly previous: number
  readonly range: number
}

/** Between what and what the delay is drawn. */
const jitters: Record<Jitter, (step: Step) => readonly [low: number, high: number]> = {
  full: ({ range }) => [0, range],
  equal: ({ range }) => [range / 2, range],
  decorrelated: ({ base, max, previous }) => [Math.min(base, max), Math.min(max, 3 * Math.max(base, previous))],
  none: ({ range }) => [range, range],
}
