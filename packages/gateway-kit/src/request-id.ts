import { randomUUID } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { contextOf, tell } from './context.js'
import type { Middleware } from './middleware.js'

export interface RequestIdOptions {
  /** Whether an id that comes with the request is kept. Default `false`. */
  readonly trustInbound?: boolean | undefined
}

/** Gives every request an id: in the response and towards the upstream as `X-Request-Id`, in logs and in problems. */
export function requestId({ trustInbound = false }: RequestIdOptions = {}): Middleware {
  return function identifyRequest(req, res, next) {
    assignRequestId(req, res, trustInbound)
    next()
  }
}

/** What goes into logs and headers unescaped must be harmless there. */
const harmless = /^[\w.:+/=-]{1,128}$/

export function assignRequestId(req: IncomingMessage, res: ServerResponse, trustInbound: boolean): void {
  const context = contextOf(req)
  if (context.requestId !== undefined) {
    if (!res.headersSent) res.setHeader('x-request-id', context.requestId)
    return
  }

  const inbound = trustInbound ? req.headers['x-request-id'] : undefined
  context.requestId = typeof inbound === 'string' && harmless.test(inbound) ? inbound : randomUUID()
  if (context.told !== undefined) tell(res, 'x-request-id', context.requestId)
  else if (!res.headersSent) res.setHeader('x-request-id', context.requestId)
}
