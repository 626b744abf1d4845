import { expect, test } from 'vitest'
import { toFetch } from './fetch.js'
import { startUpstream } from './internal/test-servers.js'
import { proxy } from './proxy.js'

test('a status that no Response can have is a failure of the upstream', async () => {
  const upstream = await startUpstream((_req, res) => res.writeHead(999, { 'x-a': '1' }).end('go away'))

  const response = await toFetch(proxy(upstream.url))(new Request('http://a/'))

  expect([response.status, response.headers.get('x-a'), await response.text()]).toEqual([502, '1', 'go away'])
})

test('a request that was given up already is not made', async () => {
  let asked = 0
  const signal = AbortSignal.abort(new Error('given up'))

  await expect(
    toFetch((_req, res) => void res.end(String(++asked)))(new Request('http://a/', { signal })),
  ).rejects.toThrow('given up')
  expect(asked).toBe(0)
})
