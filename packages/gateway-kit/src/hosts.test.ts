import { request, type ServerResponse } from 'node:http'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { authenticate } from './authenticate.js'
import { createGateway, type Gateway } from './gateway.js'
import { hosts, type Running } from './internal/hosts.js'
import { type Echoed, echo, signalled, startUpstream } from './internal/test-servers.js'
import { gcra } from './limit/gcra.js'
import { compose } from './middleware.js'
import { rateLimit } from './rate-limit.js'
import { requestId } from './request-id.js'
import { type AccessLogEntry, requestLog } from './request-log.js'

const bearer = { authorization: 'Bearer ada' }

describe.each(hosts)('in $name', (host) => {
  let running: Running
  let gateway: Gateway
  let entries: AccessLogEntry[]
  /** What the upstream does with /api/special. */
  let special: (res: ServerResponse) => void
  let closed: ReturnType<typeof signalled<void>>

  beforeEach(async () => {
    entries = []
    closed = signalled()
    const upstream = await startUpstream((req, res) => {
      if (req.url !== '/api/special') return void echo(req, res)

      res.once('close', () => closed.fire())
      special(res)
    })
    const verify = (token: string) => {
      if (token === 'bad') throw new Error('no')
      return { sub: token }
    }
    gateway = createGateway(
      {
        routes: [
          { path: '/api/guarded', upstream: upstream.url, auth: 'users' },
          { path: '/api/**', upstream: upstream.url, auth: false },
        ],
      },
      { verifiers: { users: verify } },
    )
    const guard = authenticate({ verify })
    running = await host.start({
      all: compose(
        requestLog({ log: (entry) => entries.push(entry) }),
        requestId(),
        rateLimit({ limiter: gcra({ limit: 4, window: 60_000 }) }),
        (req, res, next) =>
          ((req as { originalUrl?: string }).originalUrl ?? req.url) === '/own' ? guard(req, res, next) : next(),
      ),
      api: gateway.handler,
    })
  })

  afterEach(async () => {
    await running.close()
    await gateway.close({ timeout: 0 })
  })

  test('a request reaches the upstream as it came', async () => {
    const response = await fetch(`${running.url}/api/a%20b/c?d=%2F&d=e`, {
      headers: { 'x-mine': '1', 'x-user-id': 'eve' },
    })
    const { method, url, headers } = (await response.json()) as Echoed

    expect([response.status, method, url]).toEqual([200, 'GET', '/api/a%20b/c?d=%2F&d=e'])
    expect(headers).toMatchObject({
      'x-mine': '1',
      'x-request-id': response.headers.get('x-request-id'),
      'x-forwarded-for': expect.any(String),
    })
    expect(headers['x-user-id']).toBeUndefined()
  })

  test.each([
    ['short', 20],
    ['long', 90_000],
  ])('a %s body reaches it, too', async (_, length) => {
    const body = JSON.stringify({ text: 'x'.repeat(length) })
    const response = await fetch(`${running.url}/api/a`, {
      method: 'POST',
      body,
      headers: { 'content-type': 'application/json' },
    })
    const seen = (await response.json()) as Echoed

    expect(JSON.parse(seen.body)).toEqual(JSON.parse(body))
  })

  test('refusals are problems: no token, no route, too many', async () => {
    const statuses: [number, string | null][] = []
    for (const path of ['/api/guarded', '/own', '/api/guarded', '/own', '/own']) {
      const response = await fetch(running.url + path, {
        headers: path === '/own' ? { authorization: 'Bearer bad' } : {},
      })
      await response.arrayBuffer()
      statuses.push([response.status, response.headers.get('content-type')])
    }

    const problem = 'application/problem+json'
    expect(statuses).toEqual([401, 401, 401, 401, 429].map((status) => [status, problem]))
  })

  test("a route of the host's own comes after the middleware, with its headers and claims", async () => {
    const response = await fetch(`${running.url}/own`, { headers: bearer })

    expect(response.status).toBe(200)
    expect(await response.json()).toEqual({ own: 'ada' })
    expect(response.headers.get('x-request-id')).toMatch(/^[0-9a-f-]{36}$/)
    expect(response.headers.get('ratelimit')).toBe('"default";r=3;t=15')
    await expect.poll(() => entries.map(({ path, status }) => [path, status])).toEqual([['/own', 200]])
  })

  test('a response is streamed as it comes', async () => {
    const first = signalled()
    special = (res) => {
      res.write('one')
      void first.promise.then(() => res.end('two'))
    }
    const response = await fetch(`${running.url}/api/special`)
    const reader = response.body!.getReader()
    const text = async (): Promise<string> => Buffer.from((await reader.read()).value ?? []).toString()

    expect(await text()).toBe('one')
    first.fire()
    expect(await text()).toBe('two')
  })

  test('a response that breaks off is not taken for whole', async () => {
    special = (res) => res.write('half', () => res.destroy())
    const response = await fetch(`${running.url}/api/special`)

    await expect(response.text()).rejects.toThrow()
  })

  test('the upstream hears at once when the client leaves', async () => {
    const asked = signalled()
    special = () => asked.fire()
    const outgoing = request(`${running.url}/api/special`)
    outgoing.on('error', () => {}).end()
    await asked.promise
    outgoing.destroy()

    await closed.promise
    await expect.poll(() => entries.map(({ status }) => status)).toEqual([499])
  })
})
