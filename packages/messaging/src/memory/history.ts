import { Fifo } from '../internal/fifo.js'
import type { WireMessage } from '../transport.js'

/** The last messages: at most `count` of them, and of all but the newest at most so many bytes of body. */
export class History {
  readonly #count: number
  readonly #bytes: number
  readonly #messages = new Fifo<WireMessage>()
  #held = 0

  constructor(count: number, bytes: number) {
    this.#count = count
    this.#bytes = bytes
  }

  push(message: WireMessage): void {
    if (this.#count === 0) return

    this.#messages.push(message)
    this.#held += message.body.byteLength
    while (this.#messages.size > this.#count || (this.#held > this.#bytes && this.#messages.size > 1)) {
      this.#held -= this.#messages.shift()?.body.byteLength ?? 0
    }
  }

  [Symbol.iterator](): Iterator<WireMessage> {
    return this.#messages[Symbol.iterator]()
  }
}
