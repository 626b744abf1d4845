import type { Message } from 'amqplib'
import { describe, expect, test } from 'vitest'
import { readDeadLetter } from '../dead-letter.js'
import { namesOf } from './names.js'
import { fromAmqp, toProperties } from './wire.js'

const names = namesOf('ev')
const time = { '!': 'timestamp', value: 1_700_000_000 }

function raw(routingKey: string, properties: Record<string, unknown>): Message {
  return {
    content: Buffer.from('{}'),
    fields: { deliveryTag: 1, redelivered: false, exchange: 'ev', routingKey },
    properties: properties as never,
  }
}

function death(queue: string, reason: string, key: string): Record<string, unknown> {
  return { queue, reason, count: 1, exchange: 'ev', time, 'routing-keys': [key] }
}

describe('what is written', () => {
  test('leaves out what the broker wrote, or would act on', () => {
    const headers = {
      'x-death': [],
      'x-first-death-queue': 'q',
      'x-delivery-count': 2,
      CC: ['a'],
      BCC: ['b'],
      'x-own': 1,
    }

    expect(toProperties({ type: 't', body: Buffer.alloc(0), headers }, false, true)).toEqual({
      headers: { 'x-own': 1 },
      persistent: true,
      mandatory: true,
    })
  })

  test('carries the type in a header where the routing key is a queue', () => {
    const message = { type: 'order.created', body: Buffer.alloc(0), headers: {} }
    const { headers } = toProperties(message, true, true)

    expect(fromAmqp(raw('mails', { headers }), names)).toMatchObject({ type: 'order.created', headers: {} })
  })

  test('counts seconds and whole milliseconds', () => {
    const message = { type: 't', body: Buffer.alloc(0), headers: {}, timestamp: 1_700_000_000_999, ttl: 0.5 }

    expect(toProperties(message, false, false)).toMatchObject({ timestamp: 1_700_000_000, expiration: '1' })
  })
})

describe('what is read', () => {
  test('takes a timestamp in milliseconds for what it is', () => {
    expect(fromAmqp(raw('t', { timestamp: 1_700_000_000 }), names).timestamp).toBe(1_700_000_000_000)
    expect(fromAmqp(raw('t', { timestamp: 1_700_000_000_123 }), names).timestamp).toBe(1_700_000_000_123)
  })

  test('has a time also when its publisher gave none that can be', () => {
    const headers = { cloudEvents_time: 'soon', 'msx-failed-at': 'then', 'msx-first-failed-at': 'before' }
    const wire = fromAmqp(raw('t', { timestamp: Number.MAX_SAFE_INTEGER, headers }), names)
    const { time, failedAt, firstFailedAt } = readDeadLetter(wire)

    expect(time.getTime()).toBeGreaterThan(0)
    expect([failedAt, firstFailedAt]).toEqual([undefined, undefined])
  })

  test('of a message after its wait is the message', () => {
    const headers = { 'x-death': [death('ev.retry.1000', 'expired', 'mails')], 'msx-type': 'order.created' }

    expect(fromAmqp(raw('mails', { headers }), names)).toMatchObject({ type: 'order.created', headers: {} })
  })

  test.each([
    ['expired', 'MSX_EXPIRED'],
    ['rejected', 'MSX_REJECTED'],
    ['delivery_limit', 'MSX_DELIVERY_LIMIT'],
  ])('of a dead letter of the broker (%s) has its story, and its first routing key', (reason, code) => {
    const headers = { 'x-death': [death('mails', reason, 'order.created')], 'x-delivery-count': 3 }
    const message = fromAmqp(raw('mails.dlq', { headers }), names)

    expect(message.type).toBe('order.created')
    expect(message.headers).toMatchObject({
      'msx-group': 'mails',
      'msx-error-code': code,
      'msx-failed-at': '2023-11-14T22:13:20.000Z',
    })
  })

  test.each([
    ['text', 'abc'],
    ['a table', { queue: 'q' }],
    ['nobody', [null]],
    ['a number', [1]],
    ['an empty death', [{}]],
    ['a death without a time', [{ queue: 'q', reason: 'expired' }]],
    ['a reason that every object has', [{ ...death('q', 'constructor', 'order.created') }]],
    ['a time that is none', [{ ...death('q', 'expired', 'order.created'), time: { value: 2 ** 53 } }]],
    ['a time that is a table', [{ ...death('q', 'expired', 'order.created'), time: { value: { valueOf: 1 } } }]],
    ['keys that are none', [{ ...death('q', 'expired', 'order.created'), 'routing-keys': [{}] }]],
  ])('survives a forged story of deaths: %s', (_, forged) => {
    const message = fromAmqp(raw('order.created', { headers: { 'x-death': forged, mine: 1 } }), names)

    expect(message.type).toBe('order.created')
    expect(message.headers).toMatchObject({ mine: 1 })
  })

  test('takes an empty text for nothing said', () => {
    const { id, correlationId, replyTo, contentType } = fromAmqp(
      raw('t', { messageId: '', correlationId: '', replyTo: '', contentType: '' }),
      names,
    )

    expect([id, correlationId, replyTo, contentType]).toEqual([undefined, undefined, undefined, undefined])
  })

  test('keeps the story that a consumer wrote', () => {
    const headers = { 'msx-error-code': 'MSX_HANDLER_FAILED', 'x-death': [death('mails', 'rejected', 'order.created')] }

    expect(fromAmqp(raw('mails.dlq', { headers }), names).headers['msx-error-code']).toBe('MSX_HANDLER_FAILED')
  })
})
