import type { IncomingMessage, ServerResponse } from 'node:http'
import { peerAddress } from './address.js'
import { contextOf, type RequestContext, whenOver } from './context.js'
import { checkOption } from './internal/checks.js'
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

/** A function that gets each entry, or a stream that gets a line of JSON for each; lines are collected for up to 20 ms. */
export type AccessLog = ((entry: AccessLogEntry) => void) | LineStream

/** What is used of a Writable. */
export interface LineStream {
  write(text: string): unknown
  readonly writableLength?: number | undefined
}

export interface RequestLogOptions {
  /** Default: standard output. */
  readonly log?: AccessLog | undefined
}

/** Writes one entry per request, when its response has left or its client has. */
export function requestLog({ log = process.stdout }: RequestLogOptions = {}): Middleware {
  checkOption('requestLog', 'log', log, checkLog)
  const logWhenOver = createLogger(log)

  return function logRequest(req, res, next) {
    whenOver(req, res, logWhenOver)
    next()
  }
}

/** What is wrong with a log, or nothing. */
export function checkLog(log: unknown): string | undefined {
  const writes = typeof (log as { write?: unknown } | null)?.write === 'function'

  return typeof log === 'function' || writes ? undefined : 'a function or a stream'
}

type LogWhenOver = (req: IncomingMessage, res: ServerResponse, context: RequestContext) => void

export function createLogger(log: AccessLog): LogWhenOver {
  const write = typeof log === 'function' ? log : lineWriter(log)

  return (req, res, context) => {
    try {
      write(describe(req, res, context))
    } catch (error) {
      process.emitWarning(error instanceof Error ? error : new Error(String(error)))
    }
  }
}

function describe(req: IncomingMessage, res: ServerResponse, context: RequestContext): AccessLogEntry {
  const { route, address, requestId, identity, upstream, attempts, error } = context
  const cause = error?.cause instanceof Error ? error.cause.message : undefined

  return {
    time: new Date(context.arrivedAt).toISOString(),
    method: req.method ?? '',
    path: pathOf(originalUrl(req)),
    route,
    status: statusOf(res),
    duration: performance.now() - context.arrived,
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

  const { switched, error } = contextOf(res.req)
  if (switched) return 101

  return error?.status ?? 499
}

function pathOf(url: string): string {
  const mark = url.indexOf('?')

  return mark === -1 ? url : url.slice(0, mark)
}

/** What a stream that takes nothing may hold of us, in its own count of bytes; beyond it entries are dropped, not kept. */
const MOST_HELD = 16_777_216

/** A write costs far more than the lines it carries, so they wait for each other: so long (ms), or for so many characters. */
const LONGEST_WAIT = 20
const ENOUGH = 65_536

function lineWriter(stream: LineStream): (entry: AccessLogEntry) => void {
  let lines = ''
  let dropped = 0
  let timer: NodeJS.Timeout | undefined

  function flush(): void {
    clearTimeout(timer)
    timer = undefined
    const text = lines
    lines = ''
    stream.write(text)
  }

  return (entry) => {
    if ((stream.writableLength ?? 0) > MOST_HELD) {
      dropped += 1
      return
    }
    if (dropped > 0) {
      process.emitWarning(`the access log did not keep up: ${dropped} entries were dropped`)
      dropped = 0
    }
    lines += `${JSON.stringify(entry)}\n`
    if (lines.length >= ENOUGH) flush()
    else timer ??= setTimeout(flush, LONGEST_WAIT)
  }
}
