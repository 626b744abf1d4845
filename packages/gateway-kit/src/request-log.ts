import type { IncomingMessage, ServerResponse } from 'node:http'
import { peerAddress } from './address.js'
import { contextOf, durationOf, type RequestContext, whenOver } from './context.js'
import { isFinished, isHttp2 } from './http2.js'
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
  write(text: string, encoding: 'latin1' | 'utf8'): unknown
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
  const isoTime = createIsoTime()

  return (req, res, context) => {
    try {
      write(describe(req, res, context, isoTime(context.arrivedAt)))
    } catch (error) {
      process.emitWarning(error instanceof Error ? error : new Error(String(error)))
    }
  }
}

function describe(req: IncomingMessage, res: ServerResponse, context: RequestContext, time: string): AccessLogEntry {
  const { route, address, requestId, identity, upstream, attempts, error } = context
  // One shape for all, whatever became of them: who writes a million of them does so for one shape only.
  return {
    time,
    method: req.method ?? '',
    path: pathOf(originalUrl(req)),
    route,
    status: statusOf(res),
    // Beyond a microsecond there is only noise, which takes long to write.
    duration: Math.round(durationOf(context) * 1_000) / 1_000,
    address: address ?? peerAddress(req),
    requestId,
    user: identity?.claims.sub,
    upstream,
    attempts,
    error:
      error === undefined
        ? undefined
        : { code: error.code, cause: error.cause instanceof Error ? error.cause.message : undefined },
  }
}

/** ISO dates. Many requests come in the same second, and of its date only the milliseconds are written anew. */
function createIsoTime(): (ms: number) => string {
  let second = Number.NaN
  let date = ''

  return (ms) => {
    const rest = ms % 1_000
    if (ms - rest !== second) {
      second = ms - rest
      date = new Date(second).toISOString().slice(0, -4)
    }
    return `${date}${rest < 10 ? '00' : rest < 100 ? '0' : ''}${rest}Z`
  }
}

/** The status the client has seen; what went wrong where the response was cut; 499 where the client did not wait. */
export function statusOf(res: ServerResponse): number {
  if (isFinished(res)) return res.statusCode

  const { switched, error } = contextOf(res.req)
  if (switched) return isHttp2(res.req) ? 200 : 101

  return error?.status ?? 499
}

function pathOf(url: string): string {
  const mark = url.indexOf('?')

  return mark === -1 ? url : url.slice(0, mark)
}

/** What a stream that takes nothing may hold of us, in its own count of bytes; beyond it entries are dropped, not kept. */
const MOST_HELD = 16_777_216

/** A write costs far more than the lines it carries, so they wait for each other: so long (ms), or for so many bytes. */
const LONGEST_WAIT = 20
const ENOUGH = 65_536

function lineWriter(stream: LineStream): (entry: AccessLogEntry) => void {
  const format = new LineFormat()
  const lines = new Lines()
  let dropped = 0
  let timer: NodeJS.Timeout | undefined

  function flush(): void {
    clearTimeout(timer)
    timer = undefined
    const encoding = lines.encoding
    stream.write(lines.take(), encoding)
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
    const line = format.lineOf(entry)
    if (lines.add(line, format.ascii)) timer ??= setTimeout(flush, LONGEST_WAIT)
    else {
      if (timer !== undefined) flush()
      // One that is longer than all that are collected goes by itself.
      if (lines.add(line, format.ascii)) timer = setTimeout(flush, LONGEST_WAIT)
      else stream.write(line, 'utf8')
    }
  }
}

/**
 * Lines that wait. They are copied at once, while the pieces they are made of are still at hand: pieces of many lines that
 * are put together at the end are gathered from all over the heap.
 */
class Lines {
  readonly #bytes = Buffer.allocUnsafeSlow(ENOUGH)
  #length = 0
  #ascii = true

  /** How to write what is there: ASCII is the same in both, and copied in one of them. */
  get encoding(): 'latin1' | 'utf8' {
    return this.#ascii ? 'latin1' : 'utf8'
  }

  /** False: there is no room for it. */
  add(line: string, ascii: boolean): boolean {
    // A character takes three bytes at most; one of four is two in a string.
    if (this.#length + (ascii ? line.length : line.length * 3) > ENOUGH) return false

    this.#length += this.#bytes.write(line, this.#length, ascii ? 'latin1' : 'utf8')
    if (!ascii) this.#ascii = false
    return true
  }

  take(): string {
    const text = this.#bytes.toString(this.encoding, 0, this.#length)
    this.#length = 0
    this.#ascii = true

    return text
  }
}

/** What JSON writes with an escape, or what is not ASCII and left to it. */
const needsCare = /[^\x20\x21\x23-\x5b\x5d-\x7e]/

/**
 * Entries as `JSON.stringify` would write them, in a fraction of its time: the members and their order are known, and
 * of most of them the one that comes is the one that came last.
 */
class LineFormat {
  readonly #method = new Member('method')
  readonly #route = new Member('route')
  readonly #address = new Member('address')
  readonly #user = new Member('user')
  readonly #upstream = new Member('upstream')
  /** Whether the line that was made last has ASCII only. */
  ascii = true

  lineOf(entry: AccessLogEntry): string {
    this.ascii = true
    const { time, method, path, route, status, duration, address, requestId, user, upstream, attempts, error } = entry
    const asked = `"time":"${time}"${this.#known(this.#method, method)},"path":${this.#quoted(path)}`
    const answered = `${this.#known(this.#route, route)},"status":${status},"duration":${duration}`
    const id = requestId === undefined ? '' : `,"requestId":${this.#quoted(requestId)}`
    const who = `${this.#known(this.#address, address)}${id}${this.#known(this.#user, user)}`
    const where = `${this.#known(this.#upstream, upstream)},"attempts":${attempts}`

    return `{${asked}${answered}${who}${where}${error === undefined ? '' : `,"error":${this.#quoted(error)}`}}\n`
  }

  #known(member: Member, value: string | undefined): string {
    if (value === undefined) return ''
    // Whoever verifies may know users by objects, which may say something else by the next time.
    if (value !== member.value || typeof value !== 'string') {
      member.value = value
      member.text = `,"${member.name}":${this.#quoted(value)}`
      member.ascii = !/[\u0080-\uffff]/.test(member.text)
    }
    if (!member.ascii) this.ascii = false

    return member.text
  }

  #quoted(value: unknown): string {
    if (typeof value === 'string' && !needsCare.test(value)) return `"${value}"`

    this.ascii = false
    return JSON.stringify(value)
  }
}

/** A member of the line, as it was written last. */
class Member {
  readonly name: string
  value: string | undefined
  text = ''
  ascii = true

  constructor(name: string) {
    this.name = name
  }
}
