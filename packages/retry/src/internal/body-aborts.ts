import { type AbortListener, AbortWatch } from './abort-watch.js'

/**
 * Lets a caller's abort still reach a body that is being read after the call itself has settled. The links are weak:
 * they hold neither the body nor, on a signal that lives as long as the process, one listener per response.
 */
export class BodyAborts {
  readonly #watch = new AbortWatch()
  /** A controller lives exactly as long as its body. */
  readonly #controllers = new WeakMap<object, AbortController>()
  readonly #collected = new FinalizationRegistry<Link>((link) => this.#watch.remove(link.signal, link))

  follow(signal: AbortSignal, body: object, controller: AbortController): void {
    const link = new Link(signal, controller)
    this.#controllers.set(body, controller)
    this.#collected.register(body, link)
    this.#watch.add(signal, link)
  }
}

class Link implements AbortListener {
  readonly signal: AbortSignal
  readonly #controller: WeakRef<AbortController>

  constructor(signal: AbortSignal, controller: AbortController) {
    this.signal = signal
    this.#controller = new WeakRef(controller)
  }

  aborted(reason: unknown): void {
    this.#controller.deref()?.abort(reason)
  }
}
