/** A process that ran this long, in milliseconds, has recovered: its next crash counts as the first. */
const recovered = 30_000

const firstDelay = 250
const longestDelay = 10_000

/** How often a process has crashed of late. */
export interface Crashes {
  readonly count: number
}

/** What to do about one more crash: how long to wait before the next start, in milliseconds. */
export function afterCrash(before: Crashes, ranFor: number): { readonly crashes: Crashes; readonly delay: number } {
  const count = ranFor >= recovered ? 1 : before.count + 1

  return { crashes: { count }, delay: Math.min(longestDelay, firstDelay * 2 ** (count - 1)) }
}
