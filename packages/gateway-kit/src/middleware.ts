import type { IncomingMessage, ServerResponse } from 'node:http'

/** Hands over to what comes next; an argument is an error. */
export type Next = (error?: unknown) => void

/** The shape every part of this package has: it fits Express 4 and 5, Connect, and a plain `http.createServer`. */
export type Middleware = (req: IncomingMessage, res: ServerResponse, next: Next) => void

/**
 * Runs middleware one after the other, as one.
 *
 * An error given to `next`, or thrown, skips the rest and reaches the `next` of the whole.
 *
 * @example
 * createServer((req, res) => compose(requestId(), requestLog(), gateway.handler)(req, res, () => problem(res, 404)))
 */
export function compose(...middleware: readonly Middleware[]): Middleware {
  for (const [index, one] of middleware.entries()) {
    if (typeof one !== 'function')
      throw new TypeError(`compose: argument ${index} must be a function, got ${typeof one}`)
  }

  return function composed(req, res, next) {
    run(0)

    function run(index: number): void {
      const one = middleware[index]
      if (one === undefined) {
        next()
        return
      }

      let called = false
      const after: Next = (error) => {
        if (called) return

        called = true
        if (error === undefined || error === null) run(index + 1)
        else next(error)
      }

      try {
        one(req, res, after)
      } catch (error) {
        after(error ?? new Error('a middleware threw nothing'))
      }
    }
  }
}
