import { expect, test } from 'vitest'
import { MessagingError, type MessagingErrorCode } from '../errors.js'
import { judgeRow } from './verdict.js'

const error = (code: MessagingErrorCode, retryable: boolean): MessagingError =>
  new MessagingError(code, 'x', { retryable })
const backoff = (retry: number): number => 100 * 2 ** retry

test.each<[string, unknown, number, object]>([
  ['the broker is away', error('MSX_CONNECTION_LOST', true), 1, { what: 'wait' }],
  ['the broker is silent', error('MSX_CONFIRM_TIMEOUT', true), 9, { what: 'wait' }],
  ['the bus is closed', error('MSX_CLOSED', false), 1, { what: 'wait' }],
  ['a right is missing', error('MSX_ACCESS_REFUSED', false), 1, { what: 'wait' }],
  ['something nobody knows', new Error('?'), 9, { what: 'wait' }],
  ['nobody listens, for the first time', error('MSX_UNROUTABLE', true), 1, { what: 'retry', delay: 100 }],
  ['nobody listens, for the second time', error('MSX_UNROUTABLE', true), 2, { what: 'retry', delay: 200 }],
  ['nobody listens, too often', error('MSX_UNROUTABLE', true), 3, { what: 'park' }],
  ['it does not fit', error('MSX_TOO_LARGE', false), 1, { what: 'park' }],
])('%s', (_, failure, failed, verdict) => {
  expect(judgeRow(failure, failed, 3, backoff)).toEqual(verdict)
})
