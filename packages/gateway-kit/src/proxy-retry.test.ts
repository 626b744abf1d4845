import type { RequestListener } from 'node:http'
import { createDiscovery, fixed } from '@msx/discovery'
import { retryBudget } from '@msx/retry'
import { describe, expect, onTestFinished, test } from 'vitest'
import { echo, raw, serve, startTcp, startUpstream } from './internal/test-servers.js'
import { proxy } from './proxy.js'
import type { ProxyRetry } from './retrying.js'

const backoff = () => 0

/** An upstream that answers with each of these in turn, then always with the last. */
async function answering(...statuses: number[]) {
  let asked = 0
  const listener: RequestListener = (req, res) => {
    const status = statuses[Math.min(asked, statuses.length - 1)]!
    asked += 1
    if (status === 0) req.socket.destroy()
    else if (status === 200) void echo(req, res)
    else res.writeHead(status).end(`attempt ${asked}`)
  }
  const { url } = await startUpstream(listener)

  return { url, asked: () => asked }
}

async function front(target: string, retry: ProxyRetry | false = {}) {
  return serve(proxy(target, { retry: retry === false ? false : { backoff, ...retry } }))
}

describe('retry', () => {
  test.each([503, 502, 504, 0])('asks again after %s', async (status) => {
    const upstream = await answering(status, status, 200)
    const { url } = await front(upstream.url)

    expect((await fetch(url)).status).toBe(200)
    expect(upstream.asked()).toBe(3)
  })

  test.each([500, 404, 429])('does not ask again after %d', async (status) => {
    const upstream = await answering(status, 200)
    const { url } = await front(upstream.url)

    expect((await fetch(url)).status).toBe(status)
    expect(upstream.asked()).toBe(1)
  })

  test('gives the client the last answer when there is no better one', async () => {
    const upstream = await answering(503)
    const { url } = await front(upstream.url, { attempts: 2 })
    const response = await fetch(url)

    expect(response.status).toBe(503)
    expect(await response.text()).toBe('attempt 2')
  })

  test('sends a POST once, for the upstream may have done it', async () => {
    const upstream = await answering(503, 200)
    const { url } = await front(upstream.url)

    expect((await fetch(url, { method: 'POST', body: 'x' })).status).toBe(503)
    expect(upstream.asked()).toBe(1)
  })

  test('sends a POST with an Idempotency-Key again, body and all', async () => {
    const upstream = await answering(503, 0, 200)
    const { url } = await front(upstream.url)
    const response = await fetch(url, { method: 'POST', body: 'the order', headers: { 'idempotency-key': '1' } })

    expect(await response.json()).toMatchObject({ method: 'POST', body: 'the order' })
    expect(upstream.asked()).toBe(3)
  })

  test('does not send again what it could not keep', async () => {
    let asked = 0
    const upstream = await startUpstream((req, res) => {
      asked += 1
      req.resume().on('end', () => res.writeHead(503).end())
    })
    const { url } = await front(upstream.url, { replay: 3 })

    expect((await fetch(url, { method: 'PUT', body: '1234' })).status).toBe(503)
    expect(asked).toBe(1)
  })

  test('never begins a second response: what breaks off is cut', async () => {
    let asked = 0
    const upstream = await startTcp((socket) =>
      socket.once('data', () => {
        asked += 1
        socket.write('HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf', () => socket.end())
      }),
    )
    const { port } = await front(upstream)

    const answer = await raw(port, 'GET / HTTP/1.1\r\nHost: a\r\n\r\n')

    expect(answer.match(/HTTP\/1\.1/g)).toHaveLength(1)
    expect(asked).toBe(1)
  })

  test('stops when the budget is spent', async () => {
    const upstream = await answering(503)
    const { url } = await front(upstream.url, {
      attempts: 10,
      budget: retryBudget({ ratio: 0, minPerSecond: 0.2, ttl: 10_000 }),
    })

    await fetch(url)

    expect(upstream.asked()).toBe(3)
  })

  test('waits for no upstream that asks for more time than a client has', async () => {
    let asked = 0
    const upstream = await startUpstream((_req, res) => {
      asked += 1
      res.writeHead(503, { 'retry-after': '120' }).end()
    })
    const { url } = await front(upstream.url)
    const response = await fetch(url)

    expect(response.headers.get('retry-after')).toBe('120')
    expect(asked).toBe(1)
  })

  test('is off unless asked for', async () => {
    const upstream = await answering(503, 200)
    const { url } = await front(upstream.url, false)

    expect((await fetch(url)).status).toBe(503)
  })
})

describe('a service by name', () => {
  async function through(urls: string[], retry: ProxyRetry | false) {
    const discovery = createDiscovery({ source: fixed({ users: urls }) })
    onTestFinished(() => discovery.close())
    const service = discovery.service('users')
    const { url } = await serve(proxy('users', { discovery, retry: retry === false ? false : { backoff, ...retry } }))

    return { url, service }
  }

  test('is found, and asked with its name as Host', async () => {
    const upstream = await startUpstream(echo)
    const { url } = await through([upstream.url], false)

    expect(await (await fetch(`${url}/a`)).json()).toMatchObject({ url: '/a', headers: { host: 'users' } })
  })

  test('a POST that never left goes to another instance', async () => {
    const upstream = await startUpstream(echo)
    const { url } = await through(['http://127.0.0.1:1', upstream.url], {})

    for (let time = 0; time < 6; time += 1) {
      expect(await (await fetch(url, { method: 'POST', body: 'once' })).json()).toMatchObject({ body: 'once' })
    }
  })

  test('hears how each request went', async () => {
    const upstream = await answering(200, 503)
    const { url, service } = await through([upstream.url], false)

    await (await fetch(url)).text()
    await (await fetch(url)).text()

    expect(service.metrics.endpoints).toMatchObject([{ picked: 2, failed: 1, inflight: 0 }])
  })

  test('the only instance is asked again', async () => {
    const upstream = await answering(503, 200)
    const { url, service } = await through([upstream.url], {})

    expect((await fetch(url)).status).toBe(200)
    expect(service.metrics.endpoints).toMatchObject([{ picked: 2, failed: 1, inflight: 0 }])
  })

  test('without instances: 503 with Retry-After', async () => {
    const { url } = await through([], {})
    const response = await fetch(url)

    expect(response.status).toBe(503)
    expect(response.headers.get('retry-after')).toBe('1')
    expect(await response.json()).toMatchObject({ code: 'MSX_PROXY_NO_ENDPOINT' })
  })

  test('a first request that comes before the registry has answered waits for it', async () => {
    const upstream = await startUpstream(echo)
    const discovery = createDiscovery({
      source: {
        watch: (service, sink, signal) =>
          fixed({ users: [upstream.url] }).watch(
            service,
            { ...sink, update: (found) => setImmediate(() => sink.update(found)) },
            signal,
          ),
      },
    })
    onTestFinished(() => discovery.close())
    const { url } = await serve(proxy('users', { discovery }))

    expect((await fetch(url)).status).toBe(200)
  })
})
