import fc from 'fast-check'
import { expect, test } from 'vitest'
import { headerText } from './header-text.js'

test('is what the bytes say, whatever was read at the place before', () => {
  const item = fc.oneof(
    fc.constantFrom('date', 'Date', 'content-type', 'application/json', '').map((text) => Buffer.from(text)),
    fc.uint8Array({ maxLength: 40 }).map((bytes) => Buffer.from(bytes)),
  )

  fc.assert(
    fc.property(fc.array(fc.tuple(item, fc.nat({ max: 70 })), { maxLength: 200 }), (heads) => {
      for (const [bytes, place] of heads) expect(headerText(bytes, place)).toBe(bytes.toString('latin1'))
    }),
  )
})

test('is not confused by bytes that change after they were read', () => {
  const chunk = Buffer.from('etag: "one"')
  for (let turn = 0; turn < 20; turn += 1) expect(headerText(chunk.subarray(6), 3)).toBe('"one"')
  chunk.write('"two"', 6)

  expect(headerText(chunk.subarray(6), 3)).toBe('"two"')
})

test('takes whatever else a dispatcher gives for text', () => {
  expect(headerText('x-a', 0)).toBe('x-a')
  expect(headerText(7, 0)).toBe('7')
})
