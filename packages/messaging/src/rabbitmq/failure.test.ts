import { describe, expect, test } from 'vitest'
import { MessagingError } from '../errors.js'
import { explain, guiltyExchange, isLost, largestMessage } from './failure.js'

/** As amqplib has it, around the text of the broker. */
function operationFailed(code: number, text: string): Error {
  return Object.assign(new Error(`Operation failed: QueueDeclare; ${code} (X) with message "${text}"`), { code })
}

describe('a refusal of the broker', () => {
  test.each([
    [
      '3.10',
      "PRECONDITION_FAILED - inequivalent arg 'x-queue-type' for queue 'mails' in vhost '/': received the value 'quorum' of type 'longstr' but current is none",
      "the value 'quorum' of type 'longstr'",
      'none',
    ],
    [
      '4.0',
      "PRECONDITION_FAILED - inequivalent arg 'x-queue-type' for queue 'mails' in vhost '/': received 'quorum' but current is 'classic'",
      "'quorum'",
      "'classic'",
    ],
  ])('to declare a queue otherwise names queue and option (%s)', (_release, text, wanted, there) => {
    expect(explain(operationFailed(406, text), 'declare')).toMatchObject({
      code: 'MSX_TOPOLOGY_MISMATCH',
      retryable: false,
      details: { queue: 'mails', option: 'x-queue-type', wanted, there },
      message: expect.stringContaining("'mails' is there with other options: x-queue-type is"),
    })
  })

  test.each([
    [404, "NOT_FOUND - no queue 'mails' in vhost '/'", 'MSX_QUEUE_NOT_FOUND', { queue: 'mails' }],
    [404, "NOT_FOUND - no exchange 'ev' in vhost '/'", 'MSX_EXCHANGE_NOT_FOUND', { exchange: 'ev' }],
    [
      405,
      "RESOURCE_LOCKED - cannot obtain exclusive access to locked queue 'r' in vhost '/'",
      'MSX_TOPOLOGY_MISMATCH',
      { queue: 'r' },
    ],
    [
      403,
      "ACCESS_REFUSED - access to exchange 'ev' in vhost '/' refused for user 'u'",
      'MSX_ACCESS_REFUSED',
      undefined,
    ],
  ])('with %i "%s" is %s', (code, text, expected, details) => {
    expect(explain(operationFailed(code, text), 'do it')).toMatchObject({ code: expected, ...(details && { details }) })
  })

  test('of a user is one also where there is no code', () => {
    const error = new Error('Handshake terminated by server: 403 (ACCESS-REFUSED) with message "…"')

    expect(explain(error, 'connect')).toMatchObject({ code: 'MSX_ACCESS_REFUSED' })
  })

  test('names the exchange, or the size, that a channel was closed for', () => {
    expect(guiltyExchange(new Error("NOT_FOUND - no exchange 'ev' in vhost '/'"))).toBe('ev')
    expect(guiltyExchange(new Error("ACCESS_REFUSED - access to exchange 'ev' in vhost '/' refused"))).toBe('ev')
    expect(guiltyExchange(new Error('something else'))).toBeUndefined()
    expect(
      largestMessage(
        new Error('PRECONDITION_FAILED - message size 20000000 is larger than configured max size 16777216'),
      ),
    ).toBe(16_777_216)
    expect(largestMessage(new Error('something else'))).toBeUndefined()
  })
})

describe('a lost connection', () => {
  test.each([
    new Error('Channel ended, no reply will be forthcoming'),
    new Error('Channel closed'),
    new Error('Socket closed abruptly during opening handshake'),
    new Error('Heartbeat timeout'),
    new Error('connect ETIMEDOUT'),
    Object.assign(new Error('read ECONNRESET'), { code: 'ECONNRESET' }),
    Object.assign(new Error(''), { code: 'ECONNREFUSED' }),
    Object.assign(new Error('x'), { name: 'IllegalOperationError' }),
    Object.assign(new Error('CONNECTION_FORCED'), { code: 320 }),
  ])('is what "%s" means', (error) => {
    const explained = explain(error, 'get on')

    expect(isLost(explained)).toBe(true)
    expect(explained).toMatchObject({ retryable: true, cause: error })
  })

  test('is not what a mistake of the program means, which stays as it is', () => {
    for (const error of [new TypeError('x'), Object.assign(new RangeError('x'), { code: 'ERR_OUT_OF_RANGE' })]) {
      expect(explain(error, 'get on')).toBe(error)
    }
    const own = new MessagingError('MSX_CLOSED', 'x', { retryable: false })
    expect(explain(own, 'get on')).toBe(own)
  })
})
