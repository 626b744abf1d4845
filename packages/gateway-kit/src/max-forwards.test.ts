import { expect, onTestFinished, test } from 'vitest'
import { createGateway } from './gateway.js'
import { echo, raw, serve, startUpstream } from './internal/test-servers.js'
import { proxy } from './proxy.js'

async function start(): Promise<{ port: number; asked: (string | undefined)[] }> {
  const asked: (string | undefined)[] = []
  const { url: upstream } = await startUpstream((req, res) => {
    asked.push(req.headers['max-forwards'] as string | undefined)
    void echo(req, res)
  })
  const gateway = createGateway(
    {
      routes: [
        { path: '/', upstream, auth: false },
        { path: '/orders', upstream, methods: ['GET', 'OPTIONS'], auth: false },
        { path: '/orders', upstream, methods: ['POST'], auth: 'token', id: 'order' },
        { path: '/private', upstream, auth: 'token' },
      ],
    },
    { verifiers: { token: () => ({ sub: 'u1' }) } },
  )
  onTestFinished(() => gateway.close({ timeout: 0 }))
  return { port: (await serve(gateway.handler)).port, asked }
}

const ask = (port: number, line: string, left: string | undefined): Promise<string> =>
  raw(
    port,
    `${line} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n${left === undefined ? '' : `Max-Forwards: ${left}\r\n`}\r\n`,
  )

test.each([
  ['/', 'DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT'],
  ['/orders', 'GET, HEAD, OPTIONS, POST'],
])('OPTIONS %s that may go no further is answered by the gateway: %s', async (path, allow) => {
  const { port, asked } = await start()

  const answer = await ask(port, `OPTIONS ${path}`, '0')

  expect(answer).toMatch(/^HTTP\/1\.1 204 No Content\r\n/)
  expect(answer).toMatch(new RegExp(`\r\nallow: ${allow}\r\n`, 'i'))
  expect(answer).toMatch(/\r\nx-request-id: /i)
  expect(asked).toEqual([])
})

test('it is answered to whom its route would have let through', async () => {
  const { port, asked } = await start()

  expect(await ask(port, 'OPTIONS /private', '0')).toMatch(/^HTTP\/1\.1 401 /)
  expect(asked).toEqual([])
})

test.each([
  ['OPTIONS /', '1', '0'],
  ['OPTIONS /', '007', '6'],
  ['OPTIONS /', '9'.repeat(30), '9007199254740990'],
  ['OPTIONS /', 'many', 'many'],
  ['OPTIONS /', undefined, undefined],
  // It means nothing with another method.
  ['GET /', '0', '0'],
])('%s that may be forwarded %s times is forwarded with %s', async (line, left, told) => {
  const { port, asked } = await start()

  expect(await ask(port, line, left)).toMatch(/^HTTP\/1\.1 200 /)
  expect(asked).toEqual([told])
})

test('proxy() alone does the same', async () => {
  const upstream = await startUpstream(echo)
  const { port } = await serve(proxy(upstream.url))

  expect(await ask(port, 'OPTIONS /', '0')).toMatch(/^HTTP\/1\.1 204 No Content\r\nallow: DELETE, /i)
  expect(await ask(port, 'OPTIONS /', '2')).toContain('"max-forwards":"1"')
})
