/** Two different elements at random, without a loop; the same one twice when there is no other. */
export function samplePair<T>(items: readonly T[], random: () => number): readonly [T, T] {
  const count = items.length
  if (count === 1) return [items[0]!, items[0]!]

  const first = Math.floor(random() * count)
  const second = Math.floor(random() * (count - 1))
  return [items[first]!, items[second >= first ? second + 1 : second]!] // random() is below 1
}
