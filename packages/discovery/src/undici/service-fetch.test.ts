import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { describe, expect, it, vi } from 'vitest'
import { peakEwma } from '../balancers/peak-ewma.js'
import { createDiscovery } from '../discovery.js'
import { endpoint, ScriptedSource, seeded, VirtualClock } from '../test-support.js'
import { serviceFetch } from './service-fetch.js'
import { discover, leases, signalled, startServer, startTlsServer } from './test-servers.js'

const url = 'http://user-service/api/users/1?full=yes'
const text = async (response: Promise<Response>) => (await response).text()

describe('a request', () => {
  it('goes to the endpoints in turn, and keeps its path, its query and the service as host', async () => {
    const servers = await Promise.all(
      ['first', 'second'].map((name) =>
        startServer((req, res) => void res.end(`${name} ${req.method} ${req.headers.host} ${req.url}`)),
      ),
    )
    const discovery = discover(servers)
    const fetch = serviceFetch(discovery)

    const response = await fetch(url)

    expect(response.url).toBe(url)
    expect(await response.text()).toBe('first GET user-service /api/users/1?full=yes')
    expect(await text(fetch(new URL(url)))).toBe('second GET user-service /api/users/1?full=yes')
    expect(leases(discovery)).toEqual({ inflight: 0, picked: 2, failed: 0, cancelled: 0 })
  })

  it('uses a connection again, as soon as undici lets go of it', async () => {
    const server = await startServer()
    const fetch = serviceFetch(discover([server]))

    for (let index = 0; index < 20; index++) await text(fetch(url))

    expect(server.connections).toBeLessThanOrEqual(2)
  })

  it('keeps the port of the URL in the Host header', async () => {
    const server = await startServer((req, res) => void res.end(req.headers.host))
    const fetch = serviceFetch(discover([server]))

    expect(await text(fetch('http://user-service:8080/'))).toBe('user-service:8080')
  })

  it('names the endpoint in the Host header when asked to', async () => {
    const server = await startServer((req, res) => void res.end(req.headers.host))
    const fetch = serviceFetch(discover([server]), { hostHeader: 'endpoint' })

    expect(`http://${await text(fetch(url))}`).toBe(server.url)
  })

  it('can be whatever the global fetch takes', async () => {
    const server = await startServer((req, res) => {
      res.setHeader('x-token', req.headers['x-token'] ?? '')
      res.setHeader('x-type', req.headers['content-type'] ?? '')
      req.pipe(res)
    })
    const fetch = serviceFetch(discover([server]))
    const headers = new Headers({ 'x-token': 'abc' })
    const form = new FormData()
    form.append('name', 'Ada')
    form.append('file', new File(['bytes'], 'a.txt', { type: 'text/plain' }))
    const stream = () => new Blob(['streamed']).stream()

    const posted = await fetch(new Request(url, { method: 'POST', headers, body: 'from a Request' }))
    expect(posted.headers.get('x-token')).toBe('abc')
    expect(await posted.text()).toBe('from a Request')

    const overridden = await fetch(new Request(url, { method: 'POST', headers, body: 'x' }), { body: 'y' })
    expect(await overridden.text()).toBe('y')

    expect(await text(fetch(url, { method: 'PUT', headers, body: stream(), duplex: 'half' } as RequestInit))).toBe(
      'streamed',
    )
    expect(await text(fetch(url, { method: 'POST', body: new URLSearchParams({ a: '1' }) }))).toBe('a=1')

    const uploaded = await fetch(url, { method: 'POST', body: form })
    expect(uploaded.headers.get('x-type')).toMatch(/^multipart\/form-data; boundary=/)
    expect(await uploaded.text()).toMatch(/name="name"[\s\S]*Ada[\s\S]*filename="a\.txt"[\s\S]*text\/plain[\s\S]*bytes/)
  })

  it('follows a redirect to a path at the service', async () => {
    const server = await startServer((req, res) => {
      if (req.url === '/new') res.end('moved')
      else res.writeHead(302, { location: '/new' }).end()
    })
    const discovery = discover([server])

    const response = await serviceFetch(discovery)(url)

    expect(response.url).toBe('http://user-service/new')
    expect(await response.text()).toBe('moved')
    expect(leases(discovery)).toMatchObject({ inflight: 0, picked: 2, failed: 0 })
  })

  it('keeps headers that come more than once, and hears of 1xx without mistaking it for the answer', async () => {
    const server = await startServer((_, res) => {
      res.writeEarlyHints({ link: '</style.css>; rel=preload' })
      res.writeHead(
        200,
        [
          ['set-cookie', 'a=1'],
          ['set-cookie', 'b=2'],
          ['x-name', Buffer.from('Zoë', 'latin1').toString('latin1')],
        ].flat(),
      )
      res.end('final')
    })
    const discovery = discover([server])

    const response = await serviceFetch(discovery)(url)

    expect(response.status).toBe(200)
    expect(response.headers.getSetCookie()).toEqual(['a=1', 'b=2'])
    expect(response.headers.get('x-name')).toBe('Zoë')
    expect(await response.text()).toBe('final')
    expect(leases(discovery)).toMatchObject({ inflight: 0, failed: 0 })
  })

  it('waits for the source to answer', async () => {
    const server = await startServer()
    const source = new ScriptedSource()
    const discovery = discover([], { source })
    const answered = serviceFetch(discovery)(url)
    await vi.waitFor(() => expect(source.watches).toHaveLength(1))

    const { hostname: host, port } = new URL(server.url)
    source.sink.update([{ host, port: Number(port) }])

    expect(await text(answered)).toBe('ok')
  })
})

describe('the scheme', () => {
  const tls = { pool: { connect: { rejectUnauthorized: false } } }

  it("is the request's when the source gives none", async () => {
    const server = await startTlsServer((req, res) => void res.end(req.headers.host))
    const fetch = serviceFetch(discover([{ url: server.url.replace('https://', '') }]), tls)

    expect(await text(fetch('https://user-service/'))).toBe('user-service')
    await expect(fetch('http://user-service/')).rejects.toThrow('fetch failed')
  })

  it("is the source's when it gives one, and the certificate must be the service's", async () => {
    const names: (string | false | null)[] = []
    const server = await startTlsServer()
    server.server.on('secureConnection', (socket) => names.push(socket.servername))
    const fetch = serviceFetch(discover([server]), tls)

    expect(await text(fetch('http://user-service/'))).toBe('ok')
    expect(names).toEqual(['user-service'])
  })
})

describe('an endpoint that is dead', () => {
  it('costs no request: what never left goes to another, whatever the method', async () => {
    const servers = await Promise.all([startServer(), startServer(), startServer()])
    const discovery = discover(servers)
    const fetch = serviceFetch(discovery)
    await servers[1]!.kill()

    const bodies = Array.from({ length: 9 }, (_, index) => text(fetch(url, { method: 'POST', body: `${index}` })))

    expect(await Promise.all(bodies)).toEqual(Array(9).fill('ok'))
    expect(servers.flatMap(({ requests }) => requests)).toHaveLength(9)
    expect(leases(discovery)).toMatchObject({ inflight: 0, cancelled: 0 })
    expect(discovery.service('user-service').metrics.endpoints[1]?.failed).toBeGreaterThan(0)
  })

  it('is tried once and one other once, not all of them', async () => {
    const servers = await Promise.all([startServer(), startServer(), startServer()])
    for (const server of servers) await server.kill()
    const discovery = discover(servers)

    const failed = serviceFetch(discovery)(url)

    await expect(failed).rejects.toMatchObject({ message: 'fetch failed', cause: { code: 'ECONNREFUSED' } })
    expect(leases(discovery)).toEqual({ inflight: 0, picked: 2, failed: 2, cancelled: 0 })
  })

  it('is the answer when retries is 0, or when there is no other', async () => {
    const [dead, alive] = await Promise.all([startServer(), startServer()])
    await dead.kill()

    const unwilling = discover([dead, alive])
    await expect(serviceFetch(unwilling, { retries: 0 })(url)).rejects.toMatchObject({
      cause: { code: 'ECONNREFUSED' },
    })
    expect(leases(unwilling)).toMatchObject({ inflight: 0, picked: 1, failed: 1 })

    const alone = discover([dead])
    await expect(serviceFetch(alone)(url)).rejects.toMatchObject({ cause: { code: 'ECONNREFUSED' } })
    expect(leases(alone)).toMatchObject({ inflight: 0, picked: 1, failed: 1 })
  })
})

describe('a connection that breaks before the response', () => {
  const breaking = () => startServer((req) => void req.socket.destroy())

  it('is not retried by default: the request may have been done', async () => {
    const [broken, healthy] = await Promise.all([breaking(), startServer()])
    const discovery = discover([broken, healthy])

    await expect(serviceFetch(discovery)(url)).rejects.toThrow('fetch failed')

    expect(healthy.requests).toEqual([])
    expect(leases(discovery)).toEqual({ inflight: 0, picked: 1, failed: 1, cancelled: 0 })
  })

  it('is retried elsewhere when retries is set and the request idempotent', async () => {
    const [broken, healthy] = await Promise.all([breaking(), startServer()])
    const discovery = discover([broken, healthy])

    expect(await text(serviceFetch(discovery, { retries: 1 })(url))).toBe('ok')

    expect(leases(discovery)).toEqual({ inflight: 0, picked: 2, failed: 1, cancelled: 0 })
  })

  it('is not retried when something would happen twice', async () => {
    const [broken, healthy] = await Promise.all([breaking(), startServer()])
    const fetch = serviceFetch(discover([broken, healthy]), { retries: 3 })

    await expect(fetch(url, { method: 'POST' })).rejects.toThrow('fetch failed')

    expect(healthy.requests).toEqual([])
  })

  it('is retried on a fresh connection to the same endpoint when there is no other', async () => {
    let first = true
    const server = await startServer((req, res) => {
      if (!first) return void res.end('second time')

      first = false
      req.socket.destroy()
    })

    expect(await text(serviceFetch(discover([server]), { retries: 1 })(url))).toBe('second time')
  })

  it('is retried after a 1xx, too: that was not the response', async () => {
    const hinting = await startServer((req, res) => {
      res.writeEarlyHints({ link: '</style.css>; rel=preload' })
      setTimeout(() => req.socket.destroy(), 20)
    })
    const discovery = discover([hinting, await startServer()])

    expect(await text(serviceFetch(discovery, { retries: 1 })(url))).toBe('ok')
    expect(leases(discovery)).toMatchObject({ inflight: 0, picked: 2, failed: 1 })
  })

  it('is retried as often as retries says, and no more', async () => {
    const servers = await Promise.all([breaking(), breaking(), breaking(), breaking()])
    const discovery = discover(servers)

    await expect(serviceFetch(discovery, { retries: 2 })(url)).rejects.toThrow('fetch failed')

    expect(leases(discovery)).toMatchObject({ inflight: 0, picked: 3, failed: 3 })
  })
})

describe('a connection that breaks during the body', () => {
  it('is a failure of the endpoint, and not retried', async () => {
    const server = await startServer((req, res) => {
      res.writeHead(200, { 'content-length': 10 }).write('half')
      setImmediate(() => req.socket.destroy())
    })
    const discovery = discover([server])

    const response = await serviceFetch(discovery, { retries: 3 })(url)

    await expect(response.text()).rejects.toThrow('terminated')
    expect(leases(discovery)).toEqual({ inflight: 0, picked: 1, failed: 1, cancelled: 0 })
  })
})

describe('a caller who goes away', () => {
  it('while the server thinks: rejects with the reason, and nobody has failed', async () => {
    const arrived = signalled()
    const gone = signalled()
    const server = await startServer((req) => {
      req.socket.on('close', gone.fire)
      arrived.fire()
    })
    const discovery = discover([server])
    const controller = new AbortController()
    const failed = serviceFetch(discovery, { retries: 3 })(url, { signal: controller.signal })
    await arrived.promise
    expect(leases(discovery)).toMatchObject({ inflight: 1 })

    const reason = new Error('enough')
    controller.abort(reason)

    await expect(failed).rejects.toBe(reason)
    expect(leases(discovery)).toEqual({ inflight: 0, picked: 1, failed: 0, cancelled: 1 })
    await gone.promise
  })

  it('during the body, by the signal or by cancelling it', async () => {
    const gone = vi.fn()
    const server = await startServer((_, res) => void res.on('close', gone).writeHead(200).write('the beginning'))
    const discovery = discover([server])
    const fetch = serviceFetch(discovery)
    const controller = new AbortController()

    const response = await fetch(url, { signal: controller.signal })
    expect(leases(discovery)).toMatchObject({ inflight: 1 })
    const body = response.text()
    controller.abort()
    await expect(body).rejects.toMatchObject({ name: 'AbortError' })
    expect(leases(discovery)).toEqual({ inflight: 0, picked: 1, failed: 0, cancelled: 1 })

    await (await fetch(url)).body?.cancel()
    expect(leases(discovery)).toEqual({ inflight: 0, picked: 2, failed: 0, cancelled: 2 })
    await vi.waitFor(() => expect(gone).toHaveBeenCalledTimes(2))
  })

  it('before there is a connection: the lease is free at once', async () => {
    const asked = signalled()
    const discovery = discover([{ url: 'http://127.0.0.1:9' }])
    const fetch = serviceFetch(discovery, { pool: { connect: () => asked.fire() } })
    const controller = new AbortController()
    const failed = fetch(url, { signal: controller.signal })
    await asked.promise

    controller.abort()

    expect(leases(discovery)).toEqual({ inflight: 0, picked: 1, failed: 0, cancelled: 1 })
    await expect(failed).rejects.toMatchObject({ name: 'AbortError' })
  })

  it('before the source has answered: no endpoint is picked', async () => {
    const source = new ScriptedSource()
    const discovery = discover([], { source })
    const controller = new AbortController()
    const failed = serviceFetch(discovery)(url, { signal: controller.signal })
    await vi.waitFor(() => expect(source.watches).toHaveLength(1))

    controller.abort()
    await expect(failed).rejects.toMatchObject({ name: 'AbortError' })
    source.sink.update([endpoint('a')])
    await new Promise(setImmediate)

    expect(leases(discovery)).toMatchObject({ picked: 0 })
  })

  it('before the start', async () => {
    const server = await startServer()
    const discovery = discover([server])

    await expect(serviceFetch(discovery)(url, { signal: AbortSignal.abort() })).rejects.toMatchObject({
      name: 'AbortError',
    })

    expect(server.requests).toEqual([])
    expect(leases(discovery)).toMatchObject({ inflight: 0 })
  })

  it('does not keep the connection that was made for it from the next request', async () => {
    const server = await startServer()
    const discovery = discover([server])
    const fetch = serviceFetch(discovery)
    const controller = new AbortController()
    const failed = fetch(url, { signal: controller.signal })
    await vi.waitFor(() => expect(leases(discovery).picked).toBe(1))
    controller.abort()
    await expect(failed).rejects.toMatchObject({ name: 'AbortError' })
    await vi.waitFor(() => expect(server.connections).toBe(1))
    await new Promise((resolve) => setTimeout(resolve, 20))

    expect(await text(fetch(url))).toBe('ok')
    expect(server.requests).toHaveLength(1)
    expect(server.connections).toBe(1)
  })

  it('by breaking its own upload has not made the endpoint fail', async () => {
    const server = await startServer((req) => void req.resume())
    const discovery = discover([server])
    let pulls = 0
    const body = new ReadableStream({
      pull(controller) {
        if (pulls++ === 0) controller.enqueue(new TextEncoder().encode('first'))
        else controller.error(new Error('disk read error'))
      },
    })

    const failed = serviceFetch(discovery)(url, { method: 'POST', body, duplex: 'half' } as RequestInit)

    await expect(failed).rejects.toThrow()
    expect(leases(discovery)).toEqual({ inflight: 0, picked: 1, failed: 0, cancelled: 1 })
  })
})

describe('a body', () => {
  it('is streamed at the pace of the reader, and the lease lasts until its end', async () => {
    const content = randomBytes(8 * 1024 * 1024)
    let written = 0
    const server = await startServer(async (_, res) => {
      for (let offset = 0; offset < content.length; offset += 65_536) {
        const flowing = res.write(content.subarray(offset, offset + 65_536))
        written = offset
        if (!flowing) await once(res, 'drain')
      }
      res.end()
    })
    const discovery = discover([server])

    const response = await serviceFetch(discovery)(url)
    await vi.waitFor(async () => {
      const before = written
      await new Promise((resolve) => setTimeout(resolve, 100))
      expect(written).toBe(before)
    })
    expect(written).toBeLessThan(content.length - 65_536)
    expect(leases(discovery)).toMatchObject({ inflight: 1 })

    const hash = createHash('sha256')
    for await (const chunk of response.body!) hash.update(chunk)

    expect(hash.digest('hex')).toBe(createHash('sha256').update(content).digest('hex'))
    expect(leases(discovery)).toEqual({ inflight: 0, picked: 1, failed: 0, cancelled: 0 })
  })

  it('may be missing', async () => {
    const server = await startServer((req, res) => void res.writeHead(req.method === 'HEAD' ? 200 : 204).end())
    const discovery = discover([server])
    const fetch = serviceFetch(discovery)

    expect((await fetch(url, { method: 'HEAD' })).status).toBe(200)
    expect((await fetch(url)).status).toBe(204)

    await vi.waitFor(() => expect(leases(discovery)).toEqual({ inflight: 0, picked: 2, failed: 0, cancelled: 0 }))
  })
})

describe('a status', () => {
  it.each([
    [200, 0],
    [404, 0],
    [501, 0],
    [429, 1],
    [500, 1],
    [503, 1],
  ])('%d is passed on and counts as %d failures', async (status, failed) => {
    const server = await startServer((_, res) => void res.writeHead(status).end('words'))
    const discovery = discover([server, server])

    const response = await serviceFetch(discovery, { retries: 3 })(url)

    expect(response.status).toBe(status)
    expect(await response.text()).toBe('words')
    expect(leases(discovery)).toEqual({ inflight: 0, picked: 1, failed, cancelled: 0 })
  })

  it.each([
    ['seconds', () => '60', 60_000],
    ['a date', () => new Date(Date.now() + 60_000).toUTCString(), 60_000],
    ['a date that has passed', () => new Date(0).toUTCString(), 0],
    ['neither', () => 'soon', 0],
  ])('with a Retry-After of %s tells the balancer', async (_, makeHeader, expected) => {
    const header = makeHeader()
    const settle = vi.fn()
    const server = await startServer((_, res) => void res.writeHead(503, { 'retry-after': header }).end())
    const discovery = discover([server], { balancer: () => ({ pick: (nodes) => nodes[0]!, settle }) })

    await text(serviceFetch(discovery)(url))

    const { outcome, retryAfter } = settle.mock.calls[0]![1]
    expect(outcome).toBe('failure')
    expect(Math.abs(retryAfter - expected)).toBeLessThan(2_000)
    expect(settle).toHaveBeenCalledTimes(1)
  })
})

describe('a slow endpoint', () => {
  it('gets few requests by default', async () => {
    const clock = new VirtualClock()
    const answerIn = (ms: number) =>
      startServer((_, res) => {
        clock.advance(ms)
        res.end()
      })
    const [slow, fast] = await Promise.all([answerIn(60), answerIn(5)])
    const discovery = discover([slow, fast], { balancer: peakEwma(), clock, random: seeded(1) })
    const fetch = serviceFetch(discovery)

    for (let request = 0; request < 60; request++) await text(fetch(url))

    expect(slow.requests.length).toBeLessThanOrEqual(3)
    expect(leases(discovery)).toMatchObject({ inflight: 0, picked: 60, failed: 0 })
  })
})

describe('nobody to send it to', () => {
  it('is a NoEndpointsError, as it is', async () => {
    const fetch = serviceFetch(discover([]))

    await expect(fetch('http://nobody/')).rejects.toMatchObject({
      name: 'NoEndpointsError',
      code: 'MSX_NO_ENDPOINTS',
      service: 'nobody',
    })
    await expect(fetch('http://user-service/')).rejects.toThrow('the source lists none')
  })

  it('is one, too, when the source fails before it ever answered', async () => {
    const source = new ScriptedSource()
    const failed = serviceFetch(discover([], { source }))(url)
    await vi.waitFor(() => expect(source.watches).toHaveLength(1))

    source.sink.fail(new Error('registry down'))

    await expect(failed).rejects.toMatchObject({ code: 'MSX_NO_ENDPOINTS', cause: new Error('registry down') })
  })

  it('is a DiscoveryClosedError after the close, which also closes the connections', async () => {
    const server = await startServer()
    const discovery = createDiscovery({ source: discoverSource(server.url) })
    const fetch = serviceFetch(discovery)
    await text(fetch(url))
    expect(server.open).toBe(1)

    await discovery.close()

    await expect(fetch(url)).rejects.toMatchObject({ code: 'MSX_DISCOVERY_CLOSED' })
    await vi.waitFor(() => expect(server.open).toBe(0))
  })
})

function discoverSource(address: string) {
  const source = new ScriptedSource()
  const { hostname: host, port } = new URL(address)
  source.watch = (_, sink) => sink.update([{ host, port: Number(port) }])
  return source
}
