import { expect, test } from 'vitest'
import { risingIds, tokens } from './uuid.js'

test('makes version 7 ids of the RFC 4122 variant that begin with the time', () => {
  const id = risingIds(() => 0x0123456789ab)()

  expect(id).toMatch(/^01234567-89ab-7000-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
})

test('rises within a millisecond, over its limit, and when the clock is set back', () => {
  let now = 1_000_000
  const next = risingIds(() => now)

  const ids = Array.from({ length: 10_000 }, next)
  now -= 500
  ids.push(next())

  expect([...ids].sort()).toEqual(ids)
  expect(new Set(ids).size).toBe(ids.length)
})

test('makes tokens that are UUIDs, each another one', () => {
  const [mine, yours] = [tokens(), tokens()]
  const made = [mine(), mine(), yours(), yours()]

  expect(new Set(made).size).toBe(4)
  for (const token of made)
    expect(token).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
})
