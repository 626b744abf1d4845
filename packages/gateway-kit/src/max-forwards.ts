import type { IncomingMessage, ServerResponse } from 'node:http'
import { setTold } from './context.js'
import { endResponse, leavesMuchUnread } from './ending.js'
import { closeAfter } from './http2.js'

/** What is spoken here, where no route says less. */
export const methodsTaken = 'DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT'

/**
 * How many more times a request may be forwarded (RFC 9110, 7.6.2); undefined where nothing limits it. Of the two
 * methods that this is for, TRACE never gets here.
 */
export function forwardsLeft(req: IncomingMessage): number | undefined {
  if (req.method !== 'OPTIONS') return undefined

  const value = req.headers['max-forwards']
  return typeof value === 'string' && /^\d+$/.test(value) ? Math.min(Number(value), Number.MAX_SAFE_INTEGER) : undefined
}

/** The answer of who is not to forward a request: its own options. */
export function answerOptions(res: ServerResponse, methods: readonly string[]): void {
  setTold(res)
  if (leavesMuchUnread(res.req)) closeAfter(res)
  res.statusCode = 204
  res.setHeader('allow', methods.length === 0 ? methodsTaken : methods.join(', '))
  endResponse(res)
}
