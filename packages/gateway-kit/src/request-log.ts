import type { IncomingMessage, ServerResponse } from 'node:http'
import { peerAddress } from './address.js'
import { systemClock } from './clock.js'
import { contextOf } from './context.js'
import { aFunction, checkOption } from './internal/checks.js'
import type { Middleware } from './middleware.js'
import { originalUrl } from './target.js'

/** One request, after it is over. */
export interface AccessLogEntry {
  /** When it arrived, as an ISO date. */
  readonly time: string
  readonly method: string
  /** Without the query: that is where tokens are. */
  readonly path: string
  readonly route: string | undefined
  /** 499 when the client went away before it had its answer. */
  readonly status: number
  /** Milliseconds until the last byte had left. */
  readonly duration: number
  readonly address: string
  readonly requestId: string | undefined
  readonly user: string | undefined
  readonly upstream: string | undefined
  readonly attempts: number
  /** The code of what went wrong in the gateway, and the words of its cause. */
  readonly error?: { readonly code: string; readonly cause?: string | undefined } | undefined
}

export interface RequestLogOptions {
  /** Default: one line of JSON on standard output. */
  log?(entry: AccessLogEntry): void
}

/** Writes one entry per request, when its response has left or its client has. */
export function requestLog({ log = writeLine }: RequestLogOptions = {}): Middleware {
  checkOption('requestLog', 'log', log, aFunction)

  return function logRequest(req, res, next) {
    logWhenOver(req, res, log)
    next()
  }
}

export function logWhenOver(req: IncomingMessage, res: ServerResponse, log: (entry: AccessLogEntry) => void): void {
  const time = new Date().toISOString()
  const start = systemClock.now()

  res.once('close', () => {
    try {
      log(describe(req, res, time, systemClock.now() - start))
    } catch (error) {
      process.emitWarning(error instanceof Error ? error : new Error(String(error)))
    }
  })
}

function describe(req: IncomingMessage, res: ServerResponse, time: string, duration: number): AccessLogEntry {
  const { route, address, requestId, identity, upstream, attempts = 0, error } = contextOf(req)
  const cause = error?.cause instanceof Error ? error.cause.message : undefined

  return {
    time,
    method: req.method ?? '',
    path: originalUrl(req).split('?', 1)[0]!,
    route,
    status: statusOf(res),
    duration,
    address: address ?? peerAddress(req),
    requestId,
    user: identity?.claims.sub,
    upstream,
    attempts,
    ...(error !== undefined && { error: { code: error.code, cause } }),
  }
}

/** The status the client has seen; what went wrong where the response was cut; 499 where the client did not wait. */
export function statusOf(res: ServerResponse): number {
  if (res.writableFinished) return res.statusCode

  return contextOf(res.req).error?.status ?? 499
}

function writeLine(entry: AccessLogEntry): void {
  process.stdout.write(`${JSON.stringify(entry)}\n`)
}
