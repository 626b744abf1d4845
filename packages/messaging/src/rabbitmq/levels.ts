import { delayUnsupported } from '../internal/refusals.js'

const SECOND = 1_000
const MINUTE = 60 * SECOND

/**
 * The delays there are wait queues for, in ms. A message cannot be given its own: a queue only looks at its first
 * message, so that a short wait behind a long one would become a long one.
 */
export const LEVELS: readonly number[] = [
  ...[1, 2, 5, 10, 20, 30].map((seconds) => seconds * SECOND),
  ...[1, 2, 5, 10, 20, 30, 60].map((minutes) => minutes * MINUTE),
]

export const LONGEST_WAIT: number = LEVELS.at(-1) as number

/** The first level that is not shorter than the delay, for a delay above 0. Throws MSX_DELAY_UNSUPPORTED above the last. */
export function levelFor(what: string, delay: number): number {
  const level = LEVELS.find((ms) => ms >= delay)
  if (level === undefined) throw delayUnsupported(what, delay, LONGEST_WAIT)

  return level
}
