/*
 * Two different elements at random, of one random number, without a loop or an array:
 *
 *   const draw = random() * items.length
 *   const first = items[firstIndex(draw)]
 *   const second = items[secondIndex(draw, items.length)]
 */

/** The index that is in a draw from 0 up to a count. By `|`, which needs less proof that it is an index than Math.floor. */
export function firstIndex(draw: number): number {
  return draw | 0
}

/** The other index that is in a draw from 0 up to `count`: any but the first with equal chance; the first if it is the only. */
export function secondIndex(draw: number, count: number): number {
  const first = draw | 0
  // What is left of the draw is a random number, too. It has bits enough: 2^53 / count different values.
  const further = 1 + (((draw - first) * (count - 1)) | 0)
  // Around the end, without a branch: it would be guessed wrong every other time.
  const beyond = first + further - count
  return beyond + (count & (beyond >> 31))
}
