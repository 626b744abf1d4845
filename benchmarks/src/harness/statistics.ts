/** What a number was over the rounds. */
export interface Spread {
  readonly min: number
  readonly median: number
  readonly max: number
}

/** @throws RangeError without samples. */
export function spread(samples: readonly number[]): Spread {
  if (samples.length === 0) throw new RangeError('spread: no samples')

  const sorted = [...samples].sort((a, b) => a - b)
  return { min: sorted[0]!, median: median(sorted), max: sorted.at(-1)! }
}

function median(sorted: readonly number[]): number {
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2
}

/** The samples of two subjects, round by round. */
export function paired(
  a: readonly number[],
  b: readonly number[],
  combine: (a: number, b: number) => number,
): readonly number[] {
  return a.map((value, round) => combine(value, b[round]!))
}
