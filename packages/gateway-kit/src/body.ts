import type { IncomingMessage } from 'node:http'
import { after, type Clock } from './clock.js'
import { hasBody } from './ending.js'
import { ProxyError } from './errors.js'

export interface BodyOptions {
  /** More than so many bytes: 413. */
  readonly maxBody: number
  /** How much is kept so that another attempt can send it again. 0: nothing. */
  readonly replay: number
}

const arrivals = ['readable', 'end', 'close', 'error'] as const

/**
 * The body of a request on its way to an upstream. It is read no faster than the upstream takes it, never destroys
 * the request it reads from (the client is still to be answered), and can be sent again for as long as all of it that
 * was read fits into `replay`.
 */
export class RequestBody {
  readonly #req: IncomingMessage
  readonly #options: BodyOptions
  readonly #onEnd: () => void
  /** What was read so far; undefined once it did not fit. */
  #kept: Buffer[] | undefined = []
  #keptBytes = 0
  #bytes = 0
  /** The attempt that reads; an earlier one that wakes up late finds that it is not its turn. */
  #reader = 0
  #wake: (() => void) | undefined
  #listening = false
  readonly #notify = (): void => {
    const wake = this.#wake
    this.#wake = undefined
    wake?.()
  }

  constructor(req: IncomingMessage, options: BodyOptions, onEnd: () => void) {
    this.#req = req
    this.#options = options
    this.#onEnd = onEnd
  }

  /** Bytes read from the client. */
  get bytes(): number {
    return this.#bytes
  }

  /** Whether the client is being waited for. */
  get waiting(): boolean {
    return this.#wake !== undefined
  }

  get replayable(): boolean {
    return this.#bytes === 0 || (this.#kept !== undefined && this.#options.replay > 0)
  }

  /** The whole body, from its beginning. */
  async *stream(onChunk: () => void): AsyncGenerator<Buffer, void, undefined> {
    this.#reader += 1
    const turn = this.#reader
    this.#notify()

    for (let index = 0; ; index += 1) {
      const chunk = this.#kept?.[index] ?? (await this.#read(turn))
      // Ending quietly would complete a chunked body for the upstream, and it would take half for the whole.
      if (turn !== this.#reader) throw new Error('this attempt is over')
      if (chunk === undefined) return

      onChunk()
      yield chunk
    }
  }

  /** Nobody reads any more. What is left of the body can then be thrown away by Node. */
  stop(): void {
    this.#reader += 1
    for (const event of arrivals) this.#req.off(event, this.#notify)
    this.#listening = false
    this.#notify()
  }

  async #read(turn: number): Promise<Buffer | undefined> {
    for (;;) {
      const chunk = this.#req.read() as Buffer | null
      if (chunk !== null) return this.#count(chunk)
      if (this.#req.readableEnded) {
        this.#onEnd()
        return undefined
      }
      if (this.#req.destroyed) throw new ProxyError('client-gone', 'request')

      await this.#arrival()
      if (turn !== this.#reader) return undefined
    }
  }

  #count(chunk: Buffer): Buffer {
    this.#bytes += chunk.byteLength
    if (this.#bytes > this.#options.maxBody) throw new ProxyError('body-limit', 'request')

    this.#keptBytes += chunk.byteLength
    if (this.#keptBytes <= this.#options.replay) this.#kept?.push(chunk)
    else this.#kept = undefined

    return chunk
  }

  /** Resolves when there may be something to read, the body has ended, or somebody else is to read. */
  #arrival(): Promise<void> {
    if (!this.#listening) {
      this.#listening = true
      for (const event of arrivals) this.#req.on(event, this.#notify)
    }

    return new Promise((resolve) => {
      this.#wake = resolve
    })
  }
}

/** Up to this length a body of known length is collected: cheaper than a stream, and it can be sent again for nothing. */
const SHORT = 16_384

/** The announced length of a body that is short enough to be collected. */
export function shortLength(req: IncomingMessage): number | undefined {
  const length = Number(req.headers['content-length'])

  return req.headers['transfer-encoding'] === undefined && length > 0 && length <= SHORT ? length : undefined
}

export interface Collecting {
  readonly clock: Clock
  /** Milliseconds without a byte after which the client has stalled. */
  readonly idle: number | false
  done(body: Buffer): void
  stalled(): void
}

/** Reads a body to its end; returns what stops it. */
export function collectBody(req: IncomingMessage, { clock, idle, done, stalled }: Collecting): () => void {
  const chunks: Buffer[] = []
  let touched = clock.now()
  let disarm = idle === false ? undefined : after(clock, idle, () => expire(idle))
  req.on('data', onData).on('end', onEnd)

  function onData(chunk: Buffer): void {
    touched = clock.now()
    chunks.push(chunk)
  }

  function onEnd(): void {
    stop()
    done(chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks))
  }

  function expire(limit: number): void {
    const left = touched + limit - clock.now()
    if (left <= 0) stalled()
    else disarm = after(clock, left, () => expire(limit))
  }

  function stop(): void {
    disarm?.()
    req.off('data', onData).off('end', onEnd)
  }

  return stop
}

/**
 * A body that a parser in front has consumed, written out again: what Express leaves in `req.body`. Undefined when
 * there is no body or it has not been touched.
 */
export function parsedBody(req: IncomingMessage): Buffer | undefined {
  if (!req.readableDidRead || !hasBody(req)) return undefined

  // What a parser makes of numbers and blanks is not always what came: some, such as that of NestJS, keep the bytes.
  const { body, rawBody } = req as { body?: unknown; rawBody?: unknown }
  if (Buffer.isBuffer(rawBody)) return rawBody
  if (Buffer.isBuffer(body)) return body

  const said = req.headers['content-type'] ?? ''
  // What is written again is UTF-8, and would still be called what it was.
  if (/;\s*charset=(?!"?(?:utf-8|us-ascii))/i.test(said)) throw new ProxyError('body-consumed', 'request')
  if (typeof body === 'string') return Buffer.from(body)

  const type = said.split(';', 1)[0]!.trim().toLowerCase()
  if (body !== undefined && /^application\/(?:[\w.+-]+\+)?json$/.test(type)) return Buffer.from(JSON.stringify(body))
  if (type === 'application/x-www-form-urlencoded' && isFlat(body))
    return Buffer.from(new URLSearchParams(body).toString())

  throw new ProxyError('body-consumed', 'request')
}

function isFlat(body: unknown): body is Record<string, string> {
  return typeof body === 'object' && body !== null && Object.values(body).every((value) => typeof value === 'string')
}
