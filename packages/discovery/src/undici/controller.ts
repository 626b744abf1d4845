import type { Dispatcher } from 'undici'
import { undici } from './peer.js'

/** The caller's hold on a call: the same object from the start to the end, whichever attempt is running. */
export class CallController implements Dispatcher.DispatchController {
  readonly #onAbort: (reason: Error) => void
  #attempt: Dispatcher.DispatchController | undefined
  #reason: Error | null = null
  #paused = false

  constructor(onAbort: (reason: Error) => void) {
    this.#onAbort = onAbort
  }

  /** From now on this attempt is the one to abort, pause and resume. */
  connect(attempt: Dispatcher.DispatchController): void {
    this.#attempt = attempt
    if (this.#paused) attempt.pause()
  }

  get aborted(): boolean {
    return this.#reason !== null
  }

  get reason(): Error | null {
    return this.#reason
  }

  get paused(): boolean {
    return this.#paused
  }

  get rawHeaders(): NonNullable<Dispatcher.DispatchController['rawHeaders']> | null {
    return this.#attempt?.rawHeaders ?? null
  }

  get rawTrailers(): NonNullable<Dispatcher.DispatchController['rawTrailers']> | null {
    return this.#attempt?.rawTrailers ?? null
  }

  abort(reason: Error): void {
    if (this.#reason !== null) return

    this.#reason = reason ?? new undici.errors.RequestAbortedError()
    if (this.#attempt === undefined) this.#onAbort(this.#reason)
    else this.#attempt.abort(this.#reason)
  }

  pause(): void {
    this.#paused = true
    this.#attempt?.pause()
  }

  resume(): void {
    this.#paused = false
    this.#attempt?.resume()
  }
}
