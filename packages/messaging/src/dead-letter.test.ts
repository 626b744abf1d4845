import { expect, test } from 'vitest'
import { withoutForeignHeaders, withoutLargeHeaders } from './dead-letter.js'
import type { WireMessage } from './transport.js'

/** Deeper than the stack, in 6 bytes a level. */
const DEPTH = 20_000

function nested(wrap: (inner: unknown) => unknown): unknown {
  let value: unknown = null
  for (let level = 0; level < DEPTH; level += 1) value = wrap(value)

  return value
}

function letterWith(headers: WireMessage['headers']): WireMessage {
  return { type: 'order.created', body: Buffer.from('{}'), headers }
}

test.each([
  ['tables', (inner: unknown) => ({ '': inner })],
  ['arrays', (inner: unknown) => [inner]],
])('leaves out a header of %s that are nested deeper than the stack reaches', (_, wrap) => {
  const letter = letterWith({ deep: nested(wrap), 'msx-causation-id': nested(wrap), tenant: 'acme' })

  expect(withoutLargeHeaders(letter).headers).toEqual({ tenant: 'acme' })
  expect(withoutForeignHeaders(letter).headers['msx-causation-id']).toBeUndefined()
})

test('leaves out what has more than 1 KiB, whatever it is made of, and keeps the rest', () => {
  const small = {
    text: 'x'.repeat(1_000),
    bytes: Buffer.alloc(1_000),
    list: [1, 'two', null],
    table: { a: { b: true } },
  }
  const large = {
    longText: 'ä'.repeat(600),
    longBytes: Buffer.alloc(1_100),
    longList: new Array(300).fill(1),
    longNames: {
      ['n'.repeat(200)]: 1,
      ['o'.repeat(250)]: { ['p'.repeat(255)]: 1, ['q'.repeat(255)]: { ['r'.repeat(255)]: 1 } },
    },
  }

  expect(withoutLargeHeaders(letterWith({ ...small, ...large })).headers).toEqual(small)
})
