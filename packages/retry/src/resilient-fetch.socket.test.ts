// Apart from resilient-fetch.test.ts, because msw copies the bodies it lets pass, and so hides what happens to connections.
import { createServer, type RequestListener, type Server } from 'node:http'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { constant } from './backoff.js'
import { pipeline } from './pipeline.js'
import { resilientFetch } from './resilient-fetch.js'
import { retry } from './retry.js'
import { timeout } from './timeout.js'

const quick = () => retry({ backoff: constant(0) })

describe('resilientFetch: on a socket', () => {
  let server: Server | undefined

  afterEach(() => {
    server?.closeAllConnections()
    server?.close()
  })

  async function serve(listener: RequestListener): Promise<string> {
    server = createServer(listener)
    await new Promise<void>((resolve) => server?.listen(0, '127.0.0.1', resolve))
    return `http://127.0.0.1:${(server.address() as { port: number }).port}`
  }

  it('uses the connection of a response it threw away again', async () => {
    const connections = new Set<unknown>()
    const url = await serve((request, response) => {
      connections.add(request.socket)
      response.statusCode = 503
      response.end('x'.repeat(60_000))
    })

    const response = await resilientFetch(retry({ attempts: 5, backoff: constant(40) }))(url)
    await response.text()

    expect(connections.size).toBe(1)
  })

  it('drops the connection of a response that is too long to read to its end', async () => {
    const closed = vi.fn()
    let count = 0
    const url = await serve((request, response) => {
      count += 1
      response.statusCode = count === 1 ? 503 : 200
      if (count === 1) request.socket.once('close', closed)
      response.end('x'.repeat(count === 1 ? 50_000_000 : 1))
    })

    await (await resilientFetch(quick())(url)).text()

    await vi.waitFor(() => expect(closed).toHaveBeenCalledTimes(1))
  })

  it("lets the caller's abort still reach the body, after the call", async () => {
    const url = await serve((_, response) => {
      response.write('first')
    })
    const caller = new AbortController()
    const response = await resilientFetch(pipeline(timeout(5_000), quick(), timeout(5_000)))(url, {
      signal: caller.signal,
    })
    const body = response.text()

    caller.abort(new Error('enough'))

    await expect(body).rejects.toThrow('enough')
  })

  it('does not abort the body of a response that came in time', async () => {
    const url = await serve((_, response) => {
      response.write('first')
      setTimeout(() => response.end(' last'), 120)
    })
    const response = await resilientFetch(pipeline(quick(), timeout(60)))(url)

    expect(await response.text()).toBe('first last')
  })

  it('drops the response of a fetch that ignores its signal and comes too late', async () => {
    const late = { status: 200, headers: new Headers(), body: new Blob(['late']).stream() }
    let arrive: (() => void) | undefined
    const send = () =>
      new Promise<typeof late>((resolve) => {
        arrive = () => resolve(late)
      })

    await resilientFetch(timeout(5), { fetch: send })()
      .then(() => expect.unreachable())
      .catch(() => {})
    arrive?.()
    await new Promise((resolve) => setTimeout(resolve, 5))

    expect(late.body.locked).toBe(true)
  })
})
