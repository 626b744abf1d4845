import { readFile } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { documentedCodes, runFirstExample } from '../../../tooling/readme.js'
import {
  AuthError,
  errorCodes,
  GatewayConfigError,
  isAuthError,
  isGatewayConfigError,
  isProxyError,
  ProxyError,
} from './errors.js'

const readme = new URL('../README.md', import.meta.url)

test('the first example prints what the README says', async () => {
  const expected = /It prints\n\n```\n([\s\S]*?)```/.exec(await readFile(readme, 'utf8'))![1]

  expect(await runFirstExample(readme)).toBe(expected)
})

test('the table of errors has every code, and no other', async () => {
  expect(documentedCodes(await readFile(readme, 'utf8'))).toEqual([...errorCodes].sort())
})

test('guards know their own, also from another copy of the package', () => {
  const copy = Object.defineProperty(new Error('copy'), Symbol.for('@msx/gateway-kit.ProxyError'), { value: true })

  expect(isProxyError(new ProxyError('reset', 'request'))).toBe(true)
  expect(isProxyError(copy)).toBe(true)
  expect(isGatewayConfigError(new GatewayConfigError([]))).toBe(true)
  expect(isAuthError(new AuthError('MSX_AUTH_INVALID_TOKEN', 'no'))).toBe(true)
  for (const guard of [isProxyError, isGatewayConfigError, isAuthError]) {
    expect([undefined, null, 'x', new Error('x')].some(guard)).toBe(false)
  }
})
