import { describe, expect, it } from 'vitest'
import { compose } from './compose.js'

const order = { orderId: 'o-1', userId: 'ada', timestamp: '2026-11-22T12:00:00.000Z' }
const amount = { total: 64_950, currency: 'EUR' }

describe('compose', () => {
  it('thanks for a new order', () => {
    const notice = compose({ type: 'order.created', data: { ...order, ...amount, items: [] } })

    expect(notice).toEqual({
      subject: 'We have your order',
      text: 'Thank you. We have order o-1 over €649.50 and are working on it.',
    })
  })

  it('says when the order is paid', () => {
    expect(compose({ type: 'order.confirmed', data: { ...order, ...amount } }).text).toContain('€649.50 is paid')
  })

  it('says why an order was cancelled', () => {
    const notice = compose({ type: 'order.cancelled', data: { ...order, reason: 'the card was declined' } })

    expect(notice.text).toContain('(the card was declined)')
  })
})
