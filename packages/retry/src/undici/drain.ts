import { MAX_BYTES, MAX_TIME } from '../internal/discard.js'
import type { Controller } from './handler.js'

/** Reads a response that nobody wants to its end, or cuts it off when it is long or slow. */
export class Drain {
  readonly #controller: Controller
  readonly #timer: NodeJS.Timeout
  #left = MAX_BYTES
  #ended = false

  constructor(controller: Controller, length: string | string[] | undefined) {
    this.#controller = controller
    this.#timer = setTimeout(() => this.#cut(), MAX_TIME).unref()
    // Not within the call that began the response: undici is still reading its head.
    if (Number(length) > MAX_BYTES) queueMicrotask(() => this.#cut())
  }

  read(bytes: number): void {
    this.#left -= bytes
    if (this.#left < 0) this.#cut()
  }

  end(): void {
    this.#ended = true
    clearTimeout(this.#timer)
  }

  #cut(): void {
    if (this.#ended) return

    this.end()
    this.#controller.abort(new Error('The response was thrown away for another attempt'))
  }
}
