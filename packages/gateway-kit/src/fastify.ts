import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Middleware } from './middleware.js'

/** A hook of Fastify's, for `onRequest`. */
export type FastifyHook = (
  request: { readonly raw: IncomingMessage },
  reply: { readonly raw: ServerResponse },
  done: (error?: Error) => void,
) => void

/**
 * A middleware as a hook of Fastify's for `onRequest`, where the body has not been read yet. What the middleware answers
 * is the answer; what it leaves goes on. Headers that it has set go out with Fastify's own.
 *
 * @example
 * app.addHook('onRequest', toFastify(rateLimit({ limiter: gcra({ limit: 100, window: 60_000 }) })))
 * app.register(async (api) => {
 *   api.addHook('onRequest', toFastify(gateway.handler))
 *   api.all('/api/*', () => {})
 * })
 */
export function toFastify(middleware: Middleware): FastifyHook {
  if (typeof middleware !== 'function') {
    throw new TypeError(`toFastify: middleware must be a function, got ${typeof middleware}`)
  }

  return function fastifyHook({ raw: req }, { raw: res }, done) {
    middleware(req, res, (error) => {
      if (error === undefined || error === null) done()
      else done(error instanceof Error ? error : new Error(String(error)))
    })
  }
}
