import type { IncomingMessage, ServerResponse } from 'node:http'
import type { CircuitBreaker } from '@msx/circuit-breaker'
import type { Dispatcher } from 'undici'
import { Attempt, type AttemptHost, type Head, type ResponseHeaders } from './attempt.js'
import { collectBody, parsedBody, RequestBody, shortLength } from './body.js'
import { after, type Clock } from './clock.js'
import { contextOf, tellWhenOver } from './context.js'
import type { Deadlines } from './deadlines.js'
import { endResponse, hasBody, leavesMuchUnread } from './ending.js'
import { ProxyError } from './errors.js'
import { answerFailure } from './failure.js'
import { type ForwardingRules, isFraming, loops, requestHeaders, sendHead } from './headers.js'
import { hostOf, isHttp2 } from './http2.js'
import { type Answer, idempotent, type RetryPlan } from './retrying.js'
import type { AttemptSpan } from './telemetry.js'
import type { ResolvedTimeouts } from './timeouts.js'
import type { Pick, Upstream } from './upstream.js'

/**
 * The response that was complete last, with all that belongs to its request. Never read. When V8 collects everything,
 * which it does in a process that has been idle for some seconds, it throws code away that was optimised for shapes of
 * which no object is alive; the first requests after that would take four times as long.
 */
export interface Exemplar {
  response: ServerResponse | undefined
}

/** Everything about forwarding that does not change from one request to the next. */
export interface Forwarding {
  readonly upstream: Upstream
  readonly dispatcher: Dispatcher
  readonly timeouts: ResolvedTimeouts
  readonly connecting: Deadlines | undefined
  readonly retry: RetryPlan | undefined
  readonly breaker: CircuitBreaker | undefined
  readonly maxBody: number
  readonly preserveHost: boolean
  readonly request: ForwardingRules
  readonly response: Readonly<Record<string, string | null>> | undefined
  readonly clock: Clock
  readonly onError: ((error: ProxyError, req: IncomingMessage) => void) | undefined
  readonly exemplar: Exemplar
}

/**
 * One request and its response. It starts attempts, sends the head and the body of the one that answers to the
 * client, and ends in exactly one way: a complete response, a problem document, or, once headers have left, a cut
 * connection. A response that broke off is never finished as if it were whole.
 */
export class Exchange implements AttemptHost {
  readonly #req: IncomingMessage
  readonly #res: ServerResponse
  readonly #plan: Forwarding
  readonly #target: string
  /** The instances that were asked; with retries only. */
  readonly #tried: Set<string> | undefined
  #headers: string[] = []
  /** A body in one piece: collected, or written out again. */
  #bytes: Buffer | null = null
  #body: RequestBody | undefined
  /** The length of a body that is collected before anybody is asked. */
  #short: number | undefined
  #stopCollecting: (() => void) | undefined
  /** What the response announces as its length. */
  #length = -1
  /** A response's body that came in one piece, and leaves together with the head. */
  #whole: Buffer | undefined
  #written = false
  #attempt: Attempt | undefined
  #over = false
  #stop: AbortController | undefined
  #cancelTotal: (() => void) | undefined
  /** With retries: who decides about the outcome of the attempt under way. */
  #decide:
    | { head(attempt: Attempt, head: Head): boolean; failure(attempt: Attempt | undefined, error: ProxyError): void }
    | undefined

  constructor(req: IncomingMessage, res: ServerResponse, plan: Forwarding, target: string) {
    this.#req = req
    this.#res = res
    this.#plan = plan
    this.#target = target
    this.#tried = plan.retry === undefined ? undefined : new Set()
  }

  get clock(): Clock {
    return this.#plan.clock
  }

  get connecting(): Deadlines | undefined {
    return this.#plan.connecting
  }

  get timeouts(): ResolvedTimeouts {
    return this.#plan.timeouts
  }

  get breaker(): CircuitBreaker | undefined {
    return this.#plan.breaker
  }

  get dispatcher(): Dispatcher {
    return this.#plan.dispatcher
  }

  run(): void {
    const { timeouts, clock } = this.#plan
    tellWhenOver(this.#req, this.#res, this)
    if (this.#over) return

    if (timeouts.total !== false) {
      this.#cancelTotal = after(clock, timeouts.total, () =>
        this.#fail(new ProxyError('timeout', this.#attempt?.phase ?? 'request')),
      )
    }

    try {
      this.#prepare()
    } catch (error) {
      this.#fail(error instanceof ProxyError ? error : new ProxyError('internal', 'request', { cause: error }))
      return
    }

    if (this.#short === undefined) this.#begin()
    else this.#collect()
  }

  #begin(): void {
    const { retry } = this.#plan
    if (retry === undefined) this.#try()
    else void this.#tryRepeatedly(retry)
  }

  #collect(): void {
    this.#stopCollecting = collectBody(this.#req, {
      clock: this.clock,
      idle: this.timeouts.idle,
      done: (body) => {
        this.#bytes = body
        this.#begin()
      },
      stalled: () => this.#fail(new ProxyError('client-timeout', 'request')),
    })
  }

  /** Checks what can be checked before anybody is asked, and builds what every attempt sends. */
  #prepare(): void {
    const { upstream, request, preserveHost, maxBody, retry } = this.#plan
    const req = this.#req
    if (loops(req, request.via)) throw new ProxyError('loop', 'request')

    const parsed = parsedBody(req)
    const announced = parsed?.byteLength ?? Number(req.headers['content-length'] ?? 0)
    if (announced > maxBody) throw new ProxyError('body-limit', 'request')

    if (parsed === undefined) this.#short = shortLength(req)
    if (parsed === undefined && this.#short === undefined && hasBody(req)) {
      this.#body = new RequestBody(req, { maxBody, replay: retry?.replay ?? 0 }, () => this.#attempt?.uploaded())
    }
    this.#bytes = parsed ?? null
    const host = preserveHost ? hostOf(req) : undefined
    this.#headers = requestHeaders(req, host ?? upstream.host, request, parsed?.byteLength)
  }

  #try(): void {
    let pick: Pick | Promise<Pick>
    try {
      pick = this.#plan.upstream.pick(this.#tried === undefined || this.#tried.size === 0 ? undefined : this.#tried)
    } catch (error) {
      this.#unpicked(error)
      return
    }

    if (pick instanceof Promise)
      pick.then(
        (found) => this.#start(found),
        (error: unknown) => this.#unpicked(error),
      )
    else this.#start(pick)
  }

  #unpicked(error: unknown): void {
    const failure = error instanceof ProxyError ? error : new ProxyError('internal', 'request', { cause: error })
    if (this.#decide === undefined) this.#fail(failure)
    else this.#decide.failure(undefined, failure)
  }

  #start(pick: Pick): void {
    if (this.#over) {
      pick.lease?.done('cancelled')
      return
    }

    const context = contextOf(this.#req)
    context.upstream = pick.origin
    context.attempts += 1
    this.#tried?.add(pick.id)
    const attempt = new Attempt(this, pick)
    this.#attempt = attempt
    const body = this.#body?.stream(() => attempt.touch()) as unknown as Dispatcher.DispatchOptions['body']
    attempt.start(
      {
        origin: pick.origin,
        path: (pick.basePath ?? this.#plan.upstream.basePath) + this.#target,
        method: this.#req.method as Dispatcher.HttpMethod,
        headers: headersFor(this.#headers, pick, this.#plan),
        body: body ?? this.#bytes,
        // The phases have their own timers here.
        headersTimeout: 0,
        bodyTimeout: 0,
      },
      body != null,
    )
  }

  async #tryRepeatedly(retry: RetryPlan): Promise<void> {
    this.#stop = new AbortController()
    try {
      await retry
        .run(
          () =>
            new Promise<Answer>((resolve, reject) => {
              this.#decide = {
                head: (attempt, head) => {
                  const held = retry.statuses.has(head.status) && this.#repeatable(attempt)
                  if (held) attempt.pause()
                  resolve({ attempt, head, held })
                  return held
                },
                failure: (attempt, error) => reject(retry.failure(error, this.#worthRepeating(attempt, error))),
              }
              this.#try()
            }),
          this.#stop.signal,
        )
        .then(({ attempt, head, held }) => {
          if (held) this.#respond(attempt, head)
        })
    } catch (error) {
      this.#fail(retry.unwrap(error))
    }
  }

  #worthRepeating(attempt: Attempt | undefined, error: ProxyError): boolean {
    const passing =
      error.kind === 'connect' || error.kind === 'reset' || error.kind === 'timeout' || error.kind === 'bad-response'

    return attempt !== undefined && passing && error.phase === 'request' && this.#repeatable(attempt)
  }

  /** What never left may be sent by any method; what may have arrived, only where twice is as good as once (RFC 9110, 9.2.2). */
  #repeatable(attempt: Attempt): boolean {
    if (this.#body?.replayable === false) return false
    if (attempt.sent && this.#short !== undefined && this.#short > this.#plan.retry!.replay) return false

    return !attempt.sent || idempotent.has(this.#req.method!) || this.#req.headers['idempotency-key'] !== undefined
  }

  follow(options: Dispatcher.DispatchOptions): AttemptSpan | undefined {
    return followed(this.#req, options)
  }

  clientStalls(): boolean {
    return this.#res.headersSent
      ? (this.#res.writableNeedDrain ?? this.#res.writableLength > 0)
      : this.#body?.waiting === true
  }

  onInformation(status: number, headers: ResponseHeaders): void {
    const link = headers['link']
    if (status !== 103 || link === undefined || this.#res.headersSent) return
    // RFC 9110, 15.2: such a client takes it for the answer.
    if (this.#req.httpVersion === '1.0') return

    try {
      this.#res.writeEarlyHints({ link })
    } catch {
      // Node knows fewer forms of Link than there are. A hint may get lost, the answer may not.
    }
  }

  onHead(attempt: Attempt, head: Head): void {
    if (this.#over) return
    if (this.#decide?.head(attempt, head) === true) return

    this.#respond(attempt, head)
  }

  #respond(attempt: Attempt, head: Head): void {
    if (this.#over) return

    const res = this.#res
    const { status, headers } = head
    const encoding = headers['transfer-encoding']
    // The other ones were not asked for, and what is packed by them would go on as if it was not.
    if (encoding !== undefined && String(encoding).toLowerCase() !== 'chunked') {
      this.#fail(new ProxyError('bad-response', 'request'))
      return
    }

    const length = headers['content-length']
    const bodyless = status === 204 || status === 304 || this.#req.method === 'HEAD'
    const open = !isHttp2(this.#req) && !bodyless && length === undefined && encoding === undefined
    if (typeof length === 'string') this.#length = Number(length)
    // A body that ends where the connection ends must end so for the client too: as chunks it would look complete.
    if (open) res.useChunkedEncodingByDefault = false

    try {
      sendHead(res, head, this.#plan.response, open || leavesMuchUnread(this.#req))
    } catch (cause) {
      this.#fail(new ProxyError('bad-response', 'request', { cause }))
      return
    }
    // Head and body of a small response leave together; a head that stays alone must not wait for its body.
    process.nextTick(flush, this)
    attempt.resume()
  }

  flush(): void {
    if (!this.#over && !this.#written && this.#whole === undefined) this.#res.flushHeaders()
  }

  onData(chunk: Buffer): boolean {
    if (chunk.byteLength === this.#length) {
      this.#whole = chunk
      return true
    }

    this.#written = true
    const more = this.#res.write(chunk)
    if (!more) this.#res.once('drain', () => this.#attempt?.resume())
    return more
  }

  onEnd(trailers: ResponseHeaders): void {
    const entries = Object.entries(trailers).filter(([name]) => !isFraming(name))
    if (entries.length > 0 && (this.#res.chunkedEncoding || isHttp2(this.#req))) {
      this.#res.addTrailers(Object.fromEntries(entries.map(([name, value]) => [name, String(value)])))
    }
    this.#close()
    this.#plan.exemplar.response = this.#res
    endResponse(this.#res, this.#whole)
  }

  onFailure(attempt: Attempt, error: ProxyError): void {
    if (this.#over) return

    if (this.#decide !== undefined && !this.#res.headersSent) this.#decide.failure(attempt, error)
    else this.#fail(error)
  }

  #fail(error: ProxyError): void {
    if (this.#over) return

    this.#close()
    this.#attempt?.abandon(error)
    this.#stop?.abort(error)
    answerFailure(this.#res, error, this.#plan.onError)
  }

  #close(): void {
    this.#over = true
    this.#cancelTotal?.()
    this.#body?.stop()
    this.#stopCollecting?.()
  }

  /** The response has ended, one way or the other: if it was not by us, then by the client. */
  over(): void {
    if (!this.#over) this.#fail(new ProxyError('client-gone', this.#attempt?.phase ?? 'request'))
  }
}

/** Told to whoever traces the request. */
export function followed(
  req: IncomingMessage,
  { method, origin, path }: Dispatcher.DispatchOptions,
): AttemptSpan | undefined {
  const { watch, attempts } = contextOf(req)
  return watch?.http({ method, origin: String(origin), path, resends: attempts - 1 })
}

/** The Host follows the instance, where instances differ in it. */
export function headersFor(
  headers: readonly string[],
  { host }: Pick,
  { preserveHost, request }: Forwarding,
): string[] {
  return host === undefined || preserveHost || request.rules?.['host'] !== undefined
    ? (headers as string[])
    : ['host', host, ...headers.slice(2)]
}

function flush(exchange: Exchange): void {
  exchange.flush()
}
