import { expect, test } from 'vitest'
import { HeaderTable } from './header-table.js'

/** What amqplib would write. */
function written(table: Record<string, unknown>): Record<string, unknown> {
  const headers: Record<string, unknown> = {}
  for (const name in Object.create(table)) if (table[name] !== undefined) headers[name] = table[name]

  return headers
}

test('has the headers of the message filled in last, and none of those before', () => {
  const table = new HeaderTable()

  expect(written(table.fill({ a: 1, b: 2 }))).toEqual({ a: 1, b: 2 })
  expect(written(table.fill({ b: 3, c: 0 }))).toEqual({ b: 3, c: 0 })
  table.set('msx-type', 't')
  expect(written(table.fill({}))).toEqual({})
})

test('is one object for all messages, as long as there are not too many names', () => {
  const table = new HeaderTable()

  expect(table.fill({ a: 1 })).toBe(table.fill({ b: 2 }))
})

test('does not grow with the names of all the messages there ever were', () => {
  const table = new HeaderTable()
  for (let message = 0; message < 1_000; message += 1) table.fill({ [`name-${message}`]: message })

  const last = table.fill({ a: 1 })

  expect(Object.keys(last).length).toBeLessThan(64)
  expect(written(last)).toEqual({ a: 1 })
})

test('holds all of a message with many headers, and a header of any name', () => {
  const many = Object.fromEntries(Array.from({ length: 100 }, (_, index) => [`name-${index}`, index]))
  const odd = JSON.parse('{ "__proto__": "x", "constructor": "y", "x-own": 1, "Copy": 2, "C": 3, "B": 4 }')

  expect(written(new HeaderTable().fill(many))).toEqual(many)
  expect(Object.keys(new HeaderTable().fill(odd))).toEqual(Object.keys(odd))
})

test('leaves out what the broker wrote, or would act on', () => {
  const own = { 'x-death': [], 'x-first-death-queue': 'q', 'x-last-death-reason': 'r', 'x-delivery-count': 2 }

  expect(written(new HeaderTable().fill({ ...own, 'x-acquired-count': 1, CC: ['a'], BCC: ['b'] }))).toEqual({})
})
