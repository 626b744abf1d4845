import type { IncomingMessage, ServerResponse } from 'node:http'
import type { ClientReadableStream, ClientUnaryCall, ServiceError, StatusObject } from '@grpc/grpc-js'
import type { CircuitBreaker, Permit } from '@msx/circuit-breaker'
import type { Field, Type } from 'protobufjs'
import { after, type Clock } from '../clock.js'
import { contextOf, isGone, tellWhenOver } from '../context.js'
import { endResponse } from '../ending.js'
import { ProxyError } from '../errors.js'
import { ruled } from '../headers.js'
import { problem, problemDocument } from '../problem.js'
import { idempotent, type RetryPlan, reasonOf } from '../retrying.js'
import type { AttemptSpan } from '../telemetry.js'
import type { ResolvedTimeouts } from '../timeouts.js'
import type { Channels, Destination } from './channels.js'
import { awaitConnection, type Connected } from './connection.js'
import { type GrpcCode, GrpcError, grpcCodes } from './errors.js'
import type { Match } from './http-rule.js'
import { readJson } from './json-body.js'
import type { Grpc } from './libraries.js'
import { type Message, Misfit, type Reading } from './message.js'
import { metadataOf } from './metadata.js'
import { requestMessage } from './request-message.js'
import { grpcFailure, isFailure } from './status.js'
import type { createJsonWriter } from './to-json.js'

/** A method of the service. */
export interface Rpc {
  readonly path: string
  readonly input: Type
  readonly output: Type
  readonly streams: boolean
}

/** Everything about transcoding that does not change from one request to the next. */
export interface Plan {
  readonly grpc: Grpc
  readonly channels: Channels
  readonly reading: Reading
  readonly writer: ReturnType<typeof createJsonWriter>
  readonly metadata: readonly string[]
  readonly statuses: Readonly<Partial<Record<GrpcCode, number>>>
  readonly clock: Clock
}

/** What the route, or the transcoder's own options, say about a call. */
export interface CallRules {
  readonly upstream: string | undefined
  readonly timeouts: ResolvedTimeouts
  readonly maxBody: number
  readonly breaker: CircuitBreaker | undefined
  readonly retry: RetryPlan | undefined
  readonly query: string
  readonly headers: Readonly<Record<string, string | null>> | undefined
}

/** What a call says for itself to whoever must end it. */
interface Ending {
  readonly error?: ProxyError | GrpcError
}

const asItIs = (bytes: Buffer): Buffer => bytes

/** What grpc-js says of a call for which there was no connection. */
const neverLeft = /^No connection established|^Name resolution failed/

/**
 * One request as one call, or as several, of which the last one counts. It ends once: with the message, with the last of
 * a stream, or with a problem; when the client goes away, the call is cancelled.
 */
export class TranscodedCall {
  readonly #req: IncomingMessage
  readonly #res: ServerResponse
  readonly #plan: Plan
  readonly #rules: CallRules
  readonly #rpc: Rpc
  readonly #match: Match
  readonly #answerField: Field | undefined
  readonly #startedAt: number
  /** Whether a stream is answered as server-sent events, rather than as lines of JSON. */
  readonly #asEvents: boolean
  #over = false
  #begun = false
  #call: ClientUnaryCall | ClientReadableStream<Buffer> | undefined
  #deadline = Number.POSITIVE_INFINITY
  #permit: Permit | undefined
  #destination: Destination | undefined
  #span: AttemptSpan | undefined
  #stopReading: (() => void) | undefined
  #cancelTotal: (() => void) | undefined
  #disarm: (() => void) | undefined
  /** The instances that were asked; with retries only. */
  readonly #tried: Set<string> | undefined
  /** With retries: hears how the call under way went, before anything of it is answered. */
  #decide: { begun(): void; failed(error: Error): void } | undefined
  #stop: AbortController | undefined

  constructor(
    req: IncomingMessage,
    res: ServerResponse,
    plan: Plan,
    rules: CallRules,
    rpc: Rpc,
    match: Match,
    answerField: Field | undefined,
  ) {
    this.#req = req
    this.#res = res
    this.#plan = plan
    this.#rules = rules
    this.#rpc = rpc
    this.#match = match
    this.#answerField = answerField
    this.#startedAt = plan.clock.now()
    this.#tried = rules.retry === undefined ? undefined : new Set()
    this.#asEvents = /\btext\/event-stream\b/i.test(req.headers.accept ?? '')
  }

  run(): void {
    const { timeouts, maxBody } = this.#rules
    const { clock } = this.#plan
    tellWhenOver(this.#req, this.#res, this)
    if (this.#over) return

    if (timeouts.total !== false) this.#cancelTotal = after(clock, timeouts.total, () => this.#expire())
    if (this.#match.binding.body === undefined) {
      void this.#ask(undefined)
      return
    }

    try {
      this.#stopReading = readJson(this.#req, {
        clock,
        maxBody,
        idle: timeouts.idle,
        done: (value) => void this.#ask(value),
        failed: (error) => this.#fail({ error }),
      })
    } catch (error) {
      this.#fail({ error: asFailure(error) })
    }
  }

  async #ask(body: unknown): Promise<void> {
    if (this.#over) return

    try {
      const { binding, captured } = this.#match
      const message = requestMessage(
        binding,
        this.#rpc.input,
        { body, query: this.#rules.query, captured },
        this.#plan.reading,
      )
      const bytes = this.#rpc.input.encode(message).finish() as Buffer
      const { retry } = this.#rules
      if (retry === undefined) await this.#try(bytes)
      else await this.#tryRepeatedly(retry, bytes)
    } catch (error) {
      this.#fail({ error: asFailure(error) })
    }
  }

  async #tryRepeatedly(retry: RetryPlan, bytes: Buffer): Promise<void> {
    this.#stop = new AbortController()
    try {
      await retry.run(
        () =>
          new Promise<void>((resolve, reject) => {
            this.#decide = { begun: resolve, failed: reject }
            void this.#try(bytes)
          }),
        this.#stop.signal,
      )
    } catch (error) {
      throw reasonOf(error)
    }
  }

  async #try(bytes: Buffer): Promise<void> {
    const { clock, channels, grpc } = this.#plan
    const { upstream, timeouts } = this.#rules
    try {
      this.#acquire()
      const excluded = this.#tried === undefined || this.#tried.size === 0 ? undefined : this.#tried
      const taken = channels.take(upstream, timeouts.connect, excluded)
      const destination = taken instanceof Promise ? await taken : taken
      this.#destination = destination
      // While an instance was looked for, the client may have gone.
      if (this.#over) {
        this.#settle({ cancelled: true })
        return
      }

      this.#tried?.add(destination.id)
      const context = contextOf(this.#req)
      context.upstream = `grpc://${destination.address}`
      context.attempts += 1
      this.#span = context.watch?.grpc({ path: this.#rpc.path, address: destination.address })
      let known = false
      const stopWaiting = awaitConnection(grpc, destination.client, timeouts.connect, clock, (connected) => {
        known = true
        this.#connected(connected, destination, bytes)
      })
      if (!known) this.#disarm = stopWaiting
    } catch (error) {
      this.#attemptFailed(asFailure(error), false)
    }
  }

  #connected(connected: Connected, destination: Destination, bytes: Buffer): void {
    if (connected === 'timeout') {
      this.#attemptFailed(new ProxyError('timeout', 'request'), true)
      return
    }

    try {
      // Without a connection the call fails at once, and says why.
      this.#send(destination, bytes, connected === 'ready')
    } catch (error) {
      this.#attemptFailed(asFailure(error), false)
    }
  }

  /** One attempt is over. Another one may follow, unless something of this one was answered. */
  #attemptFailed(error: ProxyError | GrpcError, again: boolean, pause?: number): void {
    if (this.#over) return
    if (this.#decide === undefined || this.#begun) {
      this.#fail({ error })
      return
    }

    this.#settle({ error, cancelled: isNobodys(error) })
    this.#endSpan(error)
    this.#disarm?.()
    this.#disarm = undefined
    this.#decide.failed(this.#rules.retry!.failure(error, again, pause))
  }

  /** What may have arrived is sent again only where twice is as good as once (RFC 9110, 9.2.2). */
  #repeatable(bytes: Buffer): boolean {
    if (bytes.byteLength > this.#rules.retry!.replay) return false

    return idempotent.has(this.#req.method!) || this.#req.headers['idempotency-key'] !== undefined
  }

  #acquire(): void {
    const { breaker } = this.#rules
    if (breaker === undefined) return

    this.#permit = breaker.tryAcquire()
    if (this.#permit === undefined) {
      throw new ProxyError('circuit-open', 'request', { retryAfter: breaker.metrics.retryAfter })
    }
  }

  #send({ client }: Destination, bytes: Buffer, sent: boolean): void {
    const { grpc, metadata: names, clock } = this.#plan
    const { timeouts } = this.#rules
    const metadata = metadataOf(this.#req, names, grpc)
    for (const [name, value] of Object.entries(this.#span?.fields ?? {})) metadata.set(name, value)
    const left = timeouts.total === false ? false : Math.max(0, this.#startedAt + timeouts.total - clock.now())
    const limit = this.#rpc.streams ? left : shorter(left, timeouts.headers)
    // The service is told when nobody will wait any longer; that we do not wait is up to our own timers.
    if (limit !== false) this.#deadline = Date.now() + limit
    const options = limit === false ? {} : { deadline: this.#deadline }
    const failed = (failure: ServiceError | StatusObject): void => this.#failed(failure, bytes, sent)
    if (timeouts.headers !== false) this.#disarm = after(clock, timeouts.headers, () => this.#expire())

    if (this.#rpc.streams) {
      const stream = client.makeServerStreamRequest(this.#rpc.path, asItIs, asItIs, bytes, metadata, options)
      this.#call = stream
      this.#follow(stream, failed)
    } else {
      this.#call = client.makeUnaryRequest(
        this.#rpc.path,
        asItIs,
        asItIs,
        bytes,
        metadata,
        options,
        (error, answer) => {
          if (error !== null) failed(error)
          else this.#answer(answer!)
        },
      )
    }
  }

  #answer(bytes: Buffer): void {
    if (this.#over) return

    let body: Buffer
    try {
      body = Buffer.from(this.#json(bytes))
    } catch (cause) {
      this.#fail({ error: new ProxyError('bad-response', 'request', { cause }) })
      return
    }

    this.#decide?.begun()
    this.#settle({})
    this.#close()
    this.#setHeaders('application/json')
    this.#res.setHeader('content-length', body.byteLength)
    endResponse(this.#res, body)
  }

  #json(bytes: Buffer): string {
    const { writer } = this.#plan
    const message = this.#rpc.output.decode(bytes) as unknown as Message
    const field = this.#answerField
    const value =
      field === undefined
        ? writer.messageToJson(this.#rpc.output, message)
        : writer.fieldToJson(field, Object.hasOwn(message, field.name) ? message[field.name] : undefined)

    return JSON.stringify(value)
  }

  #follow(stream: ClientReadableStream<Buffer>, failed: (status: StatusObject) => void): void {
    let status: StatusObject | undefined
    // The error comes before the messages that are still in the buffer; the end comes after them.
    stream.on('error', () => {})
    stream.on('status', (said: StatusObject) => {
      status = said
    })
    stream.on('data', (bytes: Buffer) => this.#onMessage(stream, bytes))
    stream.on('end', () => {
      if (status === undefined || status.code === this.#plan.grpc.status.OK) this.#finish()
      else failed(status)
    })
    this.#res.on('drain', () => stream.resume())
  }

  #onMessage(stream: ClientReadableStream<Buffer>, bytes: Buffer): void {
    if (this.#over) return

    let json: string
    try {
      json = this.#json(bytes)
    } catch (cause) {
      this.#fail({ error: new ProxyError('bad-response', this.#begun ? 'response' : 'request', { cause }) })
      return
    }

    this.#begin()
    this.#armIdle()
    if (this.#req.method === 'HEAD') {
      this.#finish()
      stream.cancel()
      return
    }
    if (!this.#res.write(this.#asEvents ? `data: ${json}\n\n` : `${json}\n`)) stream.pause()
  }

  /** The first message, or a good end without one: now the status is known. */
  #begin(): void {
    if (this.#begun) return

    this.#begun = true
    this.#decide?.begun()
    this.#settle({ keepDestination: true })
    this.#destination?.lease?.firstByte()
    this.#res.setHeader('cache-control', 'no-store')
    this.#setHeaders(this.#asEvents ? 'text/event-stream' : 'application/x-ndjson')
  }

  #setHeaders(type: string): void {
    const res = this.#res
    res.statusCode = 200
    res.setHeader('content-type', type)
    for (const [name, value] of Object.entries(this.#rules.headers ?? {})) {
      if (value === null) res.removeHeader(name)
      else if (name.startsWith('+')) res.appendHeader(ruled(name), value)
      else res.setHeader(name, value)
    }
  }

  #armIdle(): void {
    this.#disarm?.()
    const { idle } = this.#rules.timeouts
    this.#disarm = idle === false || this.#asEvents ? undefined : after(this.#plan.clock, idle, () => this.#expire())
  }

  #finish(): void {
    if (this.#over) return

    this.#begin()
    this.#settle({})
    this.#close()
    endResponse(this.#res)
  }

  #expire(): void {
    this.#fail({ error: new ProxyError('timeout', this.#begun ? 'response' : 'request') })
  }

  #failed(failure: ServiceError | StatusObject, bytes: Buffer, sent: boolean): void {
    const { status } = this.#plan.grpc
    if (failure.code === status.DEADLINE_EXCEEDED && Date.now() >= this.#deadline) {
      this.#expire()
      return
    }

    const error = grpcFailure(failure, this.#plan.statuses)
    const pause = pauseAsked(failure)
    const again =
      this.#decide !== undefined &&
      failure.code === status.UNAVAILABLE &&
      pause !== 'never' &&
      ((!sent && neverLeft.test(failure.details)) || this.#repeatable(bytes))
    this.#attemptFailed(error, again, pause === 'never' ? undefined : pause)
  }

  #fail({ error }: Required<Ending>): void {
    if (this.#over) return

    this.#settle({ error, cancelled: isNobodys(error) })
    this.#close(error)
    this.#stop?.abort(error)
    this.#call?.cancel()
    contextOf(this.#req).error = error
    // An answer to nobody would look like one in the log.
    if (isGone(this.#res)) return

    const { status, fields } = answerTo(error)
    if (this.#begun) {
      this.#breakOff(status, fields)
      return
    }

    if (error instanceof ProxyError && error.retryAfter !== undefined && Number.isFinite(error.retryAfter)) {
      this.#res.setHeader('retry-after', Math.max(1, Math.ceil(error.retryAfter / 1_000)))
    }
    if (status === 401) this.#res.setHeader('www-authenticate', 'Bearer')
    problem(this.#res, status, fields)
  }

  /** The status has left: a last line says what happened, and the body is cut, so that nobody takes it for whole. */
  #breakOff(status: number, fields: Record<string, unknown>): void {
    const res = this.#res
    const json = JSON.stringify(problemDocument(res, status, fields))
    if (this.#asEvents) res.end(`event: error\ndata: ${json}\n\n`)
    else res.write(`{"error":${json}}\n`, () => res.destroy())
  }

  /** Tells breaker and balancer how it went; each hears it once. */
  #settle({
    error,
    cancelled = false,
    keepDestination = false,
  }: {
    readonly error?: ProxyError | GrpcError
    readonly cancelled?: boolean
    readonly keepDestination?: boolean
  }): void {
    const ill = error !== undefined && isIll(error)
    if (cancelled) this.#permit?.ignore()
    else if (ill) this.#permit?.fail(error)
    else this.#permit?.succeed()
    this.#permit = undefined
    if (keepDestination || this.#destination === undefined) return

    this.#destination.lease?.done(cancelled ? 'cancelled' : ill ? 'failure' : 'success')
    this.#destination.release()
    this.#destination = undefined
  }

  #close(error?: ProxyError | GrpcError): void {
    this.#over = true
    this.#endSpan(error)
    this.#stopReading?.()
    this.#cancelTotal?.()
    this.#disarm?.()
  }

  #endSpan(error: ProxyError | GrpcError | undefined): void {
    const said = error === undefined ? 'OK' : error instanceof GrpcError ? error.grpc : undefined
    if (said !== undefined) this.#span?.answered(grpcCodes.indexOf(said))
    this.#span?.end(error)
    this.#span = undefined
  }

  /** The client is gone, if it was not we who ended. */
  over(): void {
    this.#fail({ error: new ProxyError('client-gone', this.#begun ? 'response' : 'request') })
  }
}

/** What the service says of another try (gRPC proposal A6): the milliseconds before it, or that there must be none. */
function pauseAsked({ metadata }: ServiceError | StatusObject): number | 'never' | undefined {
  const said = metadata?.get('grpc-retry-pushback-ms')[0]
  if (said === undefined) return undefined

  return /^\d+$/.test(String(said)) ? Number(said) : 'never'
}

function shorter(a: number | false, b: number | false): number | false {
  if (a === false) return b

  return b === false ? a : Math.min(a, b)
}

function asFailure(error: unknown): ProxyError | GrpcError {
  if (error instanceof ProxyError || error instanceof GrpcError) return error
  if (error instanceof Misfit) return new GrpcError('MSX_GRPC_REQUEST', 400, { message: error.message })

  return new ProxyError('internal', 'request', { cause: error })
}

/** What no instance of the upstream has had a part in: that there is none is the registry's word, as for HTTP. */
const neverAsked = new Set([
  'client-gone',
  'client-timeout',
  'body-limit',
  'body-consumed',
  'internal',
  'circuit-open',
  'no-endpoint',
])

const isNobodys = (error: ProxyError | GrpcError): boolean =>
  error instanceof ProxyError ? neverAsked.has(error.kind) : error.code !== 'MSX_GRPC_STATUS'

const isIll = (error: ProxyError | GrpcError): boolean =>
  error instanceof ProxyError || (error.grpc !== undefined && isFailure(error.grpc))

function answerTo(error: ProxyError | GrpcError): { status: number; fields: Record<string, unknown> } {
  const fields = { detail: error.message, code: error.code }
  if (error instanceof ProxyError) return { status: error.status, fields }

  return { status: error.status, fields: error.grpc === undefined ? fields : { ...fields, grpc: error.grpc } }
}
