import { delay, HttpResponse, http } from 'msw'
import { setupServer } from 'msw/node'
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest'
import { constant } from './backoff.js'
import { isHttpStatusError } from './errors.js'
import { fallback } from './fallback.js'
import { pipeline } from './pipeline.js'
import type { Policy } from './policy.js'
import { resilientFetch } from './resilient-fetch.js'
import { retry } from './retry.js'
import { timeout } from './timeout.js'

const URL = 'http://orders.test/orders'
const network = setupServer()

beforeAll(() => network.listen({ onUnhandledRequest: 'bypass' }))
afterEach(() => network.resetHandlers())
afterAll(() => network.close())

const quick = () => retry({ backoff: constant(0) })

/** Answers with each of `statuses` in turn, the last one for ever. Returns the requests and their bodies. */
function answering(...statuses: number[]) {
  const requests: { readonly request: Request; readonly body: string }[] = []
  network.use(
    http.all(URL, async ({ request }) => {
      requests.push({ request, body: await request.clone().text() })
      const status = statuses[Math.min(requests.length, statuses.length) - 1]!
      return HttpResponse.text(`answer ${requests.length}`, { status })
    }),
  )

  return requests
}

describe('resilientFetch', () => {
  it.each([408, 425, 429, 502, 503, 504])('repeats a GET that is answered with %i', async (status) => {
    const requests = answering(status, 200)

    const response = await resilientFetch(quick())(URL)

    expect(await response.text()).toBe('answer 2')
    expect(requests).toHaveLength(2)
  })

  it.each([200, 400, 404, 500, 501])('takes %i for an answer', async (status) => {
    const requests = answering(status)

    expect((await resilientFetch(quick())(URL)).status).toBe(status)
    expect(requests).toHaveLength(1)
  })

  it('returns the last response, body unread, as fetch does', async () => {
    const requests = answering(503)

    const response = await resilientFetch(quick())(URL)

    expect(response.status).toBe(503)
    expect(await response.text()).toBe('answer 3')
    expect(requests).toHaveLength(3)
  })

  it('repeats after a network error, and rejects with the last one', async () => {
    const calls = vi.fn()
    network.use(
      http.get(URL, () => {
        calls()
        return HttpResponse.error()
      }),
    )

    await expect(resilientFetch(quick())(URL)).rejects.toThrow(TypeError)
    expect(calls).toHaveBeenCalledTimes(3)
  })

  it('waits for as long as the server asks', async () => {
    network.use(
      http.get(URL, () => new HttpResponse(null, { status: 429, headers: { 'retry-after-ms': '20' } }), { once: true }),
      http.get(URL, () => HttpResponse.text('done')),
    )
    const policy = quick()
    const retried = vi.fn()
    policy.on('retry', retried)

    await resilientFetch(policy)(URL)

    expect(retried).toHaveBeenCalledWith(expect.objectContaining({ delay: 20 }))
  })

  it('counts the statuses it is told to', async () => {
    const requests = answering(500, 200)

    expect((await resilientFetch(quick(), { retryOn: [500] })(URL)).status).toBe(200)
    expect(requests).toHaveLength(2)
  })

  it('is a rejection inside the policy: a breaker counts it', async () => {
    answering(503)
    const seen: unknown[] = []
    const breaker: Policy = {
      async execute(operation, options) {
        try {
          return await operation(options as never)
        } catch (error) {
          seen.push(error)
          throw error
        }
      },
    }

    const response = await resilientFetch(breaker)(URL, { method: 'POST' })

    expect(response.status).toBe(503)
    expect(isHttpStatusError(seen[0])).toBe(true)
    expect(seen[0]).toMatchObject({ code: 'MSX_HTTP_STATUS', status: 503, response })
  })

  it('returns what a fallback inside answers', async () => {
    answering(503)
    const policy = pipeline(
      fallback(() => new Response('instead')),
      quick(),
    )

    expect(await (await resilientFetch(policy)(URL)).text()).toBe('instead')
  })
})

describe('resilientFetch: what may be sent twice', () => {
  it.each(['GET', 'PUT', 'DELETE', 'OPTIONS', 'put'])('repeats a %s', async (method) => {
    const requests = answering(503, 200)

    await resilientFetch(quick())(URL, { method })

    expect(requests).toHaveLength(2)
  })

  it.each(['POST', 'PATCH'])('sends a %s once, whatever comes back', async (method) => {
    const requests = answering(503, 200)

    expect((await resilientFetch(quick())(URL, { method, body: 'x' })).status).toBe(503)
    expect(requests).toHaveLength(1)
  })

  it('sends a POST once when the network fails, and does not wait before it says so', async () => {
    const send = vi.fn(async () => {
      throw new TypeError('fetch failed')
    })
    const policy = pipeline(timeout(2_000), retry({ backoff: constant(1_000_000) }))

    await expect(resilientFetch(policy, { fetch: send as typeof fetch })(URL, { method: 'POST' })).rejects.toThrow(
      'fetch failed',
    )
    expect(send).toHaveBeenCalledTimes(1)
  })

  it('sends a POST once under policies in between, and under a retry of somebody else', async () => {
    const requests = answering(503, 200)
    const stubborn: Policy = {
      async execute(operation, options) {
        return await Promise.resolve(operation(options as never)).catch(() => operation(options as never))
      },
    }

    await resilientFetch(pipeline(timeout(1_000), quick(), timeout(500)))(URL, { method: 'POST' })
    const response = await resilientFetch(stubborn)(URL, { method: 'POST' })

    expect(await response.text()).toBe('answer 2')
    expect(requests).toHaveLength(2)
  })

  const keyed = { method: 'POST', body: 'x', headers: { 'Idempotency-Key': '1' } }
  it.each<[string, string | Request, RequestInit | undefined]>([
    ['init', URL, keyed],
    ['a Request', new Request(URL, keyed), undefined],
  ])('repeats a POST with an Idempotency-Key in %s, body and all', async (_, input, init) => {
    const requests = answering(503, 503, 200)

    const response = await resilientFetch(quick())(input, init)

    expect(response.status).toBe(200)
    expect(requests.map(({ body }) => body)).toEqual(['x', 'x', 'x'])
  })

  it.each([
    ['a string', () => 'x'],
    ['bytes', () => new TextEncoder().encode('x')],
    ['a Blob', () => new Blob(['x'])],
  ])('replays %s', async (_, body) => {
    const requests = answering(503, 200)

    await resilientFetch(quick())(URL, { method: 'PUT', body: body() })

    expect(requests.map((sent) => sent.body)).toEqual(['x', 'x'])
  })

  it('sends a stream once', async () => {
    const requests = answering(503, 200)
    const init: RequestInit = { method: 'PUT', body: new Blob(['x']).stream(), duplex: 'half' }

    expect((await resilientFetch(quick())(URL, init)).status).toBe(503)
    expect(requests.map(({ body }) => body)).toEqual(['x'])
  })

  it('lets init go before the request', async () => {
    const requests = answering(503, 200)

    await resilientFetch(quick())(new Request(URL), { method: 'POST' })

    expect(requests).toHaveLength(1)
  })
})

describe('resilientFetch: aborts', () => {
  it("rejects with the caller's reason, from init or from the request", async () => {
    network.use(http.get(URL, () => delay('infinite')))
    const send = resilientFetch(pipeline(quick(), timeout(10_000)))
    const caller = new AbortController()
    const calls = [send(URL, { signal: caller.signal }), send(new Request(URL, { signal: caller.signal }))]
    const settled = Promise.allSettled(calls)

    const reason = new Error('enough')
    setTimeout(() => caller.abort(reason), 20)

    expect(await settled).toEqual([
      { status: 'rejected', reason },
      { status: 'rejected', reason },
    ])
  })

  it('times out an attempt that hangs, and repeats it', async () => {
    network.use(
      http.get(URL, () => delay('infinite'), { once: true }),
      http.get(URL, () => HttpResponse.text('done')),
    )

    const response = await resilientFetch(pipeline(quick(), timeout(50)))(URL)

    expect(await response.text()).toBe('done')
  })
})

describe('resilientFetch: options', () => {
  it.each([[{ retryOn: 503 }], [{ retryOn: ['503'] }], [{ retryOn: [99] }], [{ fetch: {} }]])(
    'refuse %o',
    (options) => {
      expect(() => resilientFetch(retry(), options as never)).toThrow(TypeError)
    },
  )

  it('refuse a policy that is none', () => {
    expect(() => resilientFetch({} as never)).toThrow(/policy must be a policy/)
  })

  it('take an empty retryOn for a value', async () => {
    const requests = answering(503)

    await resilientFetch(quick(), { retryOn: [] })(URL)

    expect(requests).toHaveLength(1)
  })
})
