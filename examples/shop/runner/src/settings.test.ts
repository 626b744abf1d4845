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

test.each([
  ['', false],
  ['1', { hops: 1 }],
  ['10.0.0.0/8, ::1', ['10.0.0.0/8', '::1']],
])('believes the proxies of TRUSTED_PROXIES=%s', (text, trust) => {
  expect(readSettings({ TRUSTED_PROXIES: text }).trust).toEqual(trust)
})

test.each(['0', '10', 'true', 'ingress', '10.0.0.0/33', '10.0.0.0/8/8', '10.0.0.0/8,'])(
  'refuses TRUSTED_PROXIES=%s',
  (text) => {
    expect(() => readSettings({ TRUSTED_PROXIES: text })).toThrow(`TRUSTED_PROXIES is '${text}'; it must be networks`)
  },
)

test('refuses a level of logging that there is not', () => {
  expect(() => readSettings({ LOG_LEVEL: 'verbose' })).toThrow(
    "LOG_LEVEL is 'verbose'; it must be one of fatal, error,",
  )
  expect(readSettings({ LOG_LEVEL: 'info' })).toEqual(readSettings({ LOG_LEVEL: '' }))
})

test.each([
  [{ OPS_TOKEN: 'a-token-of-some-length' }, { by: 'token', token: 'a-token-of-some-length' }],
  [
    { OPS_TOKEN: 'a-token-of-some-length', NODE_ENV: 'production' },
    { by: 'token', token: 'a-token-of-some-length' },
  ],
  [{}, { by: 'link' }],
  [{ OPS_TOKEN: '' }, { by: 'link' }],
  [{ NODE_ENV: 'production' }, { by: 'nobody' }],
])('with %j the operations are for whoever comes %j', (env, operations) => {
  expect(readSettings(env).operations).toEqual(operations)
})

test('refuses a token that could be guessed, without repeating it', () => {
  expect(() => readSettings({ OPS_TOKEN: 'guess-me' })).toThrow(/^OPS_TOKEN must have at least 16(?!.*guess)/)
})

test('refuses an address for traces that is none', () => {
  expect(() => readSettings({ OTEL_EXPORTER_OTLP_ENDPOINT: 'collector:4318' })).toThrow('OTEL_EXPORTER_OTLP_ENDPOINT')
})
