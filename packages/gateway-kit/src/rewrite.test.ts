import { describe, expect, test } from 'vitest'
import { capture, parsePattern } from './pattern.js'
import { compileRewrite, type Rewrite } from './rewrite.js'

function rewritten(pattern: string, rewrite: Rewrite, path: string): string {
  const segments = parsePattern(pattern)

  return compileRewrite(rewrite, segments)(path, () => capture(segments, path))
}

describe('compileRewrite', () => {
  test.each([
    ['/api/users/:id', '/users/:id', '/api/users/7', '/users/7'],
    ['/api/:a/:b', '/:b/x/:a', '/api/1/2', '/2/x/1'],
    ['/api/**', '/**', '/api/a/b', '/a/b'],
    ['/api/**', '/**', '/api', '/'],
    ['/api/**', '/**', '/api/', '/'],
    ['/api/**', '/v2/**', '/api/a/', '/v2/a/'],
    ['/api/**', '/v2/**', '/api', '/v2'],
    ['/files/*/*', '/*/of/*', '/files/a/b', '/a/of/b'],
    ['/a', '/b/', '/a', '/b/'],
    ['/:id', '/u/:id', '/caf%C3%A9', '/u/caf%C3%A9'],
  ])('%s to %s makes of %s %s', (pattern, rewrite, path, result) => {
    expect(rewritten(pattern, rewrite, path)).toBe(result)
  })

  test('a function gets the path and gives the path', () => {
    expect(rewritten('/api/**', (path) => path.slice(4), '/api/users')).toBe('/users')
  })

  test.each(['users', '//evil.example', '/a/../b', '', undefined])('a function may not give %s', (result) => {
    expect(() => rewritten('/**', () => result as string, '/a')).toThrow(TypeError)
  })

  test.each([
    ['/users/:id', '/:name', "uses ':name'"],
    ['/users/:id', '/**', "more '**'"],
    ['/users/*', '/*/*', "more '*'"],
    ['/users/*', 'users', "begins with '/'"],
  ])('%s cannot become %s', (pattern, rewrite, message) => {
    expect(() => compileRewrite(rewrite, parsePattern(pattern))).toThrow(message)
  })
})

describe('parsePattern', () => {
  test.each([
    ['users', "begins with '/'"],
    ['/a//b', 'empty segments'],
    ['/**/a', 'must come last'],
    ['/a*', 'mixes a wildcard'],
    ['/:1', 'no name'],
    ['/:', 'no name'],
    ['/:a/:a', 'stands twice'],
    ['/a/..', 'dot segments'],
    ['/a?b', 'without query'],
  ])('refuses %s', (pattern, message) => {
    expect(() => parsePattern(pattern)).toThrow(message)
  })
})
