import fc from 'fast-check'
import { expect, test } from 'vitest'
import { topicMatcher } from './match.js'

/** The definition, word by word: `#` is no word, or one word and then `#` again. */
function matchesByDefinition(key: readonly string[], pattern: readonly string[]): boolean {
  const [first, ...rest] = pattern
  if (first === undefined) return key.length === 0
  if (first === '#') {
    return matchesByDefinition(key, rest) || (key.length > 0 && matchesByDefinition(key.slice(1), pattern))
  }
  return key.length > 0 && (first === '*' || first === key[0]) && matchesByDefinition(key.slice(1), rest)
}

const words = (...choices: string[]) => fc.array(fc.constantFrom(...choices), { minLength: 1, maxLength: 7 })

test('matches exactly what the definition of a topic exchange does', () => {
  fc.assert(
    fc.property(words('a', 'b', 'c'), words('a', 'b', '*', '#'), (key, pattern) => {
      expect(topicMatcher(pattern.join('.'))(key.join('.'))).toBe(matchesByDefinition(key, pattern))
    }),
    { numRuns: 2_000 },
  )
})

test('takes no exponential time for many hashes', () => {
  const matches = topicMatcher(`${'#.a.'.repeat(30)}b`)

  expect(matches('a.'.repeat(120).slice(0, -1))).toBe(false)
})
