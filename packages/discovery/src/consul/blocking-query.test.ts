import { describe, expect, it } from 'vitest'
import { nextIndex, readIndex } from './blocking-query.js'

describe('readIndex', () => {
  it('reads numbers beyond what a double can tell apart', () => {
    expect(readIndex('18446744073709551615')).toBe(18446744073709551615n)
  })

  it.each([undefined, '', '0', '00', '-1', '1.5', '1e3', ' 1', '1, 2', 'abc'])('takes %j for no index', (header) => {
    expect(readIndex(header)).toBeUndefined()
  })
})

describe('nextIndex', () => {
  it.each([
    ['the first one heard', undefined, 7n, 7n],
    ['one that went up', 7n, 9n, 9n],
    ['one that stayed', 7n, 7n, 7n],
    ['none after one that went back', 7n, 6n, undefined],
  ])('is %s', (_, asked, answered, expected) => {
    expect(nextIndex(asked, answered)).toBe(expected)
  })
})
