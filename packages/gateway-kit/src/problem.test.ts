import { connect } from 'node:net'
import { describe, expect, test } from 'vitest'
import { raw, serve } from './internal/test-servers.js'
import { problem } from './problem.js'

describe('problem', () => {
  test('writes an RFC 9457 document', async () => {
    const { url } = await serve((_req, res) => problem(res, 404, { detail: 'No such order.', order: 7 }))
    const response = await fetch(url)

    expect(response.status).toBe(404)
    expect(response.headers.get('content-type')).toBe('application/problem+json')
    expect(response.headers.get('cache-control')).toBe('no-store')
    expect(await response.json()).toEqual({
      type: 'about:blank',
      title: 'Not Found',
      status: 404,
      detail: 'No such order.',
      order: 7,
    })
  })

  test('names the request', async () => {
    const { url } = await serve((_req, res) => problem(res.setHeader('x-request-id', 'r1'), 500))

    expect(await (await fetch(url)).json()).toMatchObject({ requestId: 'r1' })
  })

  test('forgets the headers that described another body', async () => {
    const { url } = await serve((_req, res) => {
      res.setHeader('content-encoding', 'gzip')
      res.setHeader('content-length', 1)
      problem(res, 500)
    })

    expect(await (await fetch(url)).json()).toMatchObject({ status: 500 })
  })

  test('cuts a response that has begun', async () => {
    const { url } = await serve((_req, res) => res.write('half', () => problem(res, 500)))

    await expect(fetch(url).then((response) => response.text())).rejects.toThrow()
  })

  test('leaves a client that is still sending the time to notice, instead of resetting it', async () => {
    const { port } = await serve((_req, res) => problem(res, 413))
    const errors: Error[] = []

    const answer = await new Promise<string>((resolve) => {
      let text = ''
      const socket = connect(port, '127.0.0.1', () => {
        socket.write('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 24000000\r\n\r\n')
        socket.write(Buffer.alloc(12_000_000))
      })
      socket.on('data', (chunk) => {
        text += chunk
        socket.end(Buffer.alloc(100_000))
      })
      socket.on('error', (error) => errors.push(error))
      socket.on('close', () => resolve(text))
    })

    expect(answer).toMatch(/^HTTP\/1\.1 413 /)
    expect(answer).toMatch(/\r\nconnection: close\r\n/i)
    expect(errors).toEqual([])
  })

  test('keeps the connection when little of the request is unread', async () => {
    const { port } = await serve((req, res) => (req.url === '/a' ? problem(res, 403) : res.end('next')))
    const first = 'POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody'

    const answer = await raw(port, `${first}GET /b HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`)

    expect(answer).toMatch(/^HTTP\/1\.1 403 [\s\S]*HTTP\/1\.1 200 [\s\S]*next/)
  })

  test.each([200, 399, 600, 404.5, Number.NaN])('refuses status %d', async (status) => {
    expect(() => problem({} as never, status)).toThrow(TypeError)
  })
})
