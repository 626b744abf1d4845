import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { createRouter, type Routable } from './router.js'

/** What the router should do, written for the reader and not for speed. */
function naive(routes: readonly Routable[], path: string): Routable | undefined {
  const asked = split(path)
  const matching = routes.filter((route) => matches(split(route.path), asked))

  return matching.sort((a, b) => compare(split(a.path), split(b.path), asked.length))[0]
}

const split = (path: string): string[] => path.split('/').filter((segment) => segment !== '')

function matches(pattern: readonly string[], path: readonly string[]): boolean {
  if (pattern.at(-1) === '**')
    return path.length >= pattern.length - 1 && pattern.slice(0, -1).every((one, index) => fits(one, path[index]!))

  return pattern.length === path.length && pattern.every((one, index) => fits(one, path[index]!))
}

const fits = (pattern: string, segment: string): boolean =>
  pattern === '*' || pattern.startsWith(':') || pattern === segment

function compare(a: readonly string[], b: readonly string[], length: number): number {
  for (let index = 0; index <= length; index += 1) {
    const difference = rank(a[index]) - rank(b[index])
    if (difference !== 0) return difference
  }
  return 0
}

/** The end of a pattern is as good as a static segment: it takes nothing that was not named. */
function rank(segment: string | undefined): number {
  if (segment === undefined) return 0
  if (segment === '**') return 3
  if (segment === '*') return 2

  return segment.startsWith(':') ? 1 : 0
}

const word = fc.constantFrom('a', 'b', 'c')
const segment = fc.oneof(
  { weight: 4, arbitrary: word },
  { weight: 2, arbitrary: fc.constant(':id') },
  { weight: 1, arbitrary: fc.constant('*') },
)
const pattern = fc
  .tuple(
    fc.array(segment, { maxLength: 4 }).filter((all) => all.filter((one) => one === ':id').length < 2),
    fc.boolean(),
  )
  .map(([segments, rest]) => `/${[...segments, ...(rest ? ['**'] : [])].join('/')}`)
const table = fc.uniqueArray(pattern, { minLength: 1, maxLength: 12 }).map((paths) => paths.map((path) => ({ path })))
const path = fc.array(word, { maxLength: 5 }).map((segments) => `/${segments.join('/')}`)

describe('createRouter', () => {
  test('finds what a naive search over all routes finds', () => {
    fc.assert(
      fc.property(table, path, (routes, asked) => {
        const match = createRouter<Routable>(routes).match('GET', undefined, asked)

        expect(match.kind === 'found' ? match.route : undefined).toBe(naive(routes, asked))
      }),
      { numRuns: 2_000 },
    )
  })

  test('does not care about the order of the routes, nor about a slash at the end of the path', () => {
    fc.assert(
      fc.property(table, path, fc.infiniteStream(fc.nat()), (routes, asked, random) => {
        const shuffled = routes
          .map((route) => ({ route, at: random.next().value as number }))
          .sort((a, b) => a.at - b.at)
        const one = createRouter<Routable>(routes).match('GET', undefined, asked)
        const other = createRouter<Routable>(shuffled.map(({ route }) => route)).match(
          'GET',
          undefined,
          `${asked}${asked === '/' ? '' : '/'}`,
        )

        expect(other).toEqual(one)
      }),
    )
  })
})
