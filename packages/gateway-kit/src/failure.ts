import type { IncomingMessage, ServerResponse } from 'node:http'
import { contextOf } from './context.js'
import type { ProxyError } from './errors.js'
import { cut } from './http2.js'
import { problem } from './problem.js'

/** Answers what could not be forwarded, or cuts the response if it has begun, and leaves the reason for the log. */
export function answerFailure(
  res: ServerResponse,
  error: ProxyError,
  onError: ((error: ProxyError, req: IncomingMessage) => void) | undefined,
): void {
  contextOf(res.req).error = error
  try {
    onError?.(error, res.req)
  } catch (thrown) {
    process.emitWarning(thrown instanceof Error ? thrown : new Error(String(thrown)))
  }

  // An answer to nobody would look like one in the log.
  if (res.headersSent || error.kind === 'client-gone') {
    cut(res)
    return
  }
  if (error.retryAfter !== undefined && Number.isFinite(error.retryAfter)) {
    res.setHeader('retry-after', Math.max(1, Math.ceil(error.retryAfter / 1_000)))
  }
  problem(res, error.status, { detail: error.message, code: error.code })
}
