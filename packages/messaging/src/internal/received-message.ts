import type { AnyMessage, MessageHeaders } from '../message.js'
import type { Decoded } from './decode.js'

/** A message in the hands of a handler. Makes its AbortController only for a handler that reads `signal`. */
export class ReceivedMessage implements AnyMessage {
  readonly id: string
  readonly type: string
  readonly data: unknown
  readonly time: Date
  readonly source: string
  readonly key: string | undefined
  readonly attempt: number
  readonly redelivered: boolean
  readonly headers: MessageHeaders
  readonly correlationId: string | undefined
  readonly causationId: string | undefined
  #controller: AbortController | undefined
  #abort: { readonly reason: unknown } | undefined

  constructor(type: string, id: string, { envelope, data }: Decoded, attempt: number, redelivered: boolean) {
    this.id = id
    this.type = type
    this.data = data
    this.time = envelope.time
    this.source = envelope.source
    this.key = envelope.key
    this.attempt = attempt
    this.redelivered = redelivered
    this.headers = envelope.headers
    this.correlationId = envelope.correlationId
    this.causationId = envelope.causationId
  }

  get signal(): AbortSignal {
    this.#controller ??= new AbortController()
    if (this.#abort !== undefined && !this.#controller.signal.aborted) this.#controller.abort(this.#abort.reason)

    return this.#controller.signal
  }

  abort(reason: unknown): void {
    this.#abort ??= { reason }
    this.#controller?.abort(this.#abort.reason)
  }
}
