import { describe, expect, test } from 'vitest'
import { type Entry, wrongWithOrder, wrongWithStock } from './books.js'

const confirmed: Entry = {
  id: 'o1',
  status: 'CONFIRMED',
  total: 500,
  shipped: true,
  payment: 'CAPTURED',
  authorised: 500,
  captured: 500,
  voided: 0,
  reservation: 'committed',
}
const cancelled: Entry = {
  ...confirmed,
  status: 'CANCELLED',
  shipped: false,
  payment: 'VOIDED',
  captured: 0,
  voided: 500,
  reservation: 'released',
}

describe('the auditor', () => {
  test.each([
    ['a confirmed order, paid and shipped', confirmed],
    ['a cancelled order, voided and released', cancelled],
    [
      'an order cancelled before anything happened',
      { ...cancelled, payment: null, authorised: 0, voided: 0, reservation: null },
    ],
  ])('finds nothing wrong with %s', (_what, entry) => {
    expect(wrongWithOrder(entry)).toEqual([])
  })

  test.each<[string, Entry]>([
    ['an order that never ended', { ...confirmed, status: 'PENDING' }],
    ['a confirmed order charged twice', { ...confirmed, captured: 1_000 }],
    ['a confirmed order that was not charged', { ...confirmed, payment: 'AUTHORISED', captured: 0 }],
    ['a confirmed order that was not shipped', { ...confirmed, shipped: false }],
    ['a confirmed order whose stock was not taken', { ...confirmed, reservation: 'reserved' }],
    ['a cancelled order that was charged', { ...cancelled, captured: 500 }],
    ['a cancelled order whose money is still held', { ...cancelled, voided: 0 }],
    ['a cancelled order whose stock is still held', { ...cancelled, reservation: 'reserved' }],
    ['a cancelled order that was shipped', { ...cancelled, shipped: true }],
  ])('sees %s', (_what, entry) => {
    expect(wrongWithOrder(entry)).not.toEqual([])
  })

  test.each([
    ['an item that vanished', { id: 'p', onHand: 6, reserved: 0, taken: 3, held: 0, delivered: 0 }],
    ['an item sold twice', { id: 'p', onHand: 8, reserved: 0, taken: 3, held: 0, delivered: 0 }],
    ['a delivery that was counted twice', { id: 'p', onHand: 17, reserved: 0, taken: 3, held: 0, delivered: 5 }],
    ['an item held by nobody', { id: 'p', onHand: 7, reserved: 1, taken: 3, held: 0, delivered: 0 }],
  ])('sees %s', (_what, row) => {
    expect(wrongWithStock(row, 10)).not.toEqual([])
  })

  test('finds nothing wrong with stock of which some was sold and some delivered', () => {
    expect(wrongWithStock({ id: 'p', onHand: 12, reserved: 0, taken: 3, held: 0, delivered: 5 }, 10)).toEqual([])
  })
})
