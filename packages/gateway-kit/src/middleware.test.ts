import type { IncomingMessage, ServerResponse } from 'node:http'
import { PassThrough } from 'node:stream'
import * as client from 'prom-client'
import { describe, expect, test, vi } from 'vitest'
import { authenticate, authOf } from './authenticate.js'
import type { Claims } from './claims.js'
import { contextOf } from './context.js'
import { cors } from './cors.js'
import { serve, signalled } from './internal/test-servers.js'
import { gcra } from './limit/gcra.js'
import type { RateLimiter } from './limit/limiter.js'
import { metrics } from './metrics.js'
import { compose, type Middleware } from './middleware.js'
import { rateLimit } from './rate-limit.js'
import { requestId } from './request-id.js'
import { type AccessLogEntry, requestLog } from './request-log.js'

const refused = { allowed: false, limit: 1, remaining: 0, resetAfter: 1, retryAfter: 1 }
const ok: Middleware = (_req, res) => void res.end('ok')

describe('compose', () => {
  const trace =
    (name: string, log: string[]): Middleware =>
    (_req, _res, next) => {
      log.push(name)
      next()
    }

  test('runs one after the other, and then what is next', () => {
    const log: string[] = []
    const next = vi.fn()

    compose(trace('a', log), trace('b', log))({} as never, {} as never, next)

    expect(log).toEqual(['a', 'b'])
    expect(next).toHaveBeenCalledExactlyOnceWith()
  })

  test.each<[string, (error: Error) => Middleware]>([
    [
      'thrown',
      (error) => () => {
        throw error
      },
    ],
    ['handed on', (error) => (_req, _res, next) => next(error)],
  ])('an error that is %s skips the rest', (_, failing) => {
    const error = new Error('no')
    const log: string[] = []
    const next = vi.fn()

    compose(failing(error), trace('b', log))({} as never, {} as never, next)

    expect(log).toEqual([])
    expect(next).toHaveBeenCalledExactlyOnceWith(error)
  })

  test('a second call of next does nothing', () => {
    const next = vi.fn()
    const twice: Middleware = (_req, _res, after) => {
      after()
      after()
    }

    compose(twice)({} as never, {} as never, next)

    expect(next).toHaveBeenCalledTimes(1)
  })

  test('refuses what is no function', () => {
    expect(() => compose(ok, 'x' as never)).toThrow('compose: argument 1 must be a function')
  })
})

describe('rateLimit', () => {
  test('tells everybody where they stand, and says 429 with Retry-After to those who come too often', async () => {
    const clock = { now: () => 0 }
    const guard = rateLimit({ limiter: gcra({ limit: 2, window: 60_000, clock }) })
    const { url } = await serve(compose(guard, ok))

    const first = await fetch(url)
    expect(first.headers.get('ratelimit-policy')).toBe('"default";q=2;w=60')
    expect(first.headers.get('ratelimit')).toBe('"default";r=1;t=30')
    await fetch(url)
    const third = await fetch(url)

    expect(third.status).toBe(429)
    expect(third.headers.get('retry-after')).toBe('30')
    expect(third.headers.get('content-type')).toBe('application/problem+json')
    expect(await third.json()).toMatchObject({
      status: 429,
      type: expect.stringContaining('quota-exceeded'),
      'violated-policies': ['default'],
    })
  })

  test('several limits are all told', async () => {
    const one = rateLimit({ limiter: gcra({ limit: 9, window: 1_000 }), name: 'burst' })
    const other = rateLimit({ limiter: gcra({ limit: 99, window: 60_000 }), name: 'minute' })
    const { url } = await serve(compose(one, other, ok))

    expect((await fetch(url)).headers.get('ratelimit-policy')).toBe('"burst";q=9;w=1, "minute";q=99;w=60')
  })

  test('counts by key and cost, with a limiter that answers later', async () => {
    const take = vi.fn<RateLimiter['take']>(async () => ({
      allowed: true,
      limit: 1,
      remaining: 0,
      resetAfter: 0,
      retryAfter: 0,
    }))
    const guard = rateLimit({ limiter: { take }, key: (req) => String(req.headers['x-key']), cost: () => 5 })
    const { url } = await serve(compose(guard, ok))
    const response = await fetch(url, { headers: { 'x-key': 'k' } })

    expect(await response.text()).toBe('ok')
    expect(response.headers.get('ratelimit-policy')).toBe('"default";q=1')
    expect(take).toHaveBeenCalledExactlyOnceWith('k', 5)
  })

  test('counts the addresses that trusted proxies name, IPv6 by its /64, and nobody else believes them', async () => {
    const keys: string[] = []
    const take: RateLimiter['take'] = (key) => {
      keys.push(key)
      return { allowed: true, limit: 1, remaining: 0, resetAfter: 0, retryAfter: 0 }
    }
    const behind = await serve(compose(rateLimit({ limiter: { take }, trust: { hops: 1 } }), ok))
    const alone = await serve(compose(rateLimit({ limiter: { take } }), ok))
    for (const address of ['2001:db8:1:2:3::4', '2001:db8:1:2:ffff::9', '192.0.2.7']) {
      await fetch(behind.url, { headers: { 'x-forwarded-for': address } })
    }
    await fetch(alone.url, { headers: { 'x-forwarded-for': '192.0.2.7' } })

    expect(keys[0]).toMatch(/^2001:/)
    expect(keys).toEqual([keys[0], keys[0], '192.0.2.7', '127.0.0.1'])
  })

  test.each<[object, string]>([
    [{}, 'limiter must have a method take'],
    [{ limiter: gcra({ limit: 1, window: 1 }), trust: ['nobody'] }, 'trust must be'],
    [{ limiter: gcra({ limit: 1, window: 1 }), trust: false, key: () => 'k' }, 'either key or trust'],
    [{ limiter: gcra({ limit: 1, window: 1 }), cost: -1 }, 'cost must be'],
    [{ limiter: gcra({ limit: 1, window: 1 }), name: 'a"b' }, 'name must be'],
  ])('refuses the options %j', (options, message) => {
    expect(() => rateLimit(options as never)).toThrow(message)
  })
})

describe('authenticate', () => {
  test('the claims are at authOf, and nowhere else', async () => {
    const guard = authenticate({ verify: async () => ({ sub: 'u1' }) })
    const { url } = await serve(compose(guard, (req, res) => void res.end(authOf(req)?.sub)))
    const open = await serve((req, res) => void res.end(String(authOf(req))))

    expect(await (await fetch(url, { headers: { authorization: 'bearer abc' } })).text()).toBe('u1')
    expect(await (await fetch(open.url, { headers: { authorization: 'Bearer abc' } })).text()).toBe('undefined')
  })

  test.each([undefined, null, 'u1', false])('a verifier that gives %s has not verified', async (claims) => {
    const { url } = await serve(compose(authenticate({ verify: () => claims as never }), ok))

    expect((await fetch(url, { headers: { authorization: 'Bearer abc' } })).status).toBe(401)
  })

  test.each(['Bearer', 'Bearer ', 'Bearer a b', 'Bearer a,b', 'Token abc', 'Bearer "abc"'])(
    '%s is no token',
    async (authorization) => {
      const verify = vi.fn(() => ({}))
      const { url } = await serve(compose(authenticate({ verify }), ok))

      expect((await fetch(url, { headers: { authorization } })).status).toBe(401)
      expect(verify).not.toHaveBeenCalled()
    },
  )

  test('claims that may change are read each time, those that cannot once', async () => {
    const changing: { sub: string } = { sub: 'ada' }
    const fixed = Object.freeze({
      get sub() {
        read += 1
        return 'bob'
      },
    })
    let read = 0
    const said: unknown[] = []
    const guard = authenticate({ verify: (token) => (token === 'fixed' ? fixed : changing) })
    const { url } = await serve(
      compose(guard, (req, res) => {
        said.push(contextOf(req).identity?.headers['x-user-id'])
        res.end()
      }),
    )

    for (const [token, sub] of [
      ['a', 'ada'],
      ['fixed', 'ada'],
      ['a', 'eve'],
      ['fixed', 'eve'],
    ] as const) {
      changing.sub = sub
      await fetch(url, { headers: { authorization: `Bearer ${token}` } })
    }

    expect(said).toEqual(['ada', 'bob', 'eve', 'bob'])
    expect(read).toBe(1)
  })

  test.each([
    ['at once', (claims: Claims) => claims],
    ['later', async (claims: Claims) => claims],
  ])('a claim that no header can say is nobody, verified %s', async (_when, given) => {
    const { url } = await serve(compose(authenticate({ verify: () => given({ sub: 'ada\ud800' }) }), ok))

    const response = await fetch(url, { headers: { authorization: 'Bearer abc' } })

    expect(response.status).toBe(401)
    expect(response.headers.get('www-authenticate')).toBe('Bearer error="invalid_token"')
  })

  test('each request of a connection is known by its own token', () => {
    const connection = { socket: {} }
    const verified: string[] = []
    const guard = authenticate({
      verify: (token) => {
        verified.push(token)
        return { sub: token }
      },
    })

    const known = ['Bearer a', 'Bearer a', 'Bearer b', 'bearer  a', 'Bearer a'].map((authorization) => {
      const req = { ...connection, headers: { authorization } } as IncomingMessage
      guard(req, {} as ServerResponse, () => {})
      return authOf(req)?.sub
    })

    expect(known).toEqual(['a', 'a', 'b', 'a', 'a'])
    expect(verified).toEqual(known)
  })

  test('refuses what is no verifier, and identity headers that could come from outside', () => {
    expect(() => authenticate({} as never)).toThrow('verify must be a function')
    expect(() => authenticate({ verify: () => ({}), identity: { 'x-id': 'sub' } })).toThrow("begin with 'x-user-'")
  })
})

describe('requestId', () => {
  test.each([
    [false, 'mine', false],
    [true, 'mine', true],
    [true, 'has spaces and "quotes"', false],
    [true, 'x'.repeat(200), false],
  ])('trusting: %s, asked with %s: kept: %s', async (trustInbound, id, kept) => {
    const { url } = await serve(compose(requestId({ trustInbound }), ok))
    const answered = (await fetch(url, { headers: { 'x-request-id': id } })).headers.get('x-request-id')

    expect(answered === id).toBe(kept)
    expect(answered).toMatch(/^[\w.:+/=-]{1,128}$/)
  })
})

test.each<[string, (late: Promise<never>) => Middleware]>([
  ['a token that is no good', (late) => authenticate({ verify: () => late })],
  ['claims that no header can say', (late) => authenticate({ verify: () => late.catch(() => ({ sub: '\ud800' })) })],
  ['a limit', (late) => rateLimit({ limiter: { take: () => late.catch(() => refused) } })],
])('%s that is known after the answer has left changes nothing', async (_what, guard) => {
  const verdict = signalled()
  const late = verdict.promise.then(() => Promise.reject<never>(new Error('no')))
  const { url } = await serve(
    compose(
      (_req, res, next) => {
        next()
        res.writeHead(503).end('too late')
      },
      guard(late),
      ok,
    ),
  )

  const response = await fetch(url, { headers: { authorization: 'Bearer a' } })
  verdict.fire()
  await late.catch(() => {})

  expect([response.status, await response.text()]).toEqual([503, 'too late'])
  // What is thrown where nobody waits for it fails the run.
  await new Promise((resolve) => setImmediate(resolve))
})

describe('requestLog', () => {
  test('writes one entry when the response has left', async () => {
    const logged = signalled<AccessLogEntry>()
    const { url } = await serve(
      compose(requestId(), requestLog({ log: logged.fire }), (_req, res) => void res.writeHead(201).end()),
    )

    await fetch(`${url}/a?secret=1`, { method: 'POST' })

    expect(await logged.promise).toMatchObject({
      method: 'POST',
      path: '/a',
      status: 201,
      address: '127.0.0.1',
      requestId: expect.any(String),
      duration: expect.any(Number),
      time: expect.stringMatching(/^\d{4}-\d\d-\d\dT/),
    })
  })

  test('says 499 when the client did not wait', async () => {
    const logged = signalled<AccessLogEntry>()
    const asked = signalled()
    const { url } = await serve(compose(requestLog({ log: logged.fire }), () => asked.fire()))
    const leave = new AbortController()
    const answer = fetch(url, { signal: leave.signal }).catch(() => undefined)
    await asked.promise
    leave.abort()
    await answer

    expect((await logged.promise).status).toBe(499)
  })

  test('a stream gets a line of JSON for each request, several in one write', async () => {
    const written: string[] = []
    const both = signalled()
    const stream = {
      write(text: string) {
        written.push(text)
        if (written.join('').split('\n').length === 3) both.fire()
      },
    }
    const { url } = await serve(compose(requestLog({ log: stream }), ok))

    await Promise.all([fetch(`${url}/a?b`), fetch(`${url}/"c"`)])
    await both.promise

    const lines = written.join('').trimEnd().split('\n')
    const paths = lines.map((line) => (JSON.parse(line) as AccessLogEntry).path)
    expect(paths.sort()).toEqual(['/%22c%22', '/a'])
  })

  test.each([
    ['/plain', 'ada'],
    ['/"quoted"\\and\u0007', 'Zo\u00eb \ud800'],
    ['/id', 7],
    ['/anonymous', undefined],
  ])('a line is what JSON makes of the entry: %j by %j', async (path, sub) => {
    const logged = signalled<AccessLogEntry>()
    const written = signalled<string>()
    const { url } = await serve(
      compose(
        requestLog({ log: logged.fire }),
        requestLog({ log: { write: written.fire } }),
        authenticate({ verify: () => ({ sub }) as Claims, identity: {} }),
        (req, res) => {
          contextOf(req).error =
            sub === 'ada' ? undefined : { code: 'MSX_TEST', status: 500, cause: new Error('"why"') }
          req.url = path
          res.end()
        },
      ),
    )

    await fetch(url, { headers: { authorization: 'Bearer x' } })
    const line = await written.promise
    const { duration } = JSON.parse(line) as AccessLogEntry

    expect(line).toBe(`${JSON.stringify({ ...(await logged.promise), duration })}\n`)
    expect(duration).toBe(Number(duration.toFixed(3)))
  })

  test('a file gets the bytes of every name, however they take turns', async () => {
    // A character whose lower byte is that of a new line, in what is no text: no such line may come of it.
    const object = { name: '\u010a{}\u010a' }
    const users = ['ada', 'Zo\u00eb', 'Zo\u00eb', '\u20ac', 'ada', 'ada', object, object, 'ada', object]
    const stream = new PassThrough()
    const { url } = await serve(
      compose(
        requestLog({ log: stream }),
        authenticate({ verify: () => ({ sub: users[asked++] }) as unknown as Claims }),
        ok,
      ),
    )
    let asked = 0
    const read: Buffer[] = []
    stream.on('data', (chunk) => read.push(chunk))
    const said = (): unknown[] =>
      Buffer.concat(read)
        .toString()
        .split('\n')
        .filter((line) => line !== '')
        .map((line) => (JSON.parse(line) as { user: unknown }).user)

    // Each in a write of its own, and then all in one.
    for (const [index] of users.entries()) {
      await fetch(url, { headers: { authorization: 'Bearer x' } })
      await vi.waitFor(() => expect(said()).toHaveLength(index + 1))
    }
    asked = 0
    for (const _ of users) await fetch(url, { headers: { authorization: 'Bearer x' } })

    await vi.waitFor(() => expect(said()).toEqual([...users, ...users]))
  })

  test('the time is when the request came, to the millisecond', async () => {
    const now = vi.spyOn(Date, 'now')
    const times = [
      '2026-01-01T00:00:00.000Z',
      '2026-01-01T00:00:00.007Z',
      '2026-01-01T00:00:01.099Z',
      '2026-01-01T00:00:00.123Z',
    ]
    const said: string[] = []
    const { url } = await serve(compose(requestLog({ log: ({ time }) => void said.push(time) }), ok))

    for (const [index, time] of times.entries()) {
      now.mockReturnValue(Date.parse(time))
      await fetch(url)
      await vi.waitFor(() => expect(said).toHaveLength(index + 1))
    }
    now.mockRestore()

    expect(said).toEqual(times)
  })

  test('a stream that takes nothing is not filled without end, and how much was dropped is said', async () => {
    const warned = vi.spyOn(process, 'emitWarning').mockImplementation(() => {})
    const written = signalled<string>()
    const stream = { writableLength: 16_777_217, write: written.fire }
    const { url } = await serve(compose(requestLog({ log: stream }), ok))

    await fetch(`${url}/lost`)
    await fetch(`${url}/lost`)
    await vi.waitFor(async () => {
      stream.writableLength = 0
      await fetch(`${url}/kept`)
      expect(warned).toHaveBeenCalledWith(expect.stringMatching(/2 entries were dropped/))
    })

    expect(await written.promise).not.toContain('lost')
    warned.mockRestore()
  })

  test.each([[null], ['stdout'], [{}]])('refuses log %j', (log) => {
    expect(() => requestLog({ log: log as never })).toThrow('log must be a function or a stream')
  })

  test('a log that throws does not break the request', async () => {
    const warned = vi.spyOn(process, 'emitWarning').mockImplementation(() => {})
    const { url } = await serve(
      compose(
        requestLog({
          log: () => {
            throw new Error('full disk')
          },
        }),
        ok,
      ),
    )

    expect((await fetch(url)).status).toBe(200)
    await vi.waitFor(() => expect(warned).toHaveBeenCalled())
    warned.mockRestore()
  })
})

describe('metrics', () => {
  test('counts under the pattern it is told', async () => {
    const registry = new client.Registry()
    const { url } = await serve(compose(metrics({ client, registry, route: () => '/orders/:id' }), ok))

    await (await fetch(`${url}/orders/1`)).text()

    expect(await registry.metrics()).toContain('http_requests_total{method="GET",route="/orders/:id",status="200"} 1')
  })

  test('refuses to start without client or registry', () => {
    expect(() => metrics({} as never)).toThrow('client must be')
    expect(() => metrics({ client } as never)).toThrow('registry must be')
  })
})

describe('cors', () => {
  const origin = 'https://shop.example'
  const preflight = {
    method: 'OPTIONS',
    headers: { origin, 'access-control-request-method': 'PUT', 'access-control-request-headers': 'x-a' },
  }

  test('answers a preflight itself', async () => {
    const { url } = await serve(compose(cors({ origins: [origin], credentials: true }), ok))
    const { status, headers } = await fetch(url, preflight)

    expect(status).toBe(204)
    expect(Object.fromEntries(headers)).toMatchObject({
      'access-control-allow-origin': origin,
      'access-control-allow-credentials': 'true',
      'access-control-allow-headers': 'x-a',
      'access-control-max-age': '600',
      vary: expect.stringContaining('Origin'),
    })
  })

  test('allows nothing to other origins', async () => {
    const { url } = await serve(compose(cors({ origins: [origin] }), ok))
    const { headers } = await fetch(url, {
      ...preflight,
      headers: { ...preflight.headers, origin: 'https://shop.example.evil' },
    })

    expect([...headers.keys()].filter((name) => name.startsWith('access-control'))).toEqual([])
    expect(headers.get('vary')).toContain('Origin')
  })

  test.each(['https://a.example:8443', 'http://localhost', 'null', 'capacitor://localhost', 'http://[::1]:3000'])(
    'takes %s for an origin',
    (one) => {
      expect(cors({ origins: [one] })).toBeTypeOf('function')
    },
  )

  test('lets pages read a response, and some of its headers', async () => {
    const { url } = await serve(compose(cors({ origins: '*', exposed: ['x-total'] }), ok))
    const { headers } = await fetch(url, { headers: { origin } })

    expect(headers.get('access-control-allow-origin')).toBe('*')
    expect(headers.get('access-control-expose-headers')).toBe('x-total')
    expect(headers.get('vary')).toBeNull()
  })

  test.each<[object, string]>([
    [{}, 'origins must be'],
    [{ origins: '*', credentials: true }, "not possible with origins '*'"],
    [{ origins: [] }, 'origins must be'],
    ...[
      '*',
      'shop.example',
      'https://shop.example/',
      'https://Shop.example',
      'https://a.example:443',
      'https://*.a',
    ].map((one): [object, string] => [{ origins: [one] }, 'origins as browsers send them']),
    [{ origins: '*', maxAge: -1 }, 'maxAge must be'],
  ])('refuses the options %j', (options, message) => {
    expect(() => cors(options as never)).toThrow(message)
  })
})
