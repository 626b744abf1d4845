import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Readable } from 'node:stream'
import type { CircuitBreaker } from '@msx/circuit-breaker'
import type { Dispatcher } from 'undici'
import { Attempt, type AttemptHost, type Head } from './attempt.js'
import { collectBody, parsedBody, RequestBody, shortLength } from './body.js'
import { after, type Clock } from './clock.js'
import { contextOf } from './context.js'
import { endResponse, hasBody, leavesMuchUnread } from './ending.js'
import { ProxyError } from './errors.js'
import { type ForwardingRules, loops, requestHeaders, sendHead, valuesOf } from './headers.js'
import { problem } from './problem.js'
import type { RetryPlan } from './retrying.js'
import type { ResolvedTimeouts } from './timeouts.js'
import type { Pick, Upstream } from './upstream.js'

/** Everything about forwarding that does not change from one request to the next. */
export interface Forwarding {
  readonly upstream: Upstream
  readonly dispatcher: Dispatcher
  readonly timeouts: ResolvedTimeouts
  readonly retry: RetryPlan | undefined
  readonly breaker: CircuitBreaker | undefined
  readonly maxBody: number
  readonly preserveHost: boolean
  readonly request: ForwardingRules
  readonly response: Readonly<Record<string, string | null>> | undefined
  readonly clock: Clock
  readonly onError: ((error: ProxyError, req: IncomingMessage) => void) | undefined
}

const idempotent = new Set(['GET', 'HEAD', 'OPTIONS', 'PUT', 'DELETE'])

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
  readonly #tried = new Set<string>()
  #body: RequestBody | undefined
  /** The length of a body that is collected before anybody is asked. */
  #short: number | undefined
  #stopCollecting: (() => void) | undefined
  #options: Dispatcher.DispatchOptions | undefined
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
  }

  get clock(): Clock {
    return this.#plan.clock
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
    this.#res.on('close', this.#onClose).on('drain', this.#onDrain)
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
        this.#options = { ...this.#options!, body }
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
    if (parsed === undefined && this.#short === undefined && hasBody(req.headers)) {
      this.#body = new RequestBody(req, { maxBody, replay: retry?.replay ?? 0 }, () => this.#attempt?.uploaded())
    }
    this.#options = {
      method: req.method as Dispatcher.HttpMethod,
      path: upstream.basePath + this.#target,
      headers: requestHeaders(
        req,
        (preserveHost ? req.headers.host : undefined) ?? upstream.host,
        request,
        parsed?.byteLength,
      ),
      body: parsed ?? null,
      // The phases have their own timers here.
      headersTimeout: 0,
      bodyTimeout: 0,
    }
  }

  #try(): void {
    let pick: Pick | Promise<Pick>
    try {
      pick = this.#plan.upstream.pick(this.#tried.size === 0 ? undefined : this.#tried)
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
    context.attempts = (context.attempts ?? 0) + 1
    this.#tried.add(pick.id)
    const attempt = new Attempt(this, pick)
    this.#attempt = attempt
    const body = this.#body?.stream(() => attempt.touch()) as unknown as Readable | undefined
    attempt.start(body === undefined ? this.#options! : { ...this.#options!, body }, body !== undefined)
  }

  async #tryRepeatedly(retry: RetryPlan): Promise<void> {
    this.#stop = new AbortController()
    try {
      await retry
        .run(
          () =>
            new Promise((resolve, reject) => {
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

  clientStalls(): boolean {
    return this.#res.headersSent ? this.#res.writableNeedDrain : this.#body?.waiting === true
  }

  onInformation(status: number, headers: Readonly<Record<string, string | string[] | undefined>>): void {
    const link = headers['link']
    if (status === 103 && link !== undefined && !this.#res.headersSent) this.#res.writeEarlyHints({ link })
  }

  onHead(attempt: Attempt, head: Head): void {
    if (this.#over) return
    if (this.#decide?.head(attempt, head) === true) return

    this.#respond(attempt, head)
  }

  #respond(attempt: Attempt, { status, pairs }: Head): void {
    if (this.#over) return

    const res = this.#res
    const bodyless = status === 204 || status === 304 || this.#req.method === 'HEAD'
    const open =
      !bodyless && valuesOf(pairs, 'content-length') === undefined && valuesOf(pairs, 'transfer-encoding') === undefined
    // A body that ends where the connection ends must end so for the client too: as chunks it would look complete.
    if (open) res.useChunkedEncodingByDefault = false

    try {
      sendHead(res, status, pairs, this.#plan.response, open || leavesMuchUnread(this.#req))
    } catch (cause) {
      this.#fail(new ProxyError('bad-response', 'request', { cause }))
      return
    }
    // Head and body of a small response leave together; a head that stays alone must not wait for its body.
    process.nextTick(() => {
      if (!res.writableEnded && !res.destroyed) res.flushHeaders()
    })
    attempt.resume()
  }

  onData(chunk: Buffer): boolean {
    return this.#res.write(chunk)
  }

  onEnd(trailers: Readonly<Record<string, string | string[] | undefined>>): void {
    const entries = Object.entries(trailers)
    if (entries.length > 0 && this.#res.chunkedEncoding) {
      this.#res.addTrailers(entries.map(([name, value]) => [name, String(value)] as const) as [string, string][])
    }
    this.#close()
    endResponse(this.#res)
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
    contextOf(this.#req).error = error
    this.#report(error)

    if (this.#res.headersSent) {
      this.#res.destroy()
      return
    }
    if (error.retryAfter !== undefined && Number.isFinite(error.retryAfter)) {
      this.#res.setHeader('retry-after', Math.max(1, Math.ceil(error.retryAfter / 1_000)))
    }
    problem(this.#res, error.status === 499 ? 400 : error.status, { detail: error.message, code: error.code })
  }

  #report(error: ProxyError): void {
    try {
      this.#plan.onError?.(error, this.#req)
    } catch (thrown) {
      process.emitWarning(thrown instanceof Error ? thrown : new Error(String(thrown)))
    }
  }

  #close(): void {
    this.#over = true
    this.#cancelTotal?.()
    this.#body?.stop()
    this.#stopCollecting?.()
    this.#res.off('close', this.#onClose).off('drain', this.#onDrain)
  }

  readonly #onClose = (): void => {
    this.#fail(new ProxyError('client-gone', this.#attempt?.phase ?? 'request'))
  }

  readonly #onDrain = (): void => {
    this.#attempt?.resume()
  }
}
