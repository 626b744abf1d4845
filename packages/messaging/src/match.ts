import type { EventName } from './catalogue.js'

/** The words of a routing key: 'order.created' is ['order', 'created']. */
export type Words<T extends string> = T extends `${infer H}.${infer R}` ? [H, ...Words<R>] : [T]

/** Whether the words N match the words of the pattern P: `*` is one word, `#` any number of them. */
export type Matches<N extends readonly string[], P extends readonly string[]> = P extends readonly [
  infer PH,
  ...infer PR extends readonly string[],
]
  ? PH extends '#'
    ? Matches<N, PR> extends true
      ? true
      : N extends readonly [string, ...infer NR extends readonly string[]]
        ? Matches<NR, P>
        : false
    : N extends readonly [infer NH, ...infer NR extends readonly string[]]
      ? PH extends '*'
        ? Matches<NR, PR>
        : PH extends NH
          ? Matches<NR, PR>
          : false
      : false
  : N extends readonly []
    ? true
    : false

/** Those of the names N that a pattern P matches. */
export type Match<N extends string, P extends string> = N extends unknown
  ? P extends unknown
    ? Matches<Words<N>, Words<P>> extends true
      ? N
      : never
    : never
  : never

/** The events of S that the pattern P matches; all of them when P is not known until the program runs. */
export type Matching<S, P extends string> = string extends P
  ? EventName<S>
  : P extends EventName<S>
    ? P
    : Match<EventName<S>, P>

/** P itself, or, for a pattern that no event matches, a type whose text says so. */
export type Pattern<S, P extends string> = P extends unknown
  ? [Matching<S, P>] extends [never]
    ? `no event matches '${P}'`
    : P
  : never

/** Matches routing keys as an AMQP topic exchange does: `*` is one word, `#` any number of them, also none. */
export function topicMatcher(pattern: string): (key: string) => boolean {
  if (!pattern.includes('*') && !pattern.includes('#')) return (key) => key === pattern

  const words = pattern.split('.')
  return (key) => matchesWords(key.split('.'), words)
}

/**
 * The wildcard match that remembers only the last `#`: when a word does not fit, that `#` takes one word more. Unlike
 * trying every split it never takes longer than words × pattern words.
 */
function matchesWords(key: readonly string[], pattern: readonly string[]): boolean {
  let k = 0
  let p = 0
  let hash = -1
  let resume = 0

  while (k < key.length) {
    if (pattern[p] === '#') {
      hash = p
      resume = k
      p += 1
    } else if (p < pattern.length && (pattern[p] === '*' || pattern[p] === key[k])) {
      k += 1
      p += 1
    } else if (hash !== -1) {
      resume += 1
      k = resume
      p = hash + 1
    } else {
      return false
    }
  }
  while (pattern[p] === '#') p += 1

  return p === pattern.length
}
