import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { parseTarget } from './target.js'

describe('parseTarget', () => {
  test.each([
    ['/', '/', ''],
    ['/users/7?a=//b&c=%2f', '/users/7', '?a=//b&c=%2f'],
    ['/a-b_c~d.e/', '/a-b_c~d.e/', ''],
    ['/%61dmin', '/admin', ''],
    ['/caf%c3%a9', '/caf%C3%A9', ''],
    ['/a%3ab', '/a%3Ab', ''],
    ['/a;b=1/c..;d', '/a;b=1/c..;d', ''],
    ['/.well-known/jwks.json', '/.well-known/jwks.json', ''],
  ])('%s is the path %s and the query %s', (target, path, query) => {
    expect(parseTarget(target)).toEqual({ path, query })
  })

  test.each([
    'http://evil.example/',
    '*',
    '',
    'users',
    '//evil.example/',
    '/a//b',
    '/a\\b',
    '/a/../b',
    '/a/..',
    '/./a',
    '/a/..;/b',
    '/a/..;x=1',
    '/a/.;/b',
    '/a/;/b',
    '/;x',
    '/a/..%3b/b',
    '/a/%3B',
    '/%2e%2e/a',
    '/a%2fb',
    '/a%5Cb',
    '/a%00',
    '/a%0d%0aset-cookie',
    '/a%7f',
    '/a%zz',
    '/a%',
    '/a%ff',
    '/a#b',
    '/a?b#c',
    '/a b',
    '/café',
    '/a?é',
  ])('%s is refused', (target) => {
    expect(parseTarget(target)).toMatchObject({ status: 400 })
  })

  test('gives one spelling to every path, and that spelling twice is itself', () => {
    fc.assert(
      fc.property(fc.webPath(), (path) => {
        const once = parseTarget(path)
        if ('status' in once) return

        expect(parseTarget(once.path)).toEqual({ path: once.path, query: '' })
      }),
    )
    // Making paths that the web knows takes its time on a busy machine.
  }, 30_000)

  test('never lets through what decodes to a dot segment, a slash or a control character', () => {
    const piece = fc.constantFrom('/', '.', '%2e', '%2E', '%2f', '%5c', '%25', '2e', 'a', '%61', '%00', '\\', '%')
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 8 }), (pieces) => {
        const target = parseTarget(`/${pieces.join('')}`)
        if ('status' in target) return

        for (const segment of target.path.slice(1).split('/')) {
          const meaning = decodeURIComponent(segment)
          expect(meaning).not.toMatch(/^\.\.?$|[/\\\p{Cc}]/u)
        }
        expect(target.path).not.toContain('//')
      }),
      { numRuns: 2_000 },
    )
  })
})
