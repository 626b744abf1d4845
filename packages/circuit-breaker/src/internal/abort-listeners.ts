/**
 * Waits for signals with one listener each, however many wait for the same one: the eleventh listener on a process-wide
 * signal would make Node warn of a leak.
 */
export class AbortListeners {
  readonly #waiting = new Map<AbortSignal, { readonly runs: Set<() => void>; readonly listener: () => void }>()

  /** Calls `run` when the signal aborts, unless what is returned is called before. */
  add(signal: AbortSignal, run: () => void): () => void {
    const { runs } = this.#waiting.get(signal) ?? this.#listen(signal)
    runs.add(run)

    return () => {
      if (runs.delete(run) && runs.size === 0) this.#forget(signal)
    }
  }

  #listen(signal: AbortSignal): { readonly runs: Set<() => void>; readonly listener: () => void } {
    const runs = new Set<() => void>()
    const listener = () => {
      this.#forget(signal)
      for (const run of runs) run()
    }
    const entry = { runs, listener }

    // First, because it throws for what is no signal.
    signal.addEventListener('abort', listener, { once: true })
    this.#waiting.set(signal, entry)
    return entry
  }

  #forget(signal: AbortSignal): void {
    const entry = this.#waiting.get(signal)
    if (entry === undefined) return

    this.#waiting.delete(signal)
    signal.removeEventListener('abort', entry.listener)
  }
}
