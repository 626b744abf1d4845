import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { retryAfterOf } from './retry-after.js'

function response(headers: Record<string, string>): Response {
  return new Response(null, { status: 503, headers })
}

describe('retryAfterOf', () => {
  beforeEach(() => {
    vi.useFakeTimers({ now: Date.UTC(2026, 0, 1, 12, 0, 0), toFake: ['Date'] })
  })

  afterEach(() => {
    vi.useRealTimers()
  })

  it.each([
    ['seconds', { 'retry-after': '120' }, 120_000],
    ['a fraction of seconds', { 'retry-after': '1.5' }, 1_500],
    ['zero', { 'retry-after': '0' }, 0],
    ['an HTTP date', { 'retry-after': 'Thu, 01 Jan 2026 12:00:30 GMT' }, 30_000],
    ['the date form of RFC 850', { 'retry-after': 'Thursday, 01-Jan-26 12:00:30 GMT' }, 30_000],
    ['the date form of asctime, which is in GMT', { 'retry-after': 'Thu Jan  1 12:00:30 2026' }, 30_000],
    ['a date in the past', { 'retry-after': 'Thu, 01 Jan 2026 11:00:00 GMT' }, 0],
    ['milliseconds', { 'retry-after-ms': '250' }, 250],
    ['milliseconds before seconds', { 'retry-after-ms': '250', 'retry-after': '9' }, 250],
    ['seconds when the milliseconds cannot be read', { 'retry-after-ms': 'soon', 'retry-after': '9' }, 9_000],
  ])('reads %s', (_, headers, expected) => {
    expect(retryAfterOf(response(headers as Record<string, string>))).toBe(expected)
  })

  it.each(['-5', 'soon', '', '1e3', '0x10', 'NaN', '5 seconds', 'Monday'])('takes %j for no hint', (value) => {
    expect(retryAfterOf(response({ 'retry-after': value }))).toBeUndefined()
  })

  it('takes no header for no hint', () => {
    expect(retryAfterOf(response({}))).toBeUndefined()
  })

  it('reads headers on their own', () => {
    expect(retryAfterOf(new Headers({ 'retry-after': '3' }))).toBe(3_000)
  })
})
