import { expect, it, vi } from 'vitest'
import { HttpStatusError, isHttpStatusError, isTimeoutError, TimeoutError } from './errors.js'

it('knows the errors of another copy of the package', async () => {
  vi.resetModules()
  const copy = await import('./errors.js')

  expect(copy.TimeoutError).not.toBe(TimeoutError)
  expect(isTimeoutError(new copy.TimeoutError(5))).toBe(true)
  expect(isHttpStatusError(new copy.HttpStatusError(new Response()))).toBe(true)
})

it.each([null, undefined, 'MSX_TIMEOUT', new Error('x'), { code: 'MSX_TIMEOUT' }])(
  'does not take %o for one',
  (error) => {
    expect(isTimeoutError(error)).toBe(false)
    expect(isHttpStatusError(error)).toBe(false)
  },
)

it('says what happened', () => {
  expect(new TimeoutError(5).message).toBe('Call timed out after 5 ms')
  expect(new HttpStatusError(new Response(null, { status: 503 })).message).toBe('The server answered 503')
  expect(String(new TimeoutError(5))).toMatch(/^TimeoutError: /)
})
