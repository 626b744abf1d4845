import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Readable } from 'node:stream'
import { Agent, request } from 'undici'
import { describe, expect, it, vi } from 'vitest'
import { constant } from '../backoff.js'
import { discardBody, MAX_TIME } from '../internal/discard.js'
import { retry } from '../retry.js'

describe('a body of Node that is thrown away', () => {
  it('is cut off when it never ends', async () => {
    const endless = new Readable({
      read() {
        this.push(Buffer.alloc(16_384))
      },
    })

    discardBody({ body: endless })
    await vi.waitFor(() => expect(endless.destroyed).toBe(true))
  })

  it('is cut off when nothing comes', async () => {
    vi.useFakeTimers()
    const silent = new Readable({ read() {} })

    discardBody({ body: silent })
    expect(silent.destroyed).toBe(false)
    vi.advanceTimersByTime(MAX_TIME)
    vi.useRealTimers()

    expect(silent.destroyed).toBe(true)
  })

  it('gives its connection back when it does end', async () => {
    const sockets = new Set<unknown>()
    const server = createServer((_, response) => response.writeHead(503).end('a short one'))
    server.on('connection', (socket) => sockets.add(socket))
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const dispatcher = new Agent({ connections: 1 })
    const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`

    const policy = retry({
      backoff: constant(20),
      shouldRetry: ({ ok, ...outcome }) =>
        ok && (outcome as { value: { statusCode: number } }).value.statusCode === 503,
    })
    const { body } = await policy.execute(() => request(origin, { dispatcher }))
    await body.text()

    expect(sockets.size).toBe(1)
    await dispatcher.close()
    server.close()
  })
})
