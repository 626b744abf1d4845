import { request as ask, createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { Duplex, Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import type { ReadableStream } from 'node:stream/web'
import type { Middleware } from './middleware.js'
import { problem } from './problem.js'

/** What comes after a middleware, in the shape of the Fetch standard. */
export type FetchNext = (request: Request) => Response | Promise<Response>

/** A middleware in the shape of the Fetch standard. Without `next`, what the middleware leaves is a 404. */
export type FetchMiddleware = (request: Request, next?: FetchNext, info?: FetchInfo) => Promise<Response>

export interface FetchInfo {
  /** Where the request came from; limits and logs go by it. Default `0.0.0.0`: a `Request` does not say. */
  readonly address?: string | undefined
}

/**
 * A middleware for hosts that hand out a `Request` and want a `Response`, such as Hono or h3. It runs on a real HTTP
 * connection within the process, so that everything is as on a server: framing, streaming both ways, what happens when
 * somebody leaves. That costs; on a server of Node's own the middleware itself is faster.
 *
 * The request that `next` gets has the headers as the middleware left them, and `authOf` knows it.
 *
 * @example
 * const limit = toFetch(rateLimit({ limiter: gcra({ limit: 100, window: 60_000 }) }))
 * app.use(async (c, next) => {
 *   c.res = await limit(c.req.raw, async (request) => {
 *     c.req.raw = request
 *     await next()
 *     return c.res
 *   })
 * })
 */
export function toFetch(middleware: Middleware): FetchMiddleware {
  if (typeof middleware !== 'function')
    throw new TypeError(`toFetch: middleware must be a function, got ${typeof middleware}`)

  const calls = new WeakMap<object, { readonly request: Request; readonly next: FetchNext | undefined }>()
  // It never listens: each request brings its connection along.
  const server = createServer((req, res) => {
    const { request, next } = calls.get(req.socket)!
    middleware(req, res, (error) => {
      if (error !== undefined) problem(res, 500, { detail: 'The request could not be handled.' })
      else if (next === undefined) problem(res, 404, { detail: 'Nothing is served under this path.' })
      else void handOn(request, req, res, next)
    })
  })

  return function fetchMiddleware(request, next, { address = '0.0.0.0' } = {}) {
    const url = new URL(request.url)
    const [ours, theirs] = connected(address, url.protocol === 'https:')
    calls.set(theirs, { request, next })
    server.emit('connection', theirs)

    return exchange(request, url, ours)
  }
}

/** Sends the request into the connection, and makes a Response of what comes out of it. */
function exchange(request: Request, { pathname, search, host }: URL, connection: Duplex): Promise<Response> {
  if (request.signal.aborted) return Promise.reject(request.signal.reason as Error)

  const headers: Record<string, string> = { host }
  for (const [name, value] of request.headers) headers[name] = value

  return new Promise((resolve, reject) => {
    const outgoing = ask({
      createConnection: () => connection as never,
      method: request.method,
      path: pathname + search,
      headers,
    })
    outgoing.on('error', reject)
    outgoing.on('response', (incoming) => resolve(toResponse(incoming)))
    request.signal.addEventListener('abort', () => outgoing.destroy(request.signal.reason as Error), { once: true })
    if (request.body === null) outgoing.end()
    // When the body breaks off, so does the request; when the answer came early, the rest is not needed.
    else pipeline(Readable.fromWeb(request.body as ReadableStream), outgoing).catch(() => outgoing.destroy())
  })
}

const ofTheConnection = new Set(['connection', 'keep-alive', 'transfer-encoding'])

function toResponse(incoming: IncomingMessage): Response {
  const headers = new Headers()
  for (let index = 0; index < incoming.rawHeaders.length; index += 2) {
    const name = incoming.rawHeaders[index]!
    if (!ofTheConnection.has(name.toLowerCase())) headers.append(name, incoming.rawHeaders[index + 1]!)
  }
  // RFC 9110, 15: what is above the classes there are is for whoever hears it a failure of the server. No Response has it.
  const status = incoming.statusCode! > 599 ? 502 : incoming.statusCode!
  const bodyless = status === 204 || status === 205 || status === 304
  if (bodyless) incoming.resume()

  return new Response(bodyless ? null : (Readable.toWeb(incoming) as globalThis.ReadableStream), { status, headers })
}

// Registered: what the parts of the gateway know about a request.
const context: unique symbol = Symbol.for('@msx/gateway-kit.context') as never

/** Asks what is next, and answers with it through the response, so that what was set there goes along. */
async function handOn(original: Request, req: IncomingMessage, res: ServerResponse, next: FetchNext): Promise<void> {
  try {
    const headers = new Headers()
    for (const [name, value] of Object.entries(req.headers)) {
      for (const one of [value].flat()) if (one !== undefined) headers.append(name, one)
    }
    const body = original.body === null ? null : (Readable.toWeb(req) as globalThis.ReadableStream)
    const init = { method: original.method, headers, body, duplex: 'half', signal: original.signal }
    const request = Object.assign(new Request(original.url, init as RequestInit), {
      [context]: (req as { [context]?: unknown })[context],
    })
    const response = await next(request)

    res.statusCode = response.status
    for (const [name, value] of response.headers) res.appendHeader(name, value)
    if (response.body === null) res.end()
    else await pipeline(Readable.fromWeb(response.body as ReadableStream), res)
  } catch (error) {
    if (res.headersSent) res.destroy(error as Error)
    else problem(res, 500, { detail: 'The request could not be handled.' })
  }
}

/** Two ends of a connection that goes through no network. */
function connected(remoteAddress: string, encrypted: boolean): readonly [Duplex, Duplex] {
  const ours = new End()
  const theirs = Object.assign(new End(), { remoteAddress, encrypted })
  ours.peer = theirs
  theirs.peer = ours

  return [ours, theirs]
}

/** What one writes the other reads, no faster. */
class End extends Duplex {
  peer: End | undefined
  #taken: (() => void) | undefined

  override _read(): void {
    const taken = this.#taken
    this.#taken = undefined
    taken?.()
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    const peer = this.peer!
    if (peer.destroyed || peer.push(chunk)) done()
    else peer.#taken = done
  }

  override _final(done: () => void): void {
    this.peer!.push(null)
    done()
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    const { peer } = this
    // The other side hears it as of a socket that was closed.
    process.nextTick(() => peer?.destroy())
    done(error)
  }

  // What Node asks of a socket.
  setTimeout(): this {
    return this
  }

  setNoDelay(): this {
    return this
  }

  setKeepAlive(): this {
    return this
  }
}
