/** Something that wants to hear of an abort. */
export interface AbortListener {
  aborted(reason: unknown): void
}

/**
 * Waits for aborts with one event listener per signal, however many calls share it: a process-wide shutdown signal
 * collects neither thousands of listeners nor Node's warning about them. The listener goes with the last waiting call.
 */
export class AbortWatch {
  readonly #groups = new WeakMap<AbortSignal, Group>()

  add(signal: AbortSignal, listener: AbortListener): void {
    let group = this.#groups.get(signal)
    if (group === undefined) {
      const listeners = new Set<AbortListener>()
      group = {
        listeners,
        handleEvent() {
          for (const each of [...listeners]) each.aborted(signal.reason)
        },
      }
      // First, because it throws for what is no signal.
      signal.addEventListener('abort', group, { once: true })
      this.#groups.set(signal, group)
    }

    group.listeners.add(listener)
  }

  remove(signal: AbortSignal, listener: AbortListener): void {
    const group = this.#groups.get(signal)
    if (group === undefined) return

    group.listeners.delete(listener)
    if (group.listeners.size > 0) return

    this.#groups.delete(signal)
    signal.removeEventListener('abort', group)
  }
}

/** The one event listener of a signal, and those it tells. */
interface Group {
  readonly listeners: Set<AbortListener>
  handleEvent(): void
}

/** A call that ends when its caller aborts. It follows one signal at a time. */
export abstract class CallerWatcher implements AbortListener {
  readonly #watch: AbortWatch
  #signal: AbortSignal | undefined

  constructor(watch: AbortWatch) {
    this.#watch = watch
  }

  abstract aborted(reason: unknown): void

  /** Instead of the signal followed before; at once for one that has aborted. */
  follow(signal: AbortSignal | undefined): void {
    // Untyped callers say null for "none", as fetch lets them.
    if (!signal || signal === this.#signal) return
    if (signal.aborted) {
      this.aborted(signal.reason)
      return
    }

    this.unfollow()
    this.#watch.add(signal, this)
    this.#signal = signal
  }

  unfollow(): void {
    if (this.#signal !== undefined) this.#watch.remove(this.#signal, this)
    this.#signal = undefined
  }
}
