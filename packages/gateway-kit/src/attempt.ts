import type { Duplex } from 'node:stream'
import type { CircuitBreaker, Permit } from '@msx/circuit-breaker'
import type { Dispatcher } from 'undici'
import { after, type Clock } from './clock.js'
import type { Deadline, Deadlines } from './deadlines.js'
import { ProxyError, type ProxyErrorKind } from './errors.js'
import { replaced } from './headers.js'
import type { AttemptSpan } from './telemetry.js'
import type { ResolvedTimeouts } from './timeouts.js'
import type { Pick } from './upstream.js'

/** The head of a final response. */
export interface Head {
  readonly status: number
  /** By lower-case name. */
  readonly headers: ResponseHeaders
  /** As received, whatever shape the dispatcher gives them. */
  readonly raw: unknown
  /** Milliseconds, when the upstream asked for a pause. */
  readonly retryAfter: number | undefined
}

export type ResponseHeaders = Readonly<Record<string, string | string[] | undefined>>

/** What an attempt needs of the request it belongs to. */
export interface AttemptHost {
  readonly clock: Clock
  readonly timeouts: ResolvedTimeouts
  /** Those of `timeouts.connect`, which every attempt begins with; undefined where there is none. */
  readonly connecting: Deadlines | undefined
  readonly breaker: CircuitBreaker | undefined
  readonly dispatcher: Dispatcher
  /** Whoever follows the attempt that is about to leave. */
  follow(options: Dispatcher.DispatchOptions): AttemptSpan | undefined
  /** Whether the client is being waited for, with its body or with taking the response. */
  clientStalls(): boolean
  onInformation(status: number, headers: ResponseHeaders): void
  onHead(attempt: Attempt, head: Head): void
  /** False: no more for now. */
  onData(chunk: Buffer): boolean
  onEnd(trailers: ResponseHeaders): void
  onFailure(attempt: Attempt, error: ProxyError): void
  /** The upstream speaks another protocol from now on, which was asked for. */
  onUpgrade?(attempt: Attempt, head: Head, socket: Duplex): void
}

type Phase = 'connect' | 'upload' | 'headers' | 'body'

/**
 * One try at one upstream: undici's handler, its timers, and the accounts that are settled at its end (the breaker's
 * permit, the balancer's lease). It ends once, by whatever comes first; everything later is ignored.
 *
 *   connect ──► upload ──► headers ──► body ──► done
 *      └──────────┴──────────┴──────────┴─────► done, with an error
 */
export class Attempt implements Dispatcher.DispatchHandler {
  readonly #host: AttemptHost
  readonly #pick: Pick
  #permit: Permit | undefined
  #span: AttemptSpan | undefined
  #controller: Dispatcher.DispatchController | undefined
  #phase: Phase = 'connect'
  #done = false
  #touched = 0
  /** How long the phase may take; in `upload` and `body`, how long nothing may move. */
  #limit: number | false = false
  /** One timer for all phases: it looks, when it fires, at the time that is left by then. */
  #disarm: (() => void) | undefined
  /** Until it has expired once, one timer for all attempts. */
  #deadline: Deadline | undefined
  #firesAt = Number.POSITIVE_INFINITY
  #uploads = false
  #outcome: 'success' | 'failure' = 'success'
  #retryAfter: number | undefined

  constructor(host: AttemptHost, pick: Pick) {
    this.#host = host
    this.#pick = pick
  }

  /** Whether anything of the request may have reached the upstream. */
  get sent(): boolean {
    return this.#controller !== undefined
  }

  get phase(): 'request' | 'response' {
    return this.#phase === 'body' ? 'response' : 'request'
  }

  start(options: Dispatcher.DispatchOptions, uploads: boolean): void {
    this.#uploads = uploads
    const { breaker, connecting, dispatcher, timeouts } = this.#host
    if (breaker !== undefined) {
      this.#permit = breaker.tryAcquire()
      if (this.#permit === undefined) {
        this.#pick.lease?.done('cancelled')
        this.#done = true
        this.#host.onFailure(
          this,
          new ProxyError('circuit-open', 'request', { retryAfter: breaker.metrics.retryAfter }),
        )
        return
      }
    }

    this.#limit = timeouts.connect
    this.touch()
    if (connecting !== undefined) {
      this.#deadline = connecting.set(this, this.#touched)
      this.#firesAt = this.#deadline.at
    }
    try {
      this.#span = this.#host.follow(options)
      dispatcher.dispatch(this.#span === undefined ? options : carrying(options, this.#span), this)
    } catch (cause) {
      this.#fail(new ProxyError('internal', 'request', { cause }))
    }
  }

  /** Something moved: the time of silence starts again. */
  touch(): void {
    this.#touched = this.#host.clock.now()
  }

  /** The last byte of the request has been read. */
  uploaded(): void {
    if (this.#phase === 'upload') this.#arm('headers', this.#host.timeouts.headers)
  }

  pause(): void {
    this.#controller?.pause()
  }

  resume(): void {
    this.#controller?.resume()
  }

  /** Gives up on an attempt that nobody needs any more; the host is not told. */
  abandon(reason: Error): void {
    if (this.#done) return

    this.#settleCancelled()
    this.#finish(reason)
    this.#controller?.abort(reason)
  }

  /** Throws a response away, unread, in favour of another attempt. */
  discard(): void {
    if (this.#done) return

    this.#pick.lease?.done(this.#outcome, this.#retryAfter)
    this.#finish()
    this.#controller?.abort(new Error('the response was given up for another attempt'))
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    if (this.#done) {
      controller.abort(new Error('the request was given up before it was sent'))
      return
    }

    this.#controller = controller
    if (this.#uploads) this.#arm('upload', this.#host.timeouts.idle)
    else this.#arm('headers', this.#host.timeouts.headers)
  }

  onResponseStart(controller: Dispatcher.DispatchController, status: number, headers: ResponseHeaders): void {
    if (this.#done) return
    if (status < 200) {
      this.#host.onInformation(status, headers)
      return
    }

    const retryAfter = pauseAsked(status, first(headers['retry-after']))
    this.#pick.lease?.firstByte()
    this.#span?.answered(status)
    this.#judge(status)
    const endless = first(headers['content-type'])?.toLowerCase().startsWith('text/event-stream') === true
    this.#arm('body', endless ? false : this.#host.timeouts.idle)
    this.#outcome = isFailure(status) ? 'failure' : 'success'
    this.#retryAfter = retryAfter
    this.#host.onHead(this, { status, headers, raw: controller.rawHeaders, retryAfter })
  }

  onRequestUpgrade(
    controller: Dispatcher.DispatchController,
    status: number,
    headers: ResponseHeaders,
    socket: Duplex,
  ): void {
    if (this.#done || this.#host.onUpgrade === undefined) {
      socket.destroy()
      return
    }

    this.#pick.lease?.firstByte()
    this.#span?.answered(status)
    this.#judge(status)
    this.#finish()
    this.#host.onUpgrade(this, { status, headers, raw: controller.rawHeaders, retryAfter: undefined }, socket)
  }

  /** What came of an upgrade is over. */
  closed(outcome: 'success' | 'failure'): void {
    this.#pick.lease?.done(outcome)
  }

  onResponseData(controller: Dispatcher.DispatchController, chunk: Buffer): void {
    if (this.#done) return

    this.touch()
    if (!this.#host.onData(chunk)) controller.pause()
  }

  onResponseEnd(_controller: Dispatcher.DispatchController, trailers: ResponseHeaders): void {
    if (this.#done) return

    this.#finish()
    this.#pick.lease?.done(this.#outcome, this.#retryAfter)
    this.#host.onEnd(trailers)
  }

  onResponseError(_controller: Dispatcher.DispatchController, error: Error): void {
    if (this.#done) return

    this.#fail(classify(error, this.sent, this.phase))
  }

  #arm(phase: Phase, limit: number | false): void {
    this.#phase = phase
    this.#limit = limit
    this.touch()
    if (limit !== false && this.#touched + limit < this.#firesAt) this.#schedule(this.#touched, limit)
  }

  #schedule(now: number, ms: number): void {
    this.#unschedule()
    this.#firesAt = now + ms
    this.#disarm = after(this.#host.clock, ms, () => this.expire())
  }

  #unschedule(): void {
    this.#disarm?.()
    this.#disarm = undefined
    if (this.#deadline !== undefined) this.#host.connecting!.remove(this.#deadline)
    this.#deadline = undefined
  }

  /** A timer has fired; whether it is too late, the time of the last movement tells. */
  expire(): void {
    this.#disarm = undefined
    this.#deadline = undefined
    this.#firesAt = Number.POSITIVE_INFINITY
    const phase = this.#phase
    if (this.#limit === false) return

    // Only where something can move has anybody touched it since the phase began.
    const now = this.#host.clock.now()
    const left = this.#touched + this.#limit - now
    if (left > 0) {
      this.#schedule(now, left)
      return
    }

    const byClient = (phase === 'upload' || phase === 'body') && this.#host.clientStalls()
    this.#fail(new ProxyError(byClient ? 'client-timeout' : 'timeout', this.phase))
  }

  #fail(error: ProxyError): void {
    if (this.#done) return

    this.#settleFailed(error)
    this.#finish(error)
    this.#controller?.abort(error)
    this.#host.onFailure(this, error)
  }

  #finish(error?: Error): void {
    this.#done = true
    this.#span?.end(error)
    this.#unschedule()
  }

  /** The breaker judges by the head: an endless body must not hold the permit of a half-open circuit. */
  #judge(status: number): void {
    if (isFailure(status)) this.#permit?.fail(new Error(`the upstream answered with ${status}`))
    else this.#permit?.succeed()
  }

  #settleCancelled(): void {
    this.#permit?.ignore()
    this.#pick.lease?.done('cancelled')
  }

  #settleFailed(error: ProxyError): void {
    if (blamesClient(error.kind)) {
      this.#settleCancelled()
      return
    }

    this.#pick.lease?.done('failure')
    if (error.phase === 'request') this.#permit?.fail(error)
    // The permit was given back with the head, so what broke after it is a call of its own.
    else this.#host.breaker?.tryAcquire()?.fail(error)
  }
}

/** The request, saying whose it is. */
function carrying(options: Dispatcher.DispatchOptions, { fields }: AttemptSpan): Dispatcher.DispatchOptions {
  return { ...options, headers: replaced(options.headers as string[], fields) }
}

/** 501 says that the method is not known: no sign of bad health. */
const isFailure = (status: number): boolean => status >= 500 && status !== 501

const blamesClient = (kind: ProxyErrorKind): boolean =>
  kind === 'client-gone' || kind === 'client-timeout' || kind === 'body-limit' || kind === 'internal'

const first = (value: string | string[] | undefined): string | undefined => (Array.isArray(value) ? value[0] : value)

function pauseAsked(status: number, header: string | undefined): number | undefined {
  if (header === undefined || (status !== 503 && status !== 429)) return undefined
  if (/^\d+$/.test(header)) return Number(header) * 1_000

  const date = Date.parse(header)
  return Number.isNaN(date) ? undefined : Math.max(0, date - Date.now())
}

function classify(error: Error, sent: boolean, phase: 'request' | 'response'): ProxyError {
  if (error instanceof ProxyError) return new ProxyError(error.kind, phase, { cause: error.cause })

  const { code = '' } = error as { code?: string }
  const options = { cause: error }
  if (/^UND_ERR_(?:CONNECT|HEADERS|BODY)_TIMEOUT$|^ETIMEDOUT$/.test(code))
    return new ProxyError('timeout', phase, options)
  if (/^UND_ERR_(?:INVALID_ARG|NOT_SUPPORTED|REQ_CONTENT_LENGTH_MISMATCH)$/.test(code)) {
    return new ProxyError('internal', phase, options)
  }
  if (!sent) return new ProxyError('connect', phase, options)
  const invalid = error.name === 'HTTPParserError' && code !== 'HPE_INVALID_EOF_STATE'
  if (invalid || /^UND_ERR_(?:HEADERS_OVERFLOW|RES_)/.test(code)) return new ProxyError('bad-response', phase, options)

  return new ProxyError('reset', phase, options)
}
