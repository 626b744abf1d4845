import { createServer } from 'node:net'
import { expect, it } from 'vitest'
import { isNetworkError } from './network-error.js'

it.each([
  ['fetch failed', undefined],
  ['Failed to fetch', undefined],
  ['terminated', undefined],
  ['NetworkError when attempting to fetch resource.', undefined],
  ['Load failed', undefined],
  ['error reading a body from connection', undefined],
  ['fetch failed', { code: 'ECONNRESET' }],
  ['fetch failed', { code: 'EAI_AGAIN' }],
  ['fetch failed', { code: 'UND_ERR_SOCKET' }],
])('knows %j with the cause %o for the network', (message, cause) => {
  expect(isNetworkError(new TypeError(message, { cause }))).toBe(true)
})

it.each([
  ["Cannot read properties of undefined (reading 'id')", undefined],
  ['Failed to parse URL from nowhere', { code: 'ERR_INVALID_URL' }],
  ['fetch failed', { code: 'ERR_INVALID_ARG_TYPE' }],
  ['fetch failed', { code: 'UND_ERR_INVALID_ARG' }],
])('knows %j with the cause %o for a mistake', (message, cause) => {
  expect(isNetworkError(new TypeError(message, { cause }))).toBe(false)
})

it('looks at the code of the error itself where there is no cause', () => {
  const refused = Object.assign(new TypeError('Unable to connect'), { code: 'ECONNREFUSED' })
  const mistaken = Object.assign(new TypeError('fetch failed'), { code: 'ERR_INVALID_ARG_TYPE' })

  expect(isNetworkError(refused)).toBe(true)
  expect(isNetworkError(mistaken)).toBe(false)
})

it('knows what this Node says of a refused connection', async () => {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as { port: number }
  await new Promise((resolve) => server.close(resolve))

  const error = await fetch(`http://127.0.0.1:${port}`).catch((reason: unknown) => reason)

  expect(error).toBeInstanceOf(TypeError)
  expect(isNetworkError(error as TypeError)).toBe(true)
})

it('knows what this Node says of a URL that is none', async () => {
  const error = await fetch('nowhere').catch((reason: unknown) => reason)

  expect(isNetworkError(error as TypeError)).toBe(false)
})
