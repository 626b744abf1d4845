import { MAX_DURATION, milliseconds, object, share, within } from './internal/validate.js'

/** How long an open circuit stays open before it lets a trial through. */
export interface OpenDurationOptions {
  /** The first time, in milliseconds. */
  readonly base: number
  /** Growth stops here, in milliseconds; default 300_000, or `base` when that is more. */
  readonly max?: number | undefined
  /** Growth with each opening that no healthy time lies between, default 2. */
  readonly factor?: number | undefined
  /** 0 to 1, default 0: the duration is spread evenly over ± this share of itself, applied after `max`. */
  readonly jitter?: number | undefined
}

const DEFAULT_BASE = 30_000
const DEFAULT_MAX = 300_000
const DEFAULT_FACTOR = 2

/** The same options with every number known. */
export type OpenDuration = { readonly [K in keyof OpenDurationOptions]-?: number }

export function parseOpenDuration(value: number | OpenDurationOptions = DEFAULT_BASE): OpenDuration {
  const options: OpenDurationOptions =
    typeof value === 'object' ? object('openDuration', value) : { base: value, factor: 1 }
  const base = milliseconds(options === value ? 'openDuration.base' : 'openDuration', options.base)
  const { max = Math.max(DEFAULT_MAX, base), factor = DEFAULT_FACTOR, jitter = 0 } = options

  return {
    base,
    max: milliseconds('openDuration.max', max),
    factor: within('openDuration.factor', factor, 'a number', 1, MAX_DURATION),
    jitter: share('openDuration.jitter', jitter),
  }
}

/** How long the `opening`-th opening in a row lasts (1-based), in milliseconds. `random` answers from 0 to 1. */
export function openFor({ base, max, factor, jitter }: OpenDuration, opening: number, random: () => number): number {
  // A large power is Infinity, which the cap takes care of; 0 * Infinity would not be a number.
  const grown = base === 0 ? 0 : Math.min(max, base * factor ** (opening - 1))
  return jitter === 0 ? grown : Math.min(MAX_DURATION, grown * (1 + jitter * (2 * random() - 1)))
}

/**
 * Which opening in a row the next one is. Each `base` ms of closed time in between takes one back, so that a circuit that
 * flaps keeps what it has learnt, and one that was well for long starts over. After Envoy's outlier detection.
 */
export function nextOpening({ base }: OpenDuration, last: number, closedFor: number): number {
  const healed = base === 0 ? last : Math.floor(closedFor / base)
  return Math.max(0, last - healed) + 1
}

/** A server's own hint raises the duration, never lowers it. What is no sensible number is no hint. */
export function withHint(duration: number, hint: number | undefined): number {
  if (hint === undefined || !(hint > duration)) return duration
  return Math.min(hint, MAX_DURATION)
}
