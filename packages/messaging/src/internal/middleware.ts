import type { Schemas } from '../catalogue.js'
import type { AnyMessage, BusMiddleware, Context } from '../message.js'

export type Handle = (message: AnyMessage, context: Context<Schemas>) => unknown

/** The handler inside the middleware, the first one outermost. */
export function compose(middleware: readonly BusMiddleware[], handler: Handle): Handle {
  return middleware.reduceRight<Handle>(
    (inner, outer) => (message, context) => {
      let called = false
      const next = async (): Promise<void> => {
        if (called) throw new TypeError('use: a middleware called next() twice')
        called = true
        await inner(message, context)
      }
      return outer(message, context, next)
    },
    handler,
  )
}
