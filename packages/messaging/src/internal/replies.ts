import { randomUUID } from 'node:crypto'
import type { Timekeeper } from '../clock.js'
import { MessagingError } from '../errors.js'
import type { Delivery, TransportConnection } from '../transport.js'
import type { Decoder } from './decode.js'
import { HEADER, readText } from './envelope.js'

/** Replies are small and waited for. */
const PREFETCH = 1_000

interface Waiting {
  readonly reply: string
  readonly resolve: (data: unknown) => void
  readonly reject: (error: unknown) => void
}

/** The answers a bus waits for, which all come to one queue of its own. */
export class Replies {
  readonly #decode: Decoder
  readonly #time: Timekeeper
  readonly #waiting = new Map<string, Waiting>()
  #queue: Promise<string> | undefined

  constructor(decode: Decoder, time: Timekeeper) {
    this.#decode = decode
    this.#time = time
  }

  /** The queue that answers are to be sent to; made for the first request. */
  queue(connection: TransportConnection): Promise<string> {
    this.#queue ??= this.#open(connection).catch((error) => {
      this.#queue = undefined
      throw error
    })

    return this.#queue
  }

  /** Calls `ask`, then waits for the answer to the message with this id. */
  async answerTo(id: string, reply: string, timeout: number, ask: () => Promise<void>): Promise<unknown> {
    const answer = new Promise<unknown>((resolve, reject) => this.#waiting.set(id, { reply, resolve, reject }))
    const cancel = this.#time.after(timeout, () => this.#waiting.get(id)?.reject(tooLate(reply, timeout)))
    try {
      const [data] = await Promise.all([answer, ask()])
      return data
    } finally {
      cancel()
      this.#waiting.delete(id)
    }
  }

  rejectAll(error: unknown): void {
    for (const waiting of this.#waiting.values()) waiting.reject(error)
  }

  async #open(connection: TransportConnection): Promise<string> {
    const name = `msx.replies.${randomUUID()}`
    await connection.declare({ name, patterns: [], temporary: true })
    await connection.consume(name, { prefetch: PREFETCH }, (delivery) => void this.#receive(delivery))

    return name
  }

  /** A late answer, or a second one, finds nobody waiting and is forgotten. */
  async #receive(delivery: Delivery): Promise<void> {
    delivery.ack()
    const { message: wire } = delivery
    const request = readText(wire.headers, HEADER.causation) ?? wire.correlationId
    const waiting = request === undefined ? undefined : this.#waiting.get(request)
    if (waiting === undefined) return

    try {
      if (wire.type !== waiting.reply) throw unexpected(wire.type, waiting.reply)
      const { data } = await this.#decode(wire)
      waiting.resolve(data)
    } catch (error) {
      waiting.reject(error)
    }
  }
}

function tooLate(reply: string, timeout: number): MessagingError {
  return new MessagingError('MSX_REQUEST_TIMEOUT', `no '${reply}' came within ${timeout} ms`, {
    retryable: true,
    details: { reply, timeout },
  })
}

function unexpected(type: string, reply: string): MessagingError {
  return new MessagingError('MSX_UNEXPECTED_REPLY', `the answer is '${type}', expected was '${reply}'`, {
    retryable: false,
    details: { type, reply },
  })
}
