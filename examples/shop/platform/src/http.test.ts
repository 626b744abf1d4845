import { get } from 'node:http'
import { afterEach, describe, expect, it } from 'vitest'
import { z } from 'zod'
import { type App, type AppOptions, createApp, type Listening, listen } from './http.js'
import { createLog } from './log.js'
import { HttpProblem, readJson } from './problem.js'
import { rawAnswer } from './testing.js'

const servers: Listening[] = []

afterEach(async () => {
  await Promise.all(servers.splice(0).map((server) => server.close(0)))
})

const create = (options: Partial<AppOptions> = {}): App =>
  createApp({ name: 'test', log: createLog('test', 'silent'), ready: () => true, ...options })

async function serve(app: App): Promise<Listening> {
  const server = await listen(app)
  servers.push(server)
  return server
}

describe('createApp', () => {
  it('is alive as soon as it answers', async () => {
    const response = await create({ ready: () => false }).request('/health/live')

    expect(response.status).toBe(200)
    expect(await response.json()).toEqual({ status: 'ok', service: 'test' })
  })

  it.each([
    ['ready', () => true, 200],
    ['not ready', () => false, 503],
    ['unable to tell', () => Promise.reject(new Error('no database')), 503],
    [
      'unable to tell, thrown at once',
      () => {
        throw new Error('no database')
      },
      503,
    ],
  ])('says over HTTP that it is %s', async (_, ready, status) => {
    const response = await create({ ready }).request('/health/ready')

    expect(response.status).toBe(status)
  })

  it('answers a thrown problem with the problem', async () => {
    const app = create()
    app.get('/gone', () => {
      throw new HttpProblem({ status: 410, title: 'Gone', detail: 'it was here' })
    })

    const response = await app.request('/gone')

    expect(response.status).toBe(410)
    expect(await response.json()).toMatchObject({ title: 'Gone', detail: 'it was here' })
  })

  it('tells nothing of an unexpected error', async () => {
    const app = create()
    app.get('/broken', () => {
      throw new Error('password is sesame')
    })

    const response = await app.request('/broken')

    expect(response.status).toBe(500)
    expect(response.headers.get('content-type')).toBe('application/problem+json')
    expect(await response.text()).not.toContain('sesame')
  })

  it('answers an unknown path with a problem', async () => {
    const response = await create().request('/nowhere')

    expect(response.status).toBe(404)
    expect(response.headers.get('content-type')).toBe('application/problem+json')
  })

  it('calls text that PostgreSQL cannot store the sender’s mistake', async () => {
    const app = create()
    app.get('/text', () => {
      throw Object.assign(new Error('invalid byte sequence for encoding "UTF8": 0x00'), { code: '22021' })
    })

    const response = await app.request('/text')

    expect(response.status).toBe(422)
  })

  it('counts requests by the pattern of the route, not by the path', async () => {
    const app = create()
    app.get('/things/:id', (context) => context.text(context.req.param('id')))

    await app.request('/things/1')
    await app.request('/things/2')
    await app.request('/nowhere/3')

    const metrics = await (await app.request('/metrics')).text()
    expect(metrics).toContain('http_request_duration_seconds_count{method="GET",route="/things/:id",status="200"} 2')
    expect(metrics).toContain('http_request_duration_seconds_count{method="GET",route="none",status="404"} 1')
    expect(metrics).not.toContain('/things/1')
  })

  it('counts a request that failed', async () => {
    const app = create()
    app.get('/broken', () => {
      throw new Error('broken')
    })

    await app.request('/broken')

    const metrics = await (await app.request('/metrics')).text()
    expect(metrics).toContain('{method="GET",route="/broken",status="500"} 1')
  })
})

describe('listen', () => {
  it('answers on loopback, on a free port', async () => {
    const server = await serve(create())

    expect(server.url).toBe(`http://127.0.0.1:${server.port}`)
    expect((await fetch(`${server.url}/health/live`)).status).toBe(200)
  })

  it('refuses a body that is too large, also one that does not say its length', async () => {
    const app = create()
    app.post('/', async (context) => context.json(await readJson(context, z.unknown())))
    const { url } = await serve(app)
    const large = JSON.stringify('x'.repeat(101 * 1024))
    const headers = { 'content-type': 'application/json' }

    const declared = await fetch(url, { method: 'POST', headers, body: large })
    const streamed = await fetch(url, {
      method: 'POST',
      headers,
      body: new Blob([large]).stream(),
      duplex: 'half',
    } as RequestInit)

    expect(declared.status).toBe(413)
    expect(streamed.status).toBe(413)
    expect(streamed.headers.get('content-type')).toBe('application/problem+json')
  })

  it('answers what is no request with a problem', async () => {
    const { url } = await serve(create())

    const answer = await rawAnswer(url, 'hello\r\n\r\n')

    expect(answer).toMatch(/^HTTP\/1\.1 400 Bad Request\r\n/)
    expect(answer).toContain('application/problem+json')
  })

  it('rejects when the port is taken', async () => {
    const { port } = await serve(create())

    await expect(listen(create(), { port })).rejects.toMatchObject({ code: 'EADDRINUSE' })
  })

  it('lets a running request finish before it closes, and is closed right after', async () => {
    const app = create()
    const { entered, finish } = slowRoute(app)
    const server = await serve(app)
    const answer = fetch(`${server.url}/slow`)
    await entered

    const started = performance.now()
    const closed = server.close()
    finish()

    expect(await (await answer).text()).toBe('done')
    await closed
    expect(performance.now() - started).toBeLessThan(2_000)
    await expect(fetch(`${server.url}/health/live`)).rejects.toThrow()
  })

  it('cuts a request that does not finish in time', async () => {
    const app = create()
    const { entered } = slowRoute(app)
    const server = await serve(app)
    const cut = new Promise((resolve) => get(`${server.url}/slow`).once('error', resolve))
    await entered

    await server.close(10)

    expect(await cut).toMatchObject({ code: 'ECONNRESET' })
  })
})

/** A route `/slow` that tells when it was entered and answers when it is told to. */
function slowRoute(app: App): { readonly entered: Promise<void>; finish(): void } {
  let enter = (): void => {}
  let finish = (): void => {}
  const entered = new Promise<void>((resolve) => {
    enter = resolve
  })
  const finished = new Promise<void>((resolve) => {
    finish = resolve
  })
  app.get('/slow', async (context) => {
    enter()
    await finished
    return context.text('done')
  })

  return { entered, finish: () => finish() }
}
