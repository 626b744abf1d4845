import { Hono } from 'hono'
import { describe, expect, it } from 'vitest'
import { z } from 'zod'
import { HttpProblem, limitOf, notFound, readJson, unavailable } from './problem.js'

describe('HttpProblem', () => {
  it('answers as RFC 9457 says', async () => {
    const problem = new HttpProblem({
      status: 409,
      title: 'Conflict',
      detail: '1 left',
      headers: { 'retry-after': '1' },
      more: { left: 1 },
    })

    const response = problem.toResponse()

    expect(response.status).toBe(409)
    expect(response.headers.get('content-type')).toBe('application/problem+json')
    expect(response.headers.get('retry-after')).toBe('1')
    expect(await response.json()).toEqual({
      type: 'about:blank',
      title: 'Conflict',
      status: 409,
      detail: '1 left',
      left: 1,
    })
  })

  it('says 404 for what is not there', () => {
    expect(notFound('such thing').toResponse().status).toBe(404)
  })

  it.each([
    [1, '1'],
    [1_000, '1'],
    [1_001, '2'],
    [30_000, '30'],
  ])('rounds %i ms up to whole seconds of Retry-After', (ms, seconds) => {
    const response = unavailable('payment-service', ms).toResponse()

    expect(response.status).toBe(503)
    expect(response.headers.get('retry-after')).toBe(seconds)
  })
})

describe('readJson', () => {
  const app = new Hono()
  app.post('/', async (context) => {
    const { amount } = await readJson(context, z.object({ amount: z.int() }))
    return context.json({ amount })
  })
  app.onError((error) => (error as HttpProblem).toResponse())

  const post = async (body: string, type = 'application/json'): Promise<Response> =>
    app.request('/', { method: 'POST', body, headers: { 'content-type': type } })

  it('gives what the schema understands', async () => {
    const response = await post('{"amount": 3, "more": true}', 'application/json; charset=utf-8')

    expect(await response.json()).toEqual({ amount: 3 })
  })

  it.each([
    ['another media type', '{"amount":3}', 'text/plain', 415],
    ['a type that only begins like JSON', '{"amount":3}', 'application/json-patch', 415],
    ['text that is no JSON', '{"amount":', 'application/json', 400],
    ['no text at all', '', 'application/json', 400],
    ['JSON of another shape', '{"amount":"three"}', 'application/json', 422],
    ['JSON null', 'null', 'application/json', 422],
  ])('refuses %s', async (_, body, type, status) => {
    const response = await post(body, type)

    expect(response.status).toBe(status)
    expect(await response.json()).toMatchObject({ type: 'about:blank', status })
  })

  it('refuses bytes that are no UTF-8, and what was compressed', async () => {
    const headers = { 'content-type': 'application/json' }
    const broken = Buffer.from('{"amount":3,"name":"\xff"}', 'latin1')

    const notText = await app.request('/', { method: 'POST', body: broken, headers })
    const zipped = await app.request('/', {
      method: 'POST',
      body: '{"amount":3}',
      headers: { ...headers, 'content-encoding': 'gzip' },
    })

    expect([notText.status, zipped.status]).toEqual([400, 415])
  })

  it('names the field that is wrong', async () => {
    const response = await post('{"amount":"three"}')

    expect(await response.json()).toMatchObject({
      detail: expect.stringMatching(/^amount: /),
      issues: [{ path: 'amount', message: expect.any(String) }],
    })
  })
})

describe('limitOf', () => {
  const app = new Hono()
  app.get('/', (context) => context.json(limitOf(context, { usual: 50, most: 200 })))
  app.onError((error) => (error as HttpProblem).toResponse())

  it.each([
    ['', 50],
    ['?limit=', 50],
    ['?limit=7', 7],
    ['?limit=1e9', 200],
  ])('of /%s is %i', async (query, limit) => {
    expect(await (await app.request(`/${query}`)).json()).toBe(limit)
  })

  it.each(['0', '-1', '1.5', 'many', 'NaN'])('refuses %s', async (text) => {
    expect((await app.request(`/?limit=${text}`)).status).toBe(422)
  })
})
