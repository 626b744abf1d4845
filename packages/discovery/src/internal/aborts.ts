/**
 * Who waits for which signal to abort. One listener per signal, however many wait: Node warns of a leak from the eleventh on,
 * and two thousand services that are awaited at start have one signal.
 */
export class Aborts {
  readonly #waiting = new WeakMap<AbortSignal, { readonly wakes: Set<() => void>; readonly listener: () => void }>()

  /** Calls `wake` when the signal aborts. Returns the function that calls it off. */
  once(signal: AbortSignal | undefined, wake: () => void): () => void {
    if (signal === undefined) return () => {}

    const { wakes, listener } = this.#waiting.get(signal) ?? this.#listen(signal)
    wakes.add(wake)
    return () => {
      wakes.delete(wake)
      if (wakes.size > 0 || this.#waiting.get(signal)?.wakes !== wakes) return

      this.#waiting.delete(signal)
      signal.removeEventListener('abort', listener)
    }
  }

  #listen(signal: AbortSignal) {
    const wakes = new Set<() => void>()
    const listener = () => {
      for (const wake of wakes) wake()
    }
    const waiting = { wakes, listener }
    this.#waiting.set(signal, waiting)
    signal.addEventListener('abort', listener, { once: true })
    return waiting
  }
}
