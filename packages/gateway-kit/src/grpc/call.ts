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
import type { ResolvedTimeouts } from '../timeouts.js'
import type { Channels, Destination } from './channels.js'
import { type GrpcCode, GrpcError } from './errors.js'
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
  readonly query: string
  readonly headers: Readonly<Record<string, string | null>> | undefined
}

/** What a call says for itself to whoever must end it. */
interface Ending {
  readonly error?: ProxyError | GrpcError
}

const asItIs = (bytes: Buffer): Buffer => bytes

/**
 * One request as one call. It ends once: with the message, with the last of a stream, or with a problem; when the
 * client goes away, the call is cancelled.
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
  #stopReading: (() => void) | undefined
  #cancelTotal: (() => void) | undefined
  #disarm: (() => void) | undefined

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
      this.#acquire()
      const taken = this.#plan.channels.take(this.#rules.upstream)
      this.#destination = taken instanceof Promise ? await taken : taken
      // While an instance was looked for, the client may have gone.
      if (this.#over) this.#settle({ cancelled: true })
      else this.#send(this.#destination, bytes)
    } catch (error) {
      this.#fail({ error: asFailure(error) })
    }
  }

  #acquire(): void {
    const { breaker } = this.#rules
    if (breaker === undefined) return

    this.#permit = breaker.tryAcquire()
    if (this.#permit === undefined) {
      throw new ProxyError('circuit-open', 'request', { retryAfter: breaker.metrics.retryAfter })
    }
  }

  #send({ address, client }: Destination, bytes: Buffer): void {
    const { grpc, metadata: names, clock } = this.#plan
    const { timeouts } = this.#rules
    const context = contextOf(this.#req)
    context.upstream = `grpc://${address}`
    context.attempts = 1
    const metadata = metadataOf(this.#req, names, grpc)
    const left = timeouts.total === false ? false : Math.max(0, this.#startedAt + timeouts.total - clock.now())
    const limit = this.#rpc.streams ? left : shorter(left, timeouts.headers)
    // The service is told when nobody will wait any longer; that we do not wait is up to our own timers.
    if (limit !== false) this.#deadline = Date.now() + limit
    const options = limit === false ? {} : { deadline: this.#deadline }
    if (timeouts.headers !== false) this.#disarm = after(clock, timeouts.headers, () => this.#expire())

    if (this.#rpc.streams) {
      const stream = client.makeServerStreamRequest(this.#rpc.path, asItIs, asItIs, bytes, metadata, options)
      this.#call = stream
      this.#follow(stream)
    } else {
      this.#call = client.makeUnaryRequest(
        this.#rpc.path,
        asItIs,
        asItIs,
        bytes,
        metadata,
        options,
        (error, answer) => {
          if (error !== null) this.#failed(error)
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

  #follow(stream: ClientReadableStream<Buffer>): void {
    let status: StatusObject | undefined
    // The error comes before the messages that are still in the buffer; the end comes after them.
    stream.on('error', () => {})
    stream.on('status', (said: StatusObject) => {
      status = said
    })
    stream.on('data', (bytes: Buffer) => this.#onMessage(stream, bytes))
    stream.on('end', () => {
      if (status === undefined || status.code === this.#plan.grpc.status.OK) this.#finish()
      else this.#failed(status)
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

  #failed(failure: ServiceError | StatusObject): void {
    const expired = failure.code === this.#plan.grpc.status.DEADLINE_EXCEEDED && Date.now() >= this.#deadline
    if (expired) this.#expire()
    else this.#fail({ error: grpcFailure(failure, this.#plan.statuses) })
  }

  #fail({ error }: Required<Ending>): void {
    if (this.#over) return

    this.#settle({ error, cancelled: isClients(error) })
    this.#close()
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

  #close(): void {
    this.#over = true
    this.#stopReading?.()
    this.#cancelTotal?.()
    this.#disarm?.()
  }

  /** The client is gone, if it was not we who ended. */
  over(): void {
    this.#fail({ error: new ProxyError('client-gone', this.#begun ? 'response' : 'request') })
  }
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

const clientKinds = new Set([
  'client-gone',
  'client-timeout',
  'body-limit',
  'body-consumed',
  'internal',
  'circuit-open',
])

/** Whether the upstream has nothing to do with it. */
const isClients = (error: ProxyError | GrpcError): boolean =>
  error instanceof ProxyError ? clientKinds.has(error.kind) : error.code !== 'MSX_GRPC_STATUS'

const isIll = (error: ProxyError | GrpcError): boolean =>
  error instanceof ProxyError || (error.grpc !== undefined && isFailure(error.grpc))

function answerTo(error: ProxyError | GrpcError): { status: number; fields: Record<string, unknown> } {
  const fields = { detail: error.message, code: error.code }
  if (error instanceof ProxyError) return { status: error.status, fields }

  return { status: error.status, fields: error.grpc === undefined ? fields : { ...fields, grpc: error.grpc } }
}
