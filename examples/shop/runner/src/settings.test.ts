import { expect, test } from 'vitest'
import { readSettings } from './settings.js'

test('uses the defaults of the README when nothing is set', () => {
  expect(readSettings({})).toMatchObject({ port: 8080, rateLimit: 100, signInLimit: 10, tokenTtl: 3_600_000 })
})

test('takes an empty variable for one that is not set', () => {
  expect(readSettings({ PORT: '', DATA_DIR: '' }).port).toBe(8080)
})

test.each(['http', '-1', '65536', '8080.5', 'NaN', '1e9'])('refuses PORT=%s and says what it must be', (port) => {
  expect(() => readSettings({ PORT: port })).toThrow(`PORT is '${port}'; it must be a whole number from 0 to 65535`)
})
