import { createServer } from 'node:http'
import { getRequestListener } from '@hono/node-server'
import { trace } from '@opentelemetry/api'
import { Hono, type MiddlewareHandler } from 'hono'
import { bodyLimit } from 'hono/body-limit'
import { Histogram, Registry } from 'prom-client'
import type { Log } from './log.js'
import { refuseMalformed } from './malformed.js'
import { exposition } from './metrics.js'
import { HttpProblem, notFound } from './problem.js'
import type { Instruments } from './watch/instruments.js'
import { watchRequests } from './watch/requests.js'

export type App = Hono

export interface AppOptions {
  readonly name: string
  readonly log: Log
  /** Says whether the service can do its work now; a rejection or `false` answers /health/ready with 503. */
  readonly ready: () => boolean | Promise<boolean>
  /** The service's own registry, for metrics beside those of HTTP. */
  readonly registry?: Registry | undefined
}

const maxBody = 100 * 1024

/** Answers 413 to a body that is longer than any request of the shop, before the rest of it is read. */
export function limitBody(): MiddlewareHandler {
  return bodyLimit({
    maxSize: maxBody,
    onError: () =>
      new HttpProblem({
        status: 413,
        title: 'Content Too Large',
        detail: `a body may have at most ${maxBody} bytes`,
      }).toResponse(),
  })
}

/** An HTTP application with what every service has: health, metrics, problems for errors, a limit on bodies. */
export function createApp(options: AppOptions): App {
  const registry = options.registry ?? new Registry()
  const duration = new Histogram({
    name: 'http_request_duration_seconds',
    help: 'Time from request to answer, by route pattern',
    labelNames: ['method', 'route', 'status'],
    registers: [registry],
  })

  const app = new Hono()

  app.use(async (context, next) => {
    const started = performance.now()
    await next()
    const route = context.req.routePath === '*' || context.req.routePath === '/*' ? 'none' : context.req.routePath
    trace.getActiveSpan()?.updateName(`${context.req.method} ${route}`).setAttribute('http.route', route)
    duration.observe(
      { method: context.req.method, route, status: context.res.status },
      (performance.now() - started) / 1_000,
    )
  })
  app.use(limitBody())

  app.get('/health/live', (context) => context.json({ status: 'ok', service: options.name }))
  app.get('/health/ready', async (context) => {
    const ready = await Promise.resolve()
      .then(options.ready)
      .catch(() => false)
    return context.json({ status: ready ? 'ok' : 'unavailable', service: options.name }, ready ? 200 : 503)
  })
  app.get('/metrics', async () => {
    const { text, contentType } = await exposition(registry)
    return new Response(text, { headers: { 'content-type': contentType } })
  })

  app.notFound(() => notFound('such resource').toResponse())
  app.onError((error) => {
    if (error instanceof HttpProblem) return error.toResponse()
    if (isUnstorableText(error)) {
      return new HttpProblem({
        status: 422,
        title: 'Unprocessable Content',
        detail: 'the request holds text that cannot be stored, such as the character U+0000',
      }).toResponse()
    }

    options.log.error({ err: error }, 'request failed')
    return new HttpProblem({
      status: 500,
      title: 'Internal Server Error',
      detail: 'the service failed to answer',
    }).toResponse()
  })

  return app
}

/** PostgreSQL's `character_not_in_repertoire`: JSON and paths may carry a NUL, its text may not. */
function isUnstorableText(error: Error): boolean {
  return 'code' in error && error.code === '22021'
}

export interface Listening {
  readonly url: string
  readonly port: number
  /** Stops listening, lets running requests finish for `timeout` ms (default 5 000), then cuts them. */
  close(timeout?: number): Promise<void>
}

export interface ListenOptions {
  /** Default 0: a free one. */
  readonly port?: number | undefined
  /** Default `127.0.0.1`. */
  readonly host?: string | undefined
  /** Traces the requests and breaks those that are to be broken. */
  readonly instruments?: Pick<Instruments, 'faults' | 'spans'> | undefined
}

/** Serves an application on loopback, unless told otherwise. */
export async function listen(app: App, options: ListenOptions = {}): Promise<Listening> {
  const { port = 0, host = '127.0.0.1', instruments } = options
  const answer = getRequestListener(app.fetch)
  const watch = instruments && watchRequests(instruments)
  const server = createServer((req, res) => {
    if (watch === undefined) void answer(req, res)
    else watch(req, res, () => void answer(req, res))
  })
  refuseMalformed(server)
  let closing = false
  server.on('request', (_request, response) => {
    // A kept-alive connection that falls idle after `close` would hold the server open until the client lets go of it.
    response.once('finish', () => {
      if (closing) setImmediate(() => server.closeIdleConnections())
    })
  })

  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, host, () => {
      server.off('error', reject)
      resolve()
    })
  })
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('the server listens on no port')

  return {
    url: `http://${urlHost(host)}:${address.port}`,
    port: address.port,
    close: (timeout = 5_000) =>
      new Promise<void>((resolve) => {
        closing = true
        const cut = setTimeout(() => server.closeAllConnections(), timeout)
        server.close(() => {
          clearTimeout(cut)
          resolve()
        })
        server.closeIdleConnections()
      }),
  }
}

/** Where a server that listens on all addresses is called by its own machine. */
export function urlHost(host: string): string {
  if (host === '0.0.0.0' || host === '::') return '127.0.0.1'
  return host.includes(':') ? `[${host}]` : host
}
